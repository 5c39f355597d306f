"""The threshold that a training chooses on validation, keeps in its model, and every reader goes by."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.shared.calibration.threshold import check_aim, choose_threshold
from stages.shared.network import model_file
from stages.shared.network.prediction import per_class, predict_classes
from tests.conftest import CLASSES, change, refused, run

NAMES = ["cat", "dog"]
TRUTH = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1])
DOG = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.6, 0.25, 0.35, 0.4], "float32")


def choose(aim: str, truth: np.ndarray = TRUTH, dog: np.ndarray = DOG) -> float:
    return choose_threshold(aim, truth, per_class(dog[:, np.newaxis]), NAMES)


@pytest.mark.parametrize(
    "aim, threshold",
    [
        # 7 of 9 at 0.325, with a standard error of 0.14; 6 of 9 at 0.375, and 5 at 0.5
        ("accuracy", 0.375),
        # (6 / 8 + 8 / 10) / 2 at 0.225; (4 / 6 + 10 / 12) / 2 at 0.325, (2 / 5 + 10 / 13) / 2 at 0.375
        ("f1", 0.325),
        ("recall of dog at least 0.9", 0.225),  # all three dogs
        ("recall of dog at least 0.6", 0.325),
        ("recall of cat at least 1", 0.8),  # no image is above the most probable dog, a cat
    ],
)
def test_the_threshold_by_hand(aim, threshold):
    assert choose(aim) == pytest.approx(threshold)


def test_it_is_the_nearest_to_a_half_of_all_that_are_as_good():
    rng = np.random.default_rng(0)
    others = np.linspace(0, 1, 2001)
    for _ in range(30):
        truth = np.concatenate([[0, 1], rng.integers(0, 2, 40)])
        dog = ((rng.integers(0, 30, 42) + 15 * truth) / 45).astype("float32")  # with ties
        right = np.array([((dog > other) == truth).mean() for other in others])
        least = right.max() - np.sqrt(right.max() * (1 - right.max()) / 42)
        threshold = choose("accuracy", truth, dog)
        assert ((dog > threshold) == truth).mean() >= least
        as_good = others[right >= least]
        assert abs(threshold - 0.5) <= abs(as_good - 0.5).min() + 1 / 45  # half-way between two levels
        recall = choose("recall of dog at least 0.8", truth, dog)
        assert ((dog > recall) & (truth == 1)).sum() >= 0.8 * truth.sum()


def test_it_stays_at_a_half_where_no_other_is_better_by_more_than_chance():
    assert choose("accuracy", np.array([0, 0, 1]), np.array([0.1, 0.2, 0.9], "float32")) == 0.5
    truth, dog = np.repeat([0, 1], 50), np.repeat([0.1, 0.9], 50).astype("float32")
    dog[-1] = 0.3  # 0.2 parts all of them: an accuracy of 1 has no standard error
    assert choose("accuracy", truth, dog) == pytest.approx(0.2)
    dog[:2] = 0.95
    assert choose("accuracy", truth, dog) == 0.5


def test_every_reader_goes_by_it(trained_copy):
    """All images of a model that has to find every one of a class are of that class, if need be."""
    first, second = CLASSES
    change(head__threshold_for=f"recall of {second} at least 1", head__learning_rate=1e-9)
    run("train_head", "evaluate")
    model = model_file.load(Path("data/models/head.keras"))
    threshold = model.rule.threshold
    assert model.class_names == [first, second]
    metrics = json.loads(Path("metrics/head.json").read_text())
    evaluation = json.loads(Path("metrics/evaluation.json").read_text())["head"]
    assert metrics["threshold"] == evaluation["threshold"] == threshold
    table = pd.read_csv("data/evaluation/head_predictions.csv")
    above = np.where(table[f"probability_{second}"] > threshold, second, first)
    assert (table["predicted"] == above).all()
    assert evaluation["accuracy"] == (table["label"] == above).mean()
    assert (
        evaluation["accuracy_at_half"]
        == ((table[f"probability_{second}"] > 0.5) == (table["label"] == second)).mean()
    )


def test_of_more_than_two_classes_the_most_probable():
    probabilities = np.array([[0.4, 0.35, 0.25], [0.1, 0.2, 0.7]], "float32")
    assert predict_classes(probabilities, None).tolist() == [0, 2]


@pytest.mark.parametrize(
    "aim, classes, facts",
    [
        ("f1", ["a", "b", "c"], ("'f1'", "3 classes", "accuracy")),
        ("recall of cow at least 0.9", NAMES, ("'recall of cow at least 0.9'", "cat", "dog")),
    ],
)
def test_an_aim_that_does_not_fit_the_classes(aim, classes, facts):
    check_aim("accuracy", "head", classes)
    with refused("params.yaml", "head.threshold_for", *facts):
        check_aim(aim, "head", classes)


def test_an_aim_that_is_none(extracted):
    change(head__threshold_for="recall of pear at least 2")
    with refused("params.yaml", "head.threshold_for", "'recall of pear at least 2'", "accuracy", "f1"):
        run("train_head")
