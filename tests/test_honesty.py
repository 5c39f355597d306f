"""No training sees the test split: what it opens, what dvc.yaml gives it, and what it writes say so."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from stages.shared.pipeline.splits import read_split
from tests.conftest import PIPELINE, draw_images, run

TRAININGS = ("train_head", "train_augmented", "fine_tune")
SPLIT = "data/splits/test.csv"
STORED = ("data/features/test.npy", "data/default_activations/test.npy", "data/activations/test.npy")
watchers: list[list[str]] = []  # each a list of the paths opened so far, while someone wants to know


def listen(event: str, arguments: tuple) -> None:
    if event == "open" and watchers and not isinstance(arguments[0], int):
        watchers[-1].append(os.fsdecode(arguments[0]))


sys.addaudithook(listen)  # for good: Python removes none


@contextmanager
def watching() -> Iterator[set[Path]]:
    """Give the files that are opened in the block, once it has ended."""
    files: set[Path] = set()
    watchers.append([])
    try:
        yield files
    finally:
        files |= {Path(path).resolve() for path in watchers.pop()}


def read_outputs(*stages: str) -> dict[str, bytes]:
    """Return the content of every file that `stages` write, by its path."""
    contents = {}
    for stage in stages:
        for kind in ("outs", "metrics", "plots"):
            for entry in PIPELINE["stages"][stage].get(kind, []):
                path = Path(entry if isinstance(entry, str) else next(iter(entry)))
                files = path.rglob("*") if path.is_dir() else [path]
                contents |= {str(file): file.read_bytes() for file in files if file.is_file()}
    return contents


def images_of_the_test_split() -> list[Path]:
    return [Path("images", path) for path in read_split(Path(SPLIT))["path"]]


@pytest.mark.parametrize("stage", TRAININGS)
def test_dvc_gives_no_training_a_file_of_the_test_split(stage):
    """Nor a folder that holds one, nor the images."""
    for dep in PIPELINE["stages"][stage]["deps"]:
        assert dep != "${data.images}"
        assert not any(Path(file).is_relative_to(dep) for file in (SPLIT, *STORED)), dep


def test_no_training_opens_a_file_of_the_test_split_or_depends_on_it(trained_copy):
    hidden = {Path(file).resolve() for file in (SPLIT, *STORED, *images_of_the_test_split())}
    assert len(hidden) == 4 + 8 and all(file.exists() for file in hidden)
    with watching() as files:
        run(*TRAININGS)
    for stage in TRAININGS:
        read = [dep for dep in PIPELINE["stages"][stage]["deps"] if dep.endswith((".csv", ".npy", ".keras"))]
        assert len(read) >= 4 and {Path(file).resolve() for file in read} <= files
    seen = files & hidden
    assert not seen
    trained = read_outputs(*TRAININGS)
    assert len(trained) == 3 * 6  # model, metrics, curves, environment and two records

    for file in hidden:
        file.unlink()
    Path(SPLIT).write_text("path,label,class_index,sha256\nother.png,other,7,0\n")
    Path(STORED[0]).write_bytes(b"no array")
    run(*TRAININGS)
    assert read_outputs(*TRAININGS) == trained


def test_what_is_stored_of_other_images_does_not_depend_on_the_test_images(trained_copy):
    before = read_outputs("extract_features", "extract_views")
    test = read_split(Path(SPLIT))
    draw_images(Path("images"), test["path"].tolist(), seed=1)
    test["sha256"] = [sha256(file.read_bytes()).hexdigest() for file in images_of_the_test_split()]
    test.to_csv(SPLIT, index=False)
    run("extract_features", "extract_views")
    after = read_outputs("extract_features", "extract_views")
    assert {file for file in after if after[file] != before[file]} == set(STORED)
