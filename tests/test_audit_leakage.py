"""Near-duplicates planted between the splits are found, and nothing else is."""

import json
import shutil
import tracemalloc
from contextlib import chdir
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance, ImageOps

from stages.audit_leakage import near_duplicates
from stages.audit_leakage.near_duplicates import (
    MIRRORED,
    Images,
    Leakage,
    find_closest,
    perceptual_hash,
    read_directions,
)
from stages.shared.evaluation.metrics import accuracy_without
from stages.shared.images.image_folder import open_folder
from stages.shared.pipeline.splits import SPLITS
from tests.conftest import (
    TINY,
    change,
    place_weights,
    refused,
    run,
    shows_something,
    write_array,
    write_parameters,
)

WRITTEN = [
    Path(name)
    for name in ("data/leakage/near_duplicates.csv", "metrics/leakage.json", "metrics/near_duplicates.png")
]


def paint(seed: int) -> Image.Image:
    """Return a picture of soft patches of colour, as different for each seed as photos are."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 6, 3)).astype("uint8")
    return Image.fromarray(patches).resize((160, 120), Image.Resampling.BICUBIC)


COPIES = {  # of test and validation images: what they are made from, and how
    "test/brighter.png": ("train/0.png", lambda image: ImageEnhance.Brightness(image).enhance(1.3)),
    "test/saved anew.jpg": ("train/1.png", lambda image: image),
    "test/cropped.png": ("train/2.png", lambda image: image.crop((3, 2, 157, 118))),
    "test/mirrored.png": ("train/3.png", ImageOps.mirror),
    "test/smaller.png": ("validation/0.png", lambda image: image.resize((80, 60))),
    "validation/darker.png": ("train/4.png", lambda image: ImageEnhance.Brightness(image).enhance(0.8)),
}


@pytest.fixture(scope="module")
def planted(build_once, vgg16_weights):
    """A folder with features of ten pictures in each split, some of them copies of others."""
    return build_once("planted", lambda folder: plant(folder, vgg16_weights))


def plant(folder: Path, weights: Path) -> None:
    with chdir(folder):
        write_parameters(folder, {**TINY, "leakage.cosine_similarity": 0.6})  # at 64 pixels
        place_weights(weights)
        originals = {
            f"{split}/{number}.png": paint(10 * SPLITS.index(split) + number)
            for split in SPLITS
            for number in range(7)
        }
        copies = {name: make(originals[source]) for name, (source, make) in COPIES.items()}
        for name, image in (originals | copies).items():
            Path("images", name).parent.mkdir(parents=True, exist_ok=True)
            image.save(Path("images", name))
        for split in SPLITS:
            files = sorted(Path("images", split).iterdir())
            table = pd.DataFrame({"path": [file.relative_to("images").as_posix() for file in files]})
            table["label"], table["class_index"] = "picture", 0
            table["sha256"] = [sha256(file.read_bytes()).hexdigest() for file in files]
            Path("data/splits").mkdir(parents=True, exist_ok=True)
            table.to_csv(f"data/splits/{split}.csv", index=False)
        Path("data/unused.csv").write_text("path,reason\n")
        run("extract_features", "audit_leakage")


@pytest.fixture
def inside(planted, tmp_path, monkeypatch):
    """A copy of that folder, as the working directory."""
    monkeypatch.chdir(shutil.copytree(planted, tmp_path / "planted", symlinks=True))


def test_copies_are_found_and_nothing_else(inside):
    table = pd.read_csv(WRITTEN[0])
    assert dict(zip(table["path"], table["other_path"], strict=True)) == {
        name: source for name, (source, _) in COPIES.items()
    }
    assert (table["split"] == table["path"].str.split("/").str[0]).all()
    assert (table["other_split"] == table["other_path"].str.split("/").str[0]).all()
    assert table["cosine_similarity"].is_monotonic_decreasing and table["cosine_similarity"].min() >= 0.6
    assert json.loads(WRITTEN[1].read_text()) == {
        "near_duplicates": 6,
        "test_in_train": 4,
        "test_in_validation": 1,
        "validation_in_train": 1,
        "test_images": 5,
    }
    assert shows_something(WRITTEN[2])


def test_the_same_bytes_in_other_blocks(inside, monkeypatch):
    before = [file.read_bytes() for file in WRITTEN]
    for size in (1024, 3):
        monkeypatch.setattr(near_duplicates, "BLOCK", size)
        run("audit_leakage")
        assert [file.read_bytes() for file in WRITTEN] == before


def test_neither_features_nor_hash_decide_alone(inside):
    def found(cosine_similarity: float, hash_bits: int) -> set[str]:
        change(leakage__cosine_similarity=cosine_similarity, leakage__hash_bits=hash_bits)
        run("audit_leakage")
        return set(pd.read_csv(WRITTEN[0])["path"])

    assert found(0.2, 64) > set(COPIES)
    assert found(0.2, 16) == set(COPIES)
    assert found(0.9, 64) < set(COPIES)


def test_without_near_duplicates(inside):
    width, height = Image.open(WRITTEN[2]).size
    change(leakage__cosine_similarity=1, leakage__hash_bits=0)
    run("audit_leakage")
    assert list(pd.read_csv(WRITTEN[0]).columns) == [
        *("split", "path", "label", "other_split", "other_path", "other_label"),
        *("cosine_similarity", "differing_bits"),
    ]
    assert set(json.loads(WRITTEN[1].read_text()).values()) == {0}
    assert shows_something(WRITTEN[2])
    assert Image.open(WRITTEN[2]).width == width and Image.open(WRITTEN[2]).height < height


def test_features_of_another_image_size(inside):
    write_array(Path("data/features/test.npy"), np.zeros((12, 3, 3, 512), "float32"))
    with refused("data/features/test.npy", 12, "(3, 3, 512)", "image_size", "(2, 2, 512)", "dvc repro"):
        run("audit_leakage")


def test_an_image_that_has_changed(inside):
    Path("images/test/mirrored.png").write_bytes(b"another")
    with refused("images/test/mirrored.png", "changed"):
        run("audit_leakage")


def test_mirroring_flips_the_bits_of_odd_horizontal_frequencies():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32)).astype("uint8"))
    assert perceptual_hash(ImageOps.mirror(noise)) == perceptual_hash(noise) ^ int(MIRRORED)


def hashed(directions: np.ndarray) -> Images:
    """Return images with these directions, and a hash of 0."""
    images = Images(pd.DataFrame(), directions, open_folder("images"), 65535)
    images._hashes = dict.fromkeys(range(len(directions)), 0)
    return images


def test_memory_does_not_grow_with_pairs():
    """Though all are near-duplicates of all: 9 million pairs, whose hashes alone take 72 MB."""
    same = np.tile(np.eye(8, dtype="float32")[0], (3000, 1))
    tracemalloc.start()
    found = find_closest(hashed(same), hashed(same), Leakage(cosine_similarity=0.9, hash_bits=0), "same")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 3000 and (found["other_row"] == 0).all()
    assert peak < 50e6


def test_memory_does_not_grow_with_images(tmp_path):
    """The features of 2,000 take 131 MB."""
    images = {"train": 2000, "validation": 40, "test": 1}
    for name, count in images.items():
        write_array(tmp_path / f"{name}.npy", np.ones((count, 8, 8, 256), "float32"))
    splits = {name: pd.DataFrame(index=range(count)) for name, count in images.items()}
    tracemalloc.start()
    found = read_directions(tmp_path, splits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert {name: vectors.shape for name, vectors in found.items()} == {
        name: (count, 256) for name, count in images.items()
    }
    assert peak < 40e6


def test_features_below_zero_have_a_direction_too(tmp_path):
    """Some bases end with an activation that has such."""
    values = np.random.default_rng(0).normal(size=(6, 1, 1, 16)).astype("float32")
    for name in SPLITS:
        write_array(tmp_path / f"{name}.npy", values)
    found = read_directions(tmp_path, {name: pd.DataFrame(index=range(6)) for name in SPLITS})
    np.testing.assert_allclose(np.linalg.norm(found["train"], axis=1), 1, rtol=1e-5)
    assert (found["test"] @ found["train"].T).argmax(axis=1).tolist() == list(range(6))


def test_accuracy_without_near_duplicates():
    right = np.array([True, False, True, True, False])
    assert accuracy_without(np.array([False, False, True, False, True]), right) == pytest.approx(2 / 3)
    assert accuracy_without(np.zeros(5, bool), right) == 0.6
    assert accuracy_without(np.ones(5, bool), right) is None
