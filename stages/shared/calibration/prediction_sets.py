"""Of more than two classes: which ones an image may be of, so that the true one is among them as often as is asked."""

from math import ceil

import numpy as np


def choose_in_set_from(coverage: float, truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the probability from which on a class is in an image's set.

    With images like those of the class indices `truth`, (n,), and `probabilities`, (n, classes), of which none was
    learnt from, the true class is in at least `coverage` of the sets. It is 0, every class in every set, where n is
    too small for that.
    Source: Sadinle, Lei and Wasserman, Least Ambiguous Set-Valued Classifiers with Bounded Error Levels (2019).
    """
    of_true_class = np.sort(probabilities[np.arange(len(truth)), truth])
    outside = len(truth) + 1 - ceil((len(truth) + 1) * coverage)  # how many of n + 1 may be so
    return float(of_true_class[outside - 1]) if outside else 0.0
