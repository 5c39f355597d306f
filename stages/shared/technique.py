"""What the three techniques do alike: train above a freeze point, choose the threshold, leave the results."""

import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

import keras
import pandas as pd

from stages.shared import machine, models
from stages.shared.curves import draw_curves, write_epochs
from stages.shared.files import keep, whole
from stages.shared.prediction import predict_classes, predict_stored
from stages.shared.threshold import check_aim, choose_threshold
from stages.shared.training import Training, train_above


class Results(NamedTuple):
    """Where a training stage writes, in the order of its paths in dvc.yaml."""

    model: Path
    metrics: Path
    curves: Path
    picture: Path
    circumstances: Path
    record: Path


def apply(
    classifier: keras.Model,
    names: list[str],
    through: str,
    train: tuple[pd.DataFrame, Path],
    validation: tuple[pd.DataFrame, Path],
    training: Training,
    section: str,
    results: Results,
) -> None:
    """Train the layers of `classifier` after `through` as `training`, a section of params.yaml, says.

    `train` and `validation` are each a split and the array of its images' outputs at `through`.
    Raises UserError where the classes `names` do not allow for training.threshold_for.
    """
    check_aim(training.threshold_for, section, names)
    kept = train_above(
        classifier,
        through,
        train,
        validation,
        training,
        partial(write_epochs, metrics=results.metrics, table=results.curves),
    )
    metrics = json.loads(results.metrics.read_text())
    threshold = None
    if len(names) == 2:
        truth = validation[0]["class_index"].to_numpy()
        probabilities = predict_stored(classifier, through, *validation)
        threshold = choose_threshold(training.threshold_for, truth, probabilities, names)
        at_threshold = float((predict_classes(probabilities, threshold) == truth).mean())
        metrics |= {"threshold": threshold, "validation_accuracy_at_threshold": at_threshold}
        with whole(results.metrics) as file:
            file.write_text(json.dumps(metrics, indent=2) + "\n")
    models.save(classifier, results.model, names, threshold)
    draw_curves(results.curves, results.picture)
    machine.record(classifier, results.circumstances)
    keep(results.record, results.metrics, results.curves, results.picture)
    print(f"{results.model}: epoch {kept}, validation accuracy {metrics['validation_accuracy']:.3f}")
