"""The linear probe: its folds, its choice of a strength, and that its answers depend on no name and no order."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as reference_loss
from sklearn.preprocessing import StandardScaler

from stages.shared.pipeline.arrays import array_file
from stages.shared.pipeline.averages import average_features
from stages.shared.pipeline.command import UserError
from stages.shared.probe.folds import draw_folds
from stages.shared.probe.linear_probe import STRENGTHS, fit_probe, log_loss, predict_out_of_fold


def draw_set(
    n: int, classes: int = 2, channels: int = 8, apart: float = 1.5
) -> tuple[np.ndarray, pd.DataFrame]:
    """Return features of `n` images, classes `apart` from one another by as many deviations, and their split."""
    rng = np.random.default_rng(n)
    labels = np.arange(n) % classes
    features = rng.normal(size=(n, channels)) + apart * np.eye(classes, channels)[labels]
    digests = [f"{number:064x}" for number in rng.permutation(n)]
    split = {"path": [f"{row}.png" for row in range(n)], "class_index": labels, "sha256": digests}
    return features.astype("float32"), pd.DataFrame(split)


@pytest.mark.parametrize("groups", [None, 12])
def test_each_image_is_held_out_once_and_a_group_as_a_whole(groups):
    _, split = draw_set(60, classes=3)
    if groups:
        split["group"] = [f"group {row // 5}" for row in range(60)]
    held_out = [rows for _, rows in draw_folds(split, 4, seed=0)]
    assert sorted(np.concatenate(held_out)) == list(range(60))
    for learning, rows in draw_folds(split, 4, seed=0):
        assert sorted([*learning, *rows]) == list(range(60))
        in_fold = np.bincount(split["class_index"][rows])
        assert in_fold.tolist() == [5, 5, 5] or (groups and abs(in_fold - 5).max() == 1)
        if groups:
            assert not set(split["group"][learning]) & set(split["group"][rows])
    assert any((a != b[1]).any() for a, b in zip(held_out, draw_folds(split, 4, seed=1), strict=True))


def test_identical_images_are_in_one_fold():
    _, split = draw_set(40)
    split.loc[20:, "sha256"] = split["sha256"][:20].to_numpy()
    for _, rows in draw_folds(split, 5, seed=0):
        assert split["sha256"][rows].value_counts().unique().tolist() == [2]


def test_answers_depend_on_neither_names_nor_order():
    features, split = draw_set(100)
    expected = predict_out_of_fold(features, split, 5, seed=3)
    order = np.random.default_rng(0).permutation(100)
    other = split.iloc[order].assign(path=[f"{row}.jpg" for row in range(100)]).reset_index(drop=True)
    found = predict_out_of_fold(features[order], other, 5, seed=3)
    np.testing.assert_allclose(found, expected[order], atol=1e-6)


def test_a_probe_is_the_best_of_its_strengths():
    features, split = draw_set(300, classes=3)
    features[:, -1] = 7  # a filter that tells nothing
    labels = split["class_index"].to_numpy()
    learning, held_out = next(draw_folds(split, 5, seed=0))
    scaler = StandardScaler().fit(features[learning].astype("float64"))
    losses = []
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=1000)
        model.fit(scaler.transform(features[learning].astype("float64")), labels[learning])
        probabilities = model.predict_proba(scaler.transform(features[held_out].astype("float64")))
        losses.append(reference_loss(labels[held_out], probabilities))
        assert log_loss(probabilities, labels[held_out]) == pytest.approx(losses[-1])
    best = int(np.argmin(losses))
    assert 0 < best < len(STRENGTHS) - 1
    probe = fit_probe(features, split, seed=0)
    assert probe.model.C == STRENGTHS[best]
    scaler = StandardScaler().fit(features.astype("float64"))
    model = LogisticRegression(C=STRENGTHS[best], max_iter=1000)
    model.fit(scaler.transform(features.astype("float64")), labels)
    expected = model.predict_proba(scaler.transform(features.astype("float64")))
    np.testing.assert_allclose(probe.predict(features), expected, atol=1e-4)


def test_held_out_images_are_judged_as_new_ones():
    """Labels that have nothing to do with the images are known by heart, and foretold by nobody."""
    features, split = draw_set(400, channels=150, apart=0)
    labels = split["class_index"].to_numpy()
    of_fold = predict_out_of_fold(features, split, 5, seed=0)
    assert 0.4 < (of_fold.argmax(axis=1) == labels).mean() < 0.6
    assert log_loss(of_fold, labels) < 0.8
    assert (fit_probe(features, split, 0).predict(features).argmax(axis=1) == labels).mean() > 0.65


def test_a_class_of_a_single_image():
    features, split = draw_set(31)
    split.loc[30, "class_index"] = 2
    probabilities = predict_out_of_fold(features, split, 5, seed=0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert probabilities[30, 2] == 0  # nobody had seen that class


def test_features_are_averaged_over_space_and_verified(tmp_path):
    values = np.random.default_rng(0).normal(size=(70, 3, 2, 5)).astype("float16")
    file = tmp_path / "train.npy"
    with array_file(file, (70,), (3, 2, 5), "float16") as array:
        array.write(range(70), values)
    _, split = draw_set(70)
    found = average_features(tmp_path, {"train": split})["train"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values.mean(axis=(1, 2), dtype="float32"))
    content = bytearray(file.read_bytes())
    content[200] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"train\.npy"):
        average_features(tmp_path, {"train": split})


def test_a_single_image_of_each_class():
    features, split = draw_set(3, classes=3)
    probe = fit_probe(features, split, seed=0)
    assert probe.model.C == STRENGTHS[0]
    assert probe.predict(features).argmax(axis=1).tolist() == [0, 1, 2]
