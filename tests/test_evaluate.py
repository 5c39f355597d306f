"""What evaluate measures, on predictions small enough to count by hand, and what it writes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import binomtest
from sklearn import metrics
from sklearn.metrics import f1_score, roc_auc_score

from stages.draw_plots.pictures import draw_confusion_matrices
from stages.shared.evaluation.curves import reliability, roc_curve
from stages.shared.evaluation.intervals import area, bootstrap, draw_counts, even_chances, mcnemar, wilson
from stages.shared.evaluation.metrics import calibration_error, evaluate_predictions, measure
from stages.shared.network.prediction import per_class, predict_classes
from tests.conftest import CLASSES, change, run, search, shows_something, states, write_array
from tests.test_honesty import read_outputs
from tools import show_results

TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 1])
ONE = np.array(
    [0.1, 0.2, 0.3, 0.7, 0.4, 0.6, 0.8, 0.9], "float32"
)  # of class 1: one image wrong in each class


def test_two_classes():
    found = evaluate_predictions(TRUTH, per_class(ONE[:, np.newaxis]), ["cat", "dog"], 0.5)
    of_true_class = np.where(TRUTH == 1, ONE, 1 - ONE)
    assert found["accuracy"] == found["balanced_accuracy"] == 0.75
    assert found["loss"] == pytest.approx(-np.log(of_true_class).mean(), rel=1e-6)
    assert found["roc_auc"] == pytest.approx(14 / 16)  # of the 16 pairs, two are in the wrong order
    cat, dog = (1 + 1 + 1 + 4 / 6) / 4, (1 + 1 + 3 / 4 + 4 / 5) / 4  # precision at each, most probable first
    assert found["average_precision"] == pytest.approx((cat + dog) / 2)
    dog = found["per_class"][1]
    assert dog["class"] == "dog"
    assert dog["precision"] == dog["recall"] == dog["f1"] == 0.75
    assert found["accuracy_interval"] == pytest.approx([0.4093, 0.9285], abs=1e-4)  # Wilson's formula
    assert dog["f1_interval"][1] == 1
    assert found["brier_score"] == pytest.approx(((ONE - TRUTH) ** 2).mean())
    assert found["confusion_matrix"] == [[3, 1], [1, 3]]


def test_both_thresholds_are_reported():
    found = evaluate_predictions(TRUTH, per_class(ONE[:, np.newaxis]), ["cat", "dog"], 0.35)
    assert (found["threshold"], found["accuracy"], found["accuracy_at_half"]) == (0.35, 0.875, 0.75)
    assert found["confusion_matrix"] == [[3, 1], [0, 4]]
    dog = found["per_class"][1]
    assert (dog["recall"], dog["precision"], dog["recall_at_half"], dog["precision_at_half"]) == (
        1,
        0.8,
        0.75,
        0.75,
    )
    assert found["accuracy_interval"] == pytest.approx([0.5291, 0.9776], abs=1e-4)


def test_three_classes_and_one_that_is_never_predicted():
    truth = np.array([0, 0, 1, 1, 1, 2])
    probabilities = np.array(
        [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.1, 0.7, 0.2], [0.6, 0.3, 0.1], [0.1, 0.6, 0.3]]
    )
    found = evaluate_predictions(truth, probabilities, ["a", "b", "c"], None)
    assert not {"threshold", "accuracy_at_half"} & set(found)
    assert found["confusion_matrix"] == [[1, 1, 0], [1, 2, 0], [0, 1, 0]]
    assert found["accuracy"] == 0.5
    assert found["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert found["loss"] == pytest.approx(-np.log([0.8, 0.2, 0.8, 0.7, 0.3, 0.3]).mean())
    _, b, c = found["per_class"]
    assert [b["precision"], b["recall"], b["f1"]] == pytest.approx([2 / 4, 2 / 3, 4 / 7])
    assert c == {"class": "c", "precision": 0, "recall": 0, "f1": 0, "f1_interval": [0, 0]}
    assert found["brier_score"] == pytest.approx(((probabilities - np.eye(3)[truth]) ** 2).sum(axis=1).mean())
    areas = [7 / 8, 6.5 / 9, 1]  # of each class against the rest, counted in pairs, ties as a half
    assert found["roc_auc"] == pytest.approx(np.mean(areas))


@pytest.mark.parametrize("classes", [2, 4])
def test_figures_are_those_of_scikit_learn(classes):
    """With many images of the same probability, and a class that is never predicted."""
    rng = np.random.default_rng(0)
    truth = np.append(np.arange(classes), rng.integers(0, classes, 300))
    drawn = rng.integers(1, 20, (len(truth), classes))
    drawn = drawn / drawn.sum(axis=1, keepdims=True)
    probabilities = drawn if classes > 2 else per_class(drawn[:, 1:].astype("float32"))
    predicted = rng.integers(0, classes - 1, len(truth))
    found = measure(truth, predicted, probabilities, list("abcd")[:classes])
    positive = np.eye(classes, dtype=int)[truth]
    for name, expected in {
        "accuracy": metrics.accuracy_score(truth, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, predicted),
        "roc_auc": metrics.roc_auc_score(positive, probabilities),
        "average_precision": metrics.average_precision_score(positive, probabilities),
        "brier_score": metrics.brier_score_loss(truth, probabilities, labels=range(classes)),
    }.items():
        assert found[name] == pytest.approx(expected), name
    assert found["confusion_matrix"] == metrics.confusion_matrix(truth, predicted).tolist()
    per_class_ = metrics.precision_recall_fscore_support(truth, predicted, zero_division=0)[:3]
    for name, values in zip(("precision", "recall", "f1"), per_class_, strict=True):
        assert [one[name] for one in found["per_class"]] == pytest.approx(list(values))
    if classes == 2:
        false, true, _ = metrics.roc_curve(truth, probabilities[:, 1], drop_intermediate=False)
        curve = roc_curve(truth, probabilities)
        drawn = np.interp(false, curve["false_positive_rate"], curve["true_positive_rate"])
        assert np.abs(np.diff(false)).min() == 0 and drawn[np.diff(false, append=1) > 0] == pytest.approx(
            true[np.diff(false, append=1) > 0]
        )


@pytest.mark.parametrize("one, other", [(0, 0), (1, 0), (0, 6), (5, 5), (30, 11), (500, 620)])
def test_intervals_and_tests_of_accuracies_are_those_of_scipy(one, other):
    images = max(1, one + other)
    assert even_chances(one, other) == pytest.approx(binomtest(one, images, 0.5).pvalue if one + other else 1)
    interval = binomtest(one, images).proportion_ci(method="wilson")
    assert wilson(one, images) == pytest.approx([interval.low, interval.high], abs=1e-12)


def test_calibration_error_is_that_of_the_bins():
    probabilities = per_class(np.array([0.95, 0.93, 0.91, 0.72, 0.25], "float32")[:, np.newaxis])
    truth = np.array([1, 1, 0, 1, 0])
    table = reliability(truth, probabilities)
    assert table["images"].to_dict() == {7: 2, 9: 3}
    assert table["accuracy"].tolist() == [1, pytest.approx(2 / 3)]
    expected = (2 * (1 - 0.735) + 3 * (0.93 - 2 / 3)) / 5
    predicted = predict_classes(probabilities, 0.94)  # calibration knows no threshold
    assert calibration_error(truth, predicted, probabilities) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_bootstrap_is_that_of_resampled_images():
    rng = np.random.default_rng(1)
    truth = np.repeat([0, 1, 2], [30, 20, 10])
    chances = [0.5 * rng.dirichlet([1, 1, 1]) + 0.5 * np.eye(3)[index] for index in truth]
    probabilities = np.array([rng.multinomial(10, chance) for chance in chances]) / 10  # with ties
    counts = next(draw_counts(truth))
    assert all((counts[:, truth == index].sum(axis=1) == n).all() for index, n in enumerate([30, 20, 10]))
    rows = np.repeat(np.arange(60), counts[3])
    for index in range(3):
        expected = roc_auc_score(truth[rows] == index, probabilities[rows, index])
        assert area(truth == index, probabilities[:, index], counts)[3] == pytest.approx(expected)
    predicted = probabilities.argmax(axis=1)
    found = bootstrap(truth, predicted, probabilities)
    measured = measure(truth, predicted, probabilities, ["a", "b", "c"])
    assert found["roc_auc"][0] < measured["roc_auc"] < found["roc_auc"][1]
    assert 0.05 < found["roc_auc"][1] - found["roc_auc"][0] < 0.25
    f1 = [
        f1_score(truth[rows], predicted[rows], labels=[0, 1, 2], average=None)
        for rows in (np.repeat(np.arange(60), one) for part in draw_counts(truth) for one in part)
    ]
    assert np.array(found["f1"]) == pytest.approx(np.quantile(f1, [0.025, 0.975], axis=0).T)


def test_mcnemar_is_exact():
    before, after = np.array([1, 1, 1, 0, 0, 0, 1], bool), np.array([1, 1, 0, 1, 1, 1, 1], bool)
    assert mcnemar(before, after) == {"corrected": 3, "spoiled": 1, "p_value": pytest.approx(2 * 5 / 16)}
    assert mcnemar(before, before) == {"corrected": 0, "spoiled": 0, "p_value": 1.0}


def test_roc_curve_has_the_area_that_is_reported():
    curve = roc_curve(TRUTH, per_class(ONE[:, np.newaxis]))
    assert np.trapezoid(curve["true_positive_rate"], curve["false_positive_rate"]) == pytest.approx(14 / 16)
    assert curve.iloc[0].tolist() == [0, 0] and curve.iloc[-1].tolist() == [1, 1]


def test_roc_curve_of_many_classes_has_the_area_that_is_reported():
    truth = np.array([0, 0, 1, 1, 1, 2, 2])
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), len(truth))
    curve = roc_curve(truth, probabilities)
    area = np.trapezoid(curve["true_positive_rate"], curve["false_positive_rate"])
    assert area == pytest.approx(
        measure(truth, probabilities.argmax(axis=1), probabilities, ["a", "b", "c"])["roc_auc"]
    )
    assert curve.iloc[0].tolist() == [0, 0] and curve.iloc[-1].tolist() == [1, 1]
    assert (curve.diff().dropna() >= 0).all(axis=None)


@pytest.mark.slow
def test_confusion_matrices_of_many_classes(tmp_path):
    """A picture that grows with the classes would have no room in memory."""
    sizes = []
    for classes in (10, 40, 80):
        measured = {"head": {"confusion_matrix": np.eye(classes, dtype=int).tolist()}}
        labels = [f"class number {number}" for number in range(classes)]
        draw_confusion_matrices(measured, labels, tmp_path / "matrices.png")
        sizes.append(Image.open(tmp_path / "matrices.png").size)
    assert sizes[0] < sizes[1] == sizes[2]


def test_classes_whose_letters_the_font_lacks_have_numbers(tmp_path):
    measured = {"head": {"confusion_matrix": [[1, 2], [3, 4]]}}
    for file, labels in (("lacking.png", ["猫", "Käse"]), ("numbers.png", ["class 0", "Käse"])):
        draw_confusion_matrices(measured, labels, tmp_path / file)
    assert (tmp_path / "lacking.png").read_bytes() == (tmp_path / "numbers.png").read_bytes()


def test_dollar_signs_in_class_names_are_no_formula(tmp_path):
    measured = {"head": {"confusion_matrix": [[1, 2], [3, 4]]}}
    draw_confusion_matrices(measured, ["$5_$10", "$x$"], tmp_path / "matrices.png")
    assert shows_something(tmp_path / "matrices.png")


def test_a_prediction_is_computed_once_for_a_model_and_what_it_sees(trained_copy, tmp_path, capsys):
    def from_store() -> str:
        capsys.readouterr()
        run("evaluate")
        return search(r"(\d) from the store", capsys.readouterr().out)[1]

    assert from_store() == "0"
    before = read_outputs("evaluate")
    change(store__folder=str(tmp_path / "store"), store__gigabytes=1)
    assert [from_store(), from_store()] == ["0", "3"] and read_outputs("evaluate") == before
    change(head__units=4)
    run("train_head")
    assert from_store() == "2"
    after = read_outputs("evaluate")
    assert {path for path in after if after[path] != before[path]} == {
        "data/evaluation/head_predictions.csv",
        "data/evaluation/head_roc.csv",
        "metrics/evaluation.json",
        "data/records/evaluate/evaluation.json",
    }
    activations = Path("data/activations/test.npy")
    write_array(activations, np.load(activations)[::-1])
    assert from_store() == "2"
    table = Path("data/evaluation/fine_tuned_predictions.csv")
    assert table.read_bytes() != before[str(table)]


def test_everything_written_agrees(trained_copy, capsys):
    images = pd.read_csv("data/splits/test.csv")[["path", "label"]].head(3)
    images.insert(0, "split", "test")
    near_duplicates = images.join(images.add_prefix("other_"))
    near_duplicates.to_csv("data/leakage/near_duplicates.csv", index=False)
    run("evaluate", "draw_plots")
    evaluation = json.loads(Path("metrics/evaluation.json").read_text())
    differences = evaluation.pop("differences")
    assert [(pair["after"], pair["before"]) for pair in differences] == [
        ("augmented", "head"),
        ("fine_tuned", "head"),
        ("fine_tuned", "augmented"),
    ]
    assert list(evaluation) == ["head", "augmented", "fine_tuned"]
    for model, found in evaluation.items():
        table = pd.read_csv(f"data/evaluation/{model}_predictions.csv")
        columns = [f"probability_{name}" for name in CLASSES]
        assert list(table.columns) == ["path", "label", "predicted", *columns]
        right = table["label"] == table["predicted"]
        assert found["accuracy"] == right.mean()
        assert found["accuracy_without_near_duplicates"] == right[3:].mean()
        matrix = pd.crosstab(table["label"], table["predicted"]).reindex(columns=list(CLASSES), fill_value=0)
        assert found["confusion_matrix"] == matrix.to_numpy().tolist()
        assert (
            table["predicted"] == np.where(table[columns[1]] > found["threshold"], *reversed(CLASSES))
        ).all()
    for picture in (
        "confusion_matrices",
        "roc_curves",
        "head_curves",
        "augmented_curves",
        "fine_tuned_curves",
    ):
        assert shows_something(Path(f"metrics/{picture}.png"))
    capsys.readouterr()
    show_results.main(Path("metrics"))
    shown = capsys.readouterr().out
    row = next(line.split() for line in shown.splitlines() if line.startswith("head"))
    expected = [evaluation["head"][name] for name in show_results.METRICS]
    assert list(map(float, row[1:])) == pytest.approx(expected, abs=0.00051)
    assert states(shown, "metrics/report.html")
