"""What a trained classifier says: probabilities from stored arrays, and the classes that they stand for."""

from pathlib import Path

import keras
import numpy as np
import pandas as pd

from stages.shared.network.freeze_point import above
from stages.shared.network.inference import compiled
from stages.shared.pipeline.arrays import StoredArray

BATCH = 32


def predict_stored(classifier: keras.Model, through: str, split: pd.DataFrame, stored: Path) -> np.ndarray:
    """Return (n, classes) float32 probabilities of the images of `split`.

    `stored` is the array of their outputs at the layer `through`, (n, …). The last batch is filled up
    with its last image: in a smaller one sums are taken in another order.
    """
    model = above(classifier, through)
    array = StoredArray(stored, len(split), model.input_shape[1:])
    rows = np.arange(-(-len(split) // BATCH) * BATCH).clip(max=len(split) - 1)
    infer = compiled(model)
    outputs = [infer(array.read(0, batch).astype("float32"))[0] for batch in rows.reshape(-1, BATCH)]
    return per_class(np.concatenate(outputs)[: len(split)])


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
