"""What all three techniques do: train above a freeze point, choose the threshold, write the results."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

from stages.shared.network import model_file
from stages.shared.network.model_file import Classifier
from stages.shared.network.prediction import predict_classes, predict_stored
from stages.shared.pipeline.files import write_json
from stages.shared.pipeline.json_and_csv import read_json
from stages.shared.store.results import Store
from stages.shared.training.fit import Examples, Training, train_above
from stages.shared.training.history import write_epochs
from stages.shared.training.threshold import check_aim, choose_threshold


class Results(NamedTuple):
    """Where a training writes."""

    model: Path
    metrics: Path
    curves: Path


def train_classifier(
    classifier: Classifier,
    through: str,
    train: Examples,
    validation: Examples,
    training: Training,
    store: Store,
    section: str,
    results: Results,
) -> None:
    """Train the layers of `classifier` after `through` as `training`, a section of params.yaml, says.

    Raises UserError where its classes do not allow for training.threshold_for.
    """
    network, class_names, *_ = classifier
    check_aim(training.threshold_for, section, class_names)
    report = partial(write_epochs, metrics=results.metrics, table=results.curves)
    trained = train_above(network, through, train, validation, training, store, report)
    metrics = read_json(results.metrics)
    threshold = None
    if len(class_names) == 2:
        truth = validation.split["class_index"].to_numpy()
        probabilities = predict_stored(network, through, *validation)
        threshold = choose_threshold(training.threshold_for, truth, probabilities, class_names)
        at_threshold = float((predict_classes(probabilities, threshold) == truth).mean())
        metrics |= {"threshold": threshold, "validation_accuracy_at_threshold": at_threshold}
        write_json(results.metrics, metrics)
    model_file.save(classifier._replace(threshold=threshold), results.model)
    print(
        f"{results.model}: epoch {trained.kept}, validation accuracy {metrics['validation_accuracy']:.3f}; "
        f"{trained.from_store} of {trained.epochs} epochs from the store"
    )
