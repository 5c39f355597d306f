"""How much an image is like those that a model learnt from."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.shared.network import model_file
from stages.shared.network.typicality import MOST, TrainingImages, choose_rows, normalized, similarity
from stages.shared.pipeline.splits import read_split
from tests.conftest import states
from tools.predict.drift import describe

RNG = np.random.default_rng(0)


def draw(images: int, centre: int = 0) -> np.ndarray:
    """Return features around one of the axes, of any length."""
    features = RNG.normal(0, 0.2, (images, 16))
    features[:, centre] += 1
    return (features * RNG.uniform(0.1, 10, (images, 1))).astype("float32")


def learnt(features: np.ndarray, validation: np.ndarray) -> TrainingImages:
    known = normalized(features).astype("float16")
    paths = [f"{row}.png" for row in range(len(features))]
    return TrainingImages(paths, known, np.sort(similarity(validation, known)))


def test_images_of_the_same_kind_and_of_another():
    images = learnt(draw(300), draw(200))
    same, other = images.typicality(draw(2000)), images.typicality(draw(100, centre=1))
    assert np.quantile(same, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.1)
    assert (same < 0.01).mean() < 0.02 and other.max() < 0.01
    assert images.typicality(np.zeros((1, 16), "float32")) == [0]


def test_it_is_the_share_of_validation_images_that_are_no_more_alike():
    axes = np.eye(3, dtype="float32")
    images = TrainingImages(["x", "y"], axes[:2].astype("float16"), np.array([0.1, 0.5, 0.5, 0.9]))
    assert similarity(axes, images.features).tolist() == [0.5, 0.5, 0]  # fewer than ten: the mean of all
    assert images.typicality(axes).tolist() == [0.75, 0.75, 0]
    assert images.nearest(np.array([[1, 2, 0]], "float32")) == [["y", "x"]]
    many = TrainingImages([str(n) for n in range(12)], np.eye(12, dtype="float16"), np.array([0.5]))
    assert similarity(np.eye(12, dtype="float32")[:1], many.features) == [0.1]
    assert many.nearest(np.arange(12.0)[np.newaxis]) == [["11", "10", "9"]]


def test_a_model_carries_so_many_images_drawn_by_content():
    hashes = [f"{n:064x}" for n in RNG.permutation(MOST + 500)]
    split = pd.DataFrame({"sha256": hashes})
    rows = choose_rows(split)
    assert len(rows) == MOST and (np.diff(rows) > 0).all()
    assert set(split["sha256"].iloc[rows]) == {f"{n:064x}" for n in range(MOST)}
    assert choose_rows(split.head(3)).tolist() == [0, 1, 2]


def test_a_drift_is_told_from_chance():
    typical = describe(0.5 * 200 + 3, 2, 200, 600)
    assert states(typical, "200 images", "0.515", "0.454 to 0.546", "no evidence") and "2 of them" in typical
    assert states(describe(0.42 * 200, 9, 200, 600), "0.420", "less like", "p < 0.001", "9 of them")
    assert states(describe(0.6 * 200, 0, 200, 600), "more like")
    assert "no evidence" in describe(0.2, 0, 1, 600)


def test_every_trained_model_carries_its_own(trained, monkeypatch):
    monkeypatch.chdir(trained)
    train = read_split(Path("data/splits/train.csv"))
    found = {
        name: model_file.load(Path(f"data/models/{name}.keras")).training_images
        for name in ("head", "augmented", "fine_tuned")
    }
    stored = np.load("data/features/train.npy", allow_pickle=False).mean(axis=(1, 2))
    for images in found.values():
        assert images.paths == train["path"].tolist() and len(images.similarities) == 8
        assert (np.diff(images.similarities) >= 0).all()
    np.testing.assert_allclose(found["head"].features, normalized(stored), atol=1e-3)
    assert np.abs(found["fine_tuned"].features - found["head"].features.astype("float32")).max() > 1e-3
