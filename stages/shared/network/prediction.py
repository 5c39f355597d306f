"""What a trained classifier says: probabilities from stored arrays, and the classes that they stand for."""

from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd

from stages.shared.network.freeze_point import above, base_output
from stages.shared.network.inference import compiled
from stages.shared.pipeline.arrays import StoredArray

BATCH = 32


class Seen(NamedTuple):
    """What a classifier makes of images."""

    probabilities: np.ndarray  # (n, classes) float32
    features: np.ndarray  # its base's, averaged over space, (n, channels) float32


def predict_stored(
    classifier: keras.Model, through: str, split: pd.DataFrame, stored: Path, rows: np.ndarray | None = None
) -> Seen:
    """Return what `classifier` makes of the images of `split`, or of `rows` of them.

    `stored` is the array of their outputs at the layer `through`, (n, …), of views the first. The last batch is
    filled up with its last image: in a smaller one sums are taken in another order.
    """
    model = above(with_features(classifier), through)
    array = StoredArray(stored, len(split), model.input_shape[1:])
    rows = np.arange(len(split)) if rows is None else rows
    filled = rows[np.arange(-(-len(rows) // BATCH) * BATCH).clip(max=len(rows) - 1)]
    infer = compiled(model)
    outputs = [infer(array.read(0, batch).astype("float32")) for batch in filled.reshape(-1, BATCH)]
    probabilities, features = (np.concatenate(parts)[: len(rows)] for parts in zip(*outputs, strict=True))
    return Seen(per_class(probabilities), features)


def with_features(classifier: keras.Model) -> keras.Model:
    """Return `classifier` with a second output: its base's features, averaged over space, (n, channels) float32."""
    features = classifier.get_layer(base_output(classifier)).output
    averaged = keras.layers.GlobalAveragePooling2D(dtype="float32", name="averaged")(features)
    return keras.Model(classifier.input, [classifier.output, averaged], name="classifier_with_features")


def per_class(output: np.ndarray) -> np.ndarray:
    """Return (n, classes) float32 probabilities from a model's output, which is (n, 1) for two classes."""
    return np.hstack([1 - output, output]) if output.shape[1] == 1 else output


def predict_classes(probabilities: np.ndarray, threshold: float | None) -> np.ndarray:
    """Return the class index that each row of `probabilities`, (n, classes), stands for, (n,) int64.

    With a threshold 1 where the probability of class 1 is above it, without the most probable class.
    """
    if threshold is None:
        return probabilities.argmax(axis=1)
    return (probabilities[:, 1].astype("float64") > threshold).astype("int64")


def is_sure(probabilities: np.ndarray, predicted: np.ndarray, sure_above: float | None) -> np.ndarray:
    """Return of which of the classes `predicted`, (n,), a classifier is sure, (n,) bool."""
    of_predicted = probabilities[np.arange(len(predicted)), predicted].astype("float64")
    return of_predicted > (-1 if sure_above is None else sure_above)


def prediction_sets(probabilities: np.ndarray, predicted: np.ndarray, in_set_from: float) -> np.ndarray:
    """Return which classes each image may be of, (n, classes) bool: always the one that is `predicted`, (n,)."""
    return (probabilities.astype("float64") >= in_set_from) | np.eye(probabilities.shape[1], dtype=bool)[
        predicted
    ]
