"""Which labels a probe that has not seen them is confident are wrong.

An image is counted to a class where the class's probability is at least what it is on average for the images with
that label, and SURE is enough: a class that the probe is never sure of needs less. It is a suspect where the most
probable of these classes is not its label.
Source: Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels (2021).
"""

import numpy as np

# Of a class that is easy the mean asks for more than an image among wrong labels gets: docs/results.md.
SURE = 0.8


def self_confidence(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return of (n, classes) `probabilities` those of the `labels`, (n,) float64."""
    return probabilities[np.arange(len(labels)), labels]


def choose_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the mean self-confidence of each class's images, SURE at most, (classes,) float64."""
    sums = np.bincount(labels, self_confidence(probabilities, labels), probabilities.shape[1])
    images = np.bincount(labels, minlength=probabilities.shape[1])
    return np.minimum(sums / np.maximum(images, 1), SURE)


def find_suspects(probabilities: np.ndarray, labels: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the class that each suspect is counted to, and the label of all others, (n,) int64.

    `thresholds` are those of choose_thresholds. An image of whose class none was there to learn
    from, so that its probability is 0, is no suspect.
    """
    counted = np.where(probabilities >= thresholds, probabilities, -1)
    judged = (counted.max(axis=1) >= 0) & (self_confidence(probabilities, labels) > 0)
    return np.where(judged, counted.argmax(axis=1), labels)
