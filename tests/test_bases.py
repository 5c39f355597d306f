"""tools.bases: what it measures of a base, and that a run with the base finds in the store what it computed."""

import re
import shutil
from math import prod
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.shared.network import conv_base
from stages.shared.network.architectures import ARCHITECTURES
from stages.shared.network.inference import forward
from tests.conftest import PROJECT, change, refused, run, states
from tools.bases.__main__ import main
from tools.bases.accuracy import cross_validate, deviation
from tools.bases.cuts import choose_cuts, with_averages

TRAIN, VALIDATION, TEST = 14, 8, 8  # images of `project`


@pytest.fixture
def project(workspace, monkeypatch) -> Path:
    """A split, with a small random base, and no weights in Keras's cache."""
    monkeypatch.setenv("KERAS_HOME", str(workspace / "keras"))
    change(conv_base__name="mobilenet", conv_base__weights="random", image_size=32)
    run("split_dataset")
    return workspace


def from_the_store(printed: str) -> dict[str, tuple[int, int]]:
    """Return how many of how many rows came from the store, by kind of array and split."""
    lines = re.findall(r"(\w+/\w+)\.npy: .*, (\d+) of (\d+) images from the store", printed)
    return {name: (int(held), int(rows)) for name, held, rows in lines}


@pytest.mark.slow
def test_a_run_with_the_base_takes_from_the_store_what_was_computed(project, capsys):
    run("fetch_weights", "extract_features")
    expected = {path: path.read_bytes() for path in Path("data/features").iterdir()}
    change(store__folder="store", store__gigabytes=1)
    counts = {
        **dict.fromkeys(("features/train", "cuts/train", "activations/train"), TRAIN),
        **dict.fromkeys(("features/validation", "cuts/validation", "activations/validation"), VALIDATION),
    }
    for held in (0, 1):
        capsys.readouterr()
        main(["mobilenet"])
        found = from_the_store(capsys.readouterr().out)
        assert found == {name: (held * rows, rows) for name, rows in counts.items()}
    assert list(Path(".dvc/tmp").iterdir()) == []
    shutil.rmtree("data/features")
    run("extract_features")
    found = from_the_store(capsys.readouterr().out)
    for kind in ("features", "default_activations"):
        assert found[f"{kind}/train"] == (TRAIN, TRAIN) and found[f"{kind}/test"] == (0, TEST)
        assert found[f"{kind}/validation"] == (VALIDATION, VALIDATION)
    assert {path: path.read_bytes() for path in Path("data/features").iterdir()} == expected


@pytest.mark.slow
def test_the_table_has_the_bases_with_weights_and_a_line_for_each_other_one(project, capsys):
    main([])
    said = capsys.readouterr().out
    lines = said.partition("license\n")[2].splitlines()
    rows = {line.split()[1].rstrip(","): line for line in lines[:8]}
    assert states(rows["block5_pool"], "vgg16", "the end", "14.7 M", "CC BY 4.0")
    assert states(rows["conv_pw_13_relu"], "mobilenet", "the end", "3.2 M", "that of random")
    assert states(rows["block4_pool"], "the default")
    shapes = {"block5_pool": (1, 1, 512), "block4_pool": (2, 2, 512), "block3_pool": (4, 4, 256)}
    for layer, shape in shapes.items():
        assert states(rows[layer], f"{4 * prod(shape) / 1e6:.3f}")
    best = [line for line in lines[:8] if not re.search(r"[+-]0\.\d{3} ± ", line)]
    accuracies = [float(re.findall(r"(\d\.\d{3}) ± ", line)[0]) for line in lines[:8]]
    assert len(best) == 1 and f"{max(accuracies):.3f} ± " in best[0]
    others = {line.split(":")[0]: line for line in lines[8:]}
    assert set(others) == set(ARCHITECTURES) - {"vgg16", "mobilenet"}
    assert states(others["xception"], "image_size is 32", 71)
    assert states(others["resnet50"], "weights", "python -m tools.bases resnet50")


@pytest.mark.parametrize(
    "name, expected",
    [
        ("vgg16", ["block4_pool", "block3_pool", "block2_pool"]),
        ("xception", ["add_10", "add_1", "add"]),
        ("efficientnet_v2_b0", ["block5e_add", "block3b_add", "block2b_add"]),
    ],
)
@pytest.mark.slow
def test_the_cheapest_cut_of_each_size_is_looked_at(name, expected):
    base = conv_base.build(name, 150)
    assert choose_cuts(base, ARCHITECTURES[name].freeze_through) == expected


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.slow
def test_averages_come_with_features_that_are_the_same_to_the_bit(precision):
    base = conv_base.build("mobilenet", 64, computes_in=precision)
    cuts, end = ["conv_pw_11_relu", "conv_dw_4_relu"], base.layers[-1].name
    extended, averages = with_averages(base, cuts)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), "uint8")
    features, found = map(np.asarray, forward(extended, [end, averages])(pixels))
    *activations, expected = forward(base, [*cuts, end])(pixels)
    np.testing.assert_array_equal(features, expected)
    means = [np.asarray(layer).astype("float32").mean(axis=(1, 2)) for layer in activations]
    assert found.dtype == np.float32 and found.shape == (8, 1, 1, 512 + 128)
    np.testing.assert_allclose(found[:, 0, 0], np.concatenate(means, axis=1), rtol=1e-5, atol=1e-6)


def draw(classes: int, of_class: int, apart: float) -> tuple[np.ndarray, pd.DataFrame]:
    """Return features of images of some classes, `apart` from one another, and their split."""
    labels = np.repeat(np.arange(classes), of_class)
    features = np.random.default_rng(0).normal(size=(len(labels), 6)) + apart * np.eye(classes, 6)[labels]
    split = {"class_index": labels, "sha256": [f"{number:064x}" for number in range(len(labels))]}
    return features.astype("float32"), pd.DataFrame(split)


def test_accuracy_is_that_on_images_held_out():
    accuracies = cross_validate(*draw(2, 50, apart=20))
    assert len(accuracies) == 10 and (accuracies == 1).all()
    guessed = cross_validate(*draw(2, 50, apart=0))
    assert 0.3 < guessed.mean() < 0.7


def test_the_deviation_allows_for_folds_that_share_images():
    """Of 10 folds, of which each holds out a fifth: the square root of a tenth and a quarter of the variance."""
    values = np.array([0.8, 0.9] * 5)
    assert deviation(values) == pytest.approx(np.sqrt(0.35 * values.var(ddof=1)))


def test_what_a_user_can_mend(workspace):
    with refused("vgg61", "vgg16", "xception"):
        main(["vgg61"])
    with refused("data/splits/train.csv", "dvc repro split_dataset"):
        main([])


@pytest.mark.slow
def test_a_base_that_takes_no_images_of_that_size(project):
    with refused("image_size is 32", "inception_v3", 75):
        main(["inception_v3"])


def test_the_page_names_the_license_of_each_base():
    page = (PROJECT / "docs/experiments.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^\| `(\w+)` \| .* \| ([^|]+) \|$", page, re.MULTILINE))
    assert said == {name: architecture.license for name, architecture in ARCHITECTURES.items()}
