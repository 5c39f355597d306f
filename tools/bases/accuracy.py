"""How well a linear probe tells the classes apart by some features, and how sure that is."""

from math import sqrt

import numpy as np
import pandas as pd

from stages.shared.probe.folds import draw_folds
from stages.shared.probe.linear_probe import predict_out_of_fold

FOLDS, REPEATS = 5, 2


def cross_validate(features: np.ndarray, split: pd.DataFrame) -> np.ndarray:
    """Return the accuracy on each fold of some draws, (folds,) float64, by (n, channels) `features`.

    The folds are the same whatever the features: two sets of them can be compared fold by fold.
    """
    labels, accuracies = split["class_index"].to_numpy(), []
    for seed in range(REPEATS):
        right = predict_out_of_fold(features, split, FOLDS, seed).argmax(axis=1) == labels
        accuracies += [right[held_out].mean() for _, held_out in draw_folds(split, FOLDS, seed)]
    return np.array(accuracies)


def deviation(values: np.ndarray) -> float:
    """Return the standard deviation of the mean of `values`, one a fold as in cross_validate, (folds,).

    The probes of two folds have mostly learnt from the same images, so that the usual one would be too small.
    Source: Nadeau and Bengio, Inference for the Generalization Error (2003).
    """
    held_out = REPEATS / len(values)  # the share of the images in a fold
    return sqrt((1 / len(values) + held_out / (1 - held_out)) * values.var(ddof=1))
