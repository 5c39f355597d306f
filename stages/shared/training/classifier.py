"""What all three techniques do: train above a freeze point, choose how to answer, write the results."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from stages.shared.calibration.abstention import choose_sure_above
from stages.shared.calibration.parameters import Calibration
from stages.shared.calibration.prediction_sets import choose_in_set_from
from stages.shared.calibration.temperature import at_temperature, choose_temperature
from stages.shared.calibration.threshold import choose_threshold
from stages.shared.network import model_file
from stages.shared.network.model_file import Classifier
from stages.shared.network.prediction import is_sure, predict_classes, predict_stored
from stages.shared.network.typicality import TrainingImages, choose_rows, normalized, similarity
from stages.shared.pipeline.files import write_json
from stages.shared.pipeline.image_input import ImageInput
from stages.shared.pipeline.json_and_csv import read_json
from stages.shared.pipeline.model_archive import DecisionRule
from stages.shared.pipeline.parameters import Sections
from stages.shared.pipeline.splits import read_class_names
from stages.shared.store.results import Store
from stages.shared.training.fit import Examples, Training, train_above
from stages.shared.training.head import set_temperature
from stages.shared.training.history import write_epochs


class TrainingParameters(Sections):
    """What all three read of params.yaml beside a section of their own."""

    calibration: Calibration
    store: Store


class Results(NamedTuple):
    """Where a training writes."""

    model: Path
    metrics: Path
    curves: Path


def train_classifier(
    network: keras.Model,
    image_input: ImageInput,
    through: str,
    train: Examples,
    validation: Examples,
    training: Training,
    parameters: TrainingParameters,
    results: Results,
) -> None:
    """Train the layers of `network` after `through` as `training`, a section of params.yaml, says."""
    class_names = read_class_names(train.split)
    report = partial(write_epochs, metrics=results.metrics, table=results.curves)
    trained = train_above(network, through, train, validation, training, parameters.store, report)
    probabilities, features = predict_stored(network, through, *validation)
    truth = validation.split["class_index"].to_numpy()
    rule, measured = choose_rule(truth, probabilities, training, parameters.calibration, class_names)
    set_temperature(network, rule.temperature)
    rows = choose_rows(train.split)
    known = normalized(predict_stored(network, through, *train, rows).features).astype("float16")
    images = TrainingImages(
        train.split["path"].iloc[rows].tolist(), known, np.sort(similarity(features, known))
    )
    metrics = read_json(results.metrics) | measured
    write_json(results.metrics, metrics)
    model_file.save(Classifier(network, class_names, rule, image_input, images), results.model)
    print(
        f"{results.model}: epoch {trained.kept}, validation accuracy {metrics['validation_accuracy']:.3f}; "
        f"{trained.from_store} of {trained.epochs} epochs from the store"
    )


def choose_rule(
    truth: np.ndarray,
    probabilities: np.ndarray,
    training: Training,
    calibration: Calibration,
    class_names: list[str],
) -> tuple[DecisionRule, dict[str, float]]:
    """Return by which rule a network answers, and what there is to measure of it on validation images.

    Their class indices are `truth`, (n,), and at a temperature of 1 it gives them `probabilities`, (n, classes).
    """
    temperature = choose_temperature(truth, probabilities)
    probabilities = at_temperature(probabilities, temperature)
    threshold = sure_above = in_set_from = None
    measured = {"temperature": temperature}
    if len(class_names) == 2:
        threshold = choose_threshold(training.threshold_for, truth, probabilities, class_names)
        measured["threshold"] = threshold
    predicted = predict_classes(probabilities, threshold)
    right = predicted == truth
    if threshold is not None:
        measured["validation_accuracy_at_threshold"] = float(right.mean())
    if calibration.abstain_below is not None:
        confidence = probabilities[np.arange(len(truth)), predicted]
        sure_above = choose_sure_above(calibration.abstain_below, confidence, right)
        measured |= {
            "sure_above": sure_above,
            "validation_answered": float(is_sure(probabilities, predicted, sure_above).mean()),
        }
    if calibration.set_coverage is not None and len(class_names) > 2:
        in_set_from = choose_in_set_from(calibration.set_coverage, truth, probabilities)
        measured["in_set_from"] = in_set_from
    rule = DecisionRule(
        temperature=temperature,
        threshold=threshold,
        sure_above=sure_above,
        in_set_from=in_set_from,
        unlike_below=calibration.unlike,
    )
    return rule, measured
