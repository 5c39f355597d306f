"""What a trained model answers to an image: its class, how sure that is, and whether it knows such images at all."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from stages.shared.network.model_file import Classifier
from stages.shared.network.prediction import is_sure, predict_classes, prediction_sets

Remark = Literal["", "unsure", "unlike"]


class Answer(NamedTuple):
    predicted: str
    probabilities: list[float]  # of each class
    remark: Remark  # unlike: all that was learnt; else unsure: too often wrong where it is no surer
    typicality: float  # the share of the validation images that are no more like the training images
    nearest: list[str]  # the training images that it is most like, their paths
    possible: list[str] | None  # classes of which it may be; None where the model names no such sets


def answers_of(classifier: Classifier, probabilities: np.ndarray, features: np.ndarray) -> list[Answer]:
    """Return an answer for each row of what `with_features` gives of `classifier`: (n, classes) and (n, channels)."""
    names, rule, known = classifier.class_names, classifier.rule, classifier.training_images
    predicted = predict_classes(probabilities, rule.threshold)
    sure = is_sure(probabilities, predicted, rule.sure_above)
    possible: Sequence = [None] * len(predicted)
    if rule.in_set_from is not None:
        sets = prediction_sets(probabilities, predicted, rule.in_set_from)
        possible = [[names[index] for index in np.flatnonzero(row)] for row in sets]
    rows = zip(
        predicted,
        probabilities,
        sure,
        known.typicality(features),
        known.nearest(features),
        possible,
        strict=True,
    )
    return [
        Answer(
            names[index],
            # The shortest decimals that are these float32 numbers, as in evaluate's tables.
            [float(str(probability)) for probability in row],
            "unlike" if typicality < rule.unlike_below else "" if is_sure_of_it else "unsure",
            float(typicality),
            nearest,
            classes,
        )
        for index, row, is_sure_of_it, typicality, nearest, classes in rows
    ]
