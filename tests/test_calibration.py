"""What is chosen on validation besides the threshold: temperature, when to abstain, and sets of classes."""

import json
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from scipy.stats import binom

from stages.evaluate.answers import measure_answers
from stages.shared.calibration.abstention import choose_sure_above
from stages.shared.calibration.prediction_sets import choose_in_set_from
from stages.shared.calibration.temperature import at_temperature, choose_temperature
from stages.shared.network import model_file
from stages.shared.network.prediction import is_sure, prediction_sets
from stages.shared.pipeline.model_archive import DecisionRule
from tests.conftest import change, run

RNG = np.random.default_rng(0)


def draw(images: int, classes: int, temperature: float, spread: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and the probabilities of a model whose scores are `temperature` times too large."""
    scores = RNG.normal(0, spread, (images, classes))
    truth = np.array([RNG.choice(classes, p=p) for p in softmax(scores, axis=1)])
    return truth, softmax(temperature * scores, axis=1).astype("float32")


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("temperature", [0.4, 1, 2.5])
def test_the_temperature_is_by_what_scores_are_too_large(classes, temperature):
    truth, probabilities = draw(4000, classes, temperature)
    assert choose_temperature(truth, probabilities) == pytest.approx(temperature, rel=0.1)
    honest = at_temperature(probabilities, temperature)
    assert honest.dtype == "float32" and honest.sum(axis=1) == pytest.approx(np.ones(4000), abs=1e-6)
    assert (honest.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    np.testing.assert_allclose(at_temperature(honest, 1 / temperature), probabilities, atol=1e-5)


def test_the_temperature_of_a_model_without_an_error_on_few_images():
    """A loss alone would ask for the lowest that there is."""
    truth = np.arange(20) % 2
    sure = np.eye(2, dtype="float32")[truth] * 0.8 + 0.1
    assert 0.3 < choose_temperature(truth, sure) < 1
    certain = np.eye(2, dtype="float32")[truth]
    assert 1 < choose_temperature(truth, certain) < 20


def test_answers_are_as_often_right_as_is_asked():
    """On other images of the same kind too, in most draws."""
    kept, answered = 0, []
    for _ in range(200):
        confidence = RNG.uniform(0.5, 1, 4000).astype("float32")
        right = RNG.random(4000) < confidence
        sure = confidence[1000:] > choose_sure_above(0.9, confidence[:1000], right[:1000])
        kept += not sure.any() or right[1000:][sure].mean() >= 0.9
        answered.append(sure.mean())
    assert kept >= 160 and 0.25 < np.mean(answered) < 0.4  # of those above 0.8, which are 0.4 of all


def test_where_answers_begin():
    confidence = np.array([0.9] * 60 + [0.8] * 60 + [0.7] * 60, "float32")
    right = np.repeat([True, False], [120, 60])
    assert choose_sure_above(0.95, confidence, right) == pytest.approx(0.75)
    assert choose_sure_above(0.6, confidence, right) == pytest.approx(0.35)  # half-way to none
    assert choose_sure_above(0.99, confidence, right) == 1.0
    assert choose_sure_above(0.95, confidence, ~right) == 1.0
    assert binom.cdf(0, 120, 0.02) < 0.1  # which is why 0.95 holds and 0.99 does not
    probabilities = np.array([[0.3, 0.7], [0.75, 0.25], [0.2, 0.8]], "float32")
    predicted = np.array([1, 0, 1])
    assert is_sure(probabilities, predicted, 0.75).tolist() == [False, False, True]
    assert is_sure(probabilities, predicted, None).all()


def test_the_true_class_is_in_as_many_sets_as_is_asked():
    inside = []
    for _ in range(200):
        truth, probabilities = draw(400, 4, 2)
        begin = choose_in_set_from(0.9, truth[:99], probabilities[:99])
        predicted = probabilities.argmax(axis=1)
        sets = prediction_sets(probabilities, predicted, begin)
        assert sets[np.arange(400), predicted].all()
        inside.append(sets[np.arange(99, 400), truth[99:]].mean())
    assert np.mean(inside) == pytest.approx(0.9, abs=0.01)


def test_a_set_of_every_class_where_there_are_too_few_images_to_promise_less():
    truth, probabilities = draw(8, 3, 1)
    assert choose_in_set_from(0.9, truth, probabilities) == 0
    assert choose_in_set_from(0.5, truth, probabilities) > 0


def test_what_is_measured_of_answers():
    truth = np.array([0, 1, 2, 2])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.6, 0.3], [0.5, 0.1, 0.4], [0.1, 0.2, 0.7]], "float32")
    rule = DecisionRule(temperature=2.0, threshold=None, sure_above=0.55, in_set_from=0.3, unlike_below=0.1)
    typicality = np.array([0.05, 0.1, 0.5, 0.75])
    found = measure_answers(truth, probabilities.argmax(axis=1), probabilities, typicality, rule)
    before = at_temperature(probabilities, 0.5).max(axis=1)
    assert before[0] == pytest.approx(0.64 / 0.66)
    assert found == {
        "temperature": 2.0,
        "calibration_error_before": pytest.approx(
            (1 - before[0] + 1 - before[1] + before[2] + 1 - before[3]) / 4
        ),
        "typicality": pytest.approx(0.35),
        "unlike": 0.25,
        "answered": 0.75,
        "accuracy_of_answers": 1.0,
        "in_set": 1.0,
        "set_size": 1.5,
    }
    none = rule.model_copy(update={"sure_above": 1.0})
    found = measure_answers(truth, probabilities.argmax(axis=1), probabilities, typicality, none)
    assert found["answered"] == 0 and found["accuracy_of_answers"] is None


@pytest.mark.slow
def test_a_model_gives_the_probabilities_that_were_chosen(trained_copy):
    """The layer that divides by the temperature is a part of the network, and fine-tuning starts without it."""
    change(head__learning_rate=0.003, calibration__abstain_below=0.5, calibration__unlike=0.3)
    run("train_head", "evaluate")
    model = model_file.load(Path("data/models/head.keras"))
    metrics = json.loads(Path("metrics/head.json").read_text())
    measured = json.loads(Path("metrics/evaluation.json").read_text())["head"]
    assert model.rule.temperature == metrics["temperature"] == measured["temperature"] != 1
    scores = keras.Model(model.network.input, model.network.get_layer("scores").output)
    images = RNG.integers(0, 256, (4, *model.network.input_shape[1:])).astype("float32")
    expected = 1 / (1 + np.exp(-scores.predict(images, verbose=0) / metrics["temperature"]))
    np.testing.assert_allclose(model.network.predict(images, verbose=0), expected, atol=1e-6)
    assert metrics["sure_above"] == model.rule.sure_above and model.rule.unlike_below == 0.3
    table = pd.read_csv("data/evaluation/head_predictions.csv")
    confidence = table.filter(like="probability").to_numpy().max(axis=1)
    sure = confidence > metrics["sure_above"]
    assert measured["answered"] == sure.mean()
    if sure.any():
        assert measured["accuracy_of_answers"] == (table["label"] == table["predicted"])[sure].mean()
