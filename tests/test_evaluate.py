"""What evaluate measures, on predictions small enough to count by hand, and what it writes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.shared.metrics import measure, per_class, roc_curve
from tests.conftest import run

TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 1])
ONE = np.array(
    [0.1, 0.2, 0.3, 0.7, 0.4, 0.6, 0.8, 0.9], "float32"
)  # of class 1: one image wrong in each class


def test_two_classes():
    found = measure(TRUTH, per_class(ONE[:, np.newaxis]), ["cat", "dog"])
    of_true_class = np.where(TRUTH == 1, ONE, 1 - ONE)
    assert found["accuracy"] == found["balanced_accuracy"] == 0.75
    assert found["loss"] == pytest.approx(-np.log(of_true_class).mean(), rel=1e-6)
    assert found["roc_auc"] == pytest.approx(14 / 16)  # of the 16 pairs, two are in the wrong order
    cat, dog = (1 + 1 + 1 + 4 / 6) / 4, (1 + 1 + 3 / 4 + 4 / 5) / 4  # precision at each, most probable first
    assert found["average_precision"] == pytest.approx((cat + dog) / 2)
    assert found["per_class"]["dog"] == {"precision": 0.75, "recall": 0.75, "f1": 0.75}
    assert found["confusion_matrix"] == [[3, 1], [1, 3]]


def test_three_classes_and_one_that_is_never_predicted():
    truth = np.array([0, 0, 1, 1, 1, 2])
    probabilities = np.array(
        [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.1, 0.7, 0.2], [0.6, 0.3, 0.1], [0.1, 0.6, 0.3]]
    )
    found = measure(truth, probabilities, ["a", "b", "c"])
    assert found["confusion_matrix"] == [[1, 1, 0], [1, 2, 0], [0, 1, 0]]
    assert found["accuracy"] == 0.5
    assert found["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert found["loss"] == pytest.approx(-np.log([0.8, 0.2, 0.8, 0.7, 0.3, 0.3]).mean())
    assert found["per_class"]["b"] == pytest.approx({"precision": 2 / 4, "recall": 2 / 3, "f1": 4 / 7})
    assert found["per_class"]["c"] == {"precision": 0, "recall": 0, "f1": 0}
    areas = [7 / 8, 6.5 / 9, 1]  # of each class against the rest, counted in pairs, ties as a half
    assert found["roc_auc"] == pytest.approx(np.mean(areas))


def test_roc_curve_has_the_area_that_is_reported():
    curve = roc_curve(TRUTH, per_class(ONE[:, np.newaxis]))
    assert np.trapezoid(curve["true_positive_rate"], curve["false_positive_rate"]) == pytest.approx(14 / 16)
    assert curve.iloc[0].tolist() == [0, 0] and curve.iloc[-1].tolist() == [1, 1]


def test_roc_curve_of_many_classes_has_the_area_that_is_reported():
    truth = np.array([0, 0, 1, 1, 1, 2, 2])
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), len(truth))
    curve = roc_curve(truth, probabilities)
    area = np.trapezoid(curve["true_positive_rate"], curve["false_positive_rate"])
    assert area == pytest.approx(measure(truth, probabilities, ["a", "b", "c"])["roc_auc"])
    assert curve.iloc[0].tolist() == [0, 0] and curve.iloc[-1].tolist() == [1, 1]
    assert (curve.diff().dropna() >= 0).all(axis=None)


def test_everything_written_agrees(extracted):
    run("train_head", "train_augmented", "fine_tune", "evaluate")
    evaluation = json.loads(Path("metrics/evaluation.json").read_text())
    assert list(evaluation) == ["head", "augmented", "fine_tuned"]
    for model, found in evaluation.items():
        table = pd.read_csv(f"data/evaluation/{model}_predictions.csv")
        assert list(table.columns) == ["path", "label", "predicted", "probability_apple", "probability_pear"]
        assert found["accuracy"] == (table["label"] == table["predicted"]).mean()
        matrix = pd.crosstab(table["label"], table["predicted"]).reindex(
            columns=["apple", "pear"], fill_value=0
        )
        assert found["confusion_matrix"] == matrix.to_numpy().tolist()
        assert (table["predicted"] == np.where(table["probability_pear"] > 0.5, "pear", "apple")).all()
    for picture in ("confusion_matrices", "roc_curves"):
        assert Image.open(f"metrics/{picture}.png").size > (300, 300)
