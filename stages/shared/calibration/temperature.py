"""The temperature of a classifier: by what its scores are divided, so that its probabilities mean what they say."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

LEAST = 1e-7  # of a probability, as in Keras's loss
RANGE = 0.05, 20.0  # of a temperature


def choose_temperature(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the temperature at which the loss on images of the class indices `truth`, (n,), is lowest.

    `probabilities`, (n, classes), are those at a temperature of 1. Where all of them are right, a loss would ask for
    ever lower ones: so that the true class is to have not 1 but (n + 1) / (n + classes), the others the rest.
    Sources: Guo et al., On Calibration of Modern Neural Networks (2017); of the targets Platt, Probabilistic Outputs
    for Support Vector Machines (1999).
    """
    images, classes = probabilities.shape
    targets = np.full((images, classes), 1 / (images + classes))
    targets[np.arange(images), truth] = (images + 1) / (images + classes)
    scores = _scores(probabilities)

    def loss(logarithm: float) -> float:
        return -np.sum(targets * log_softmax(scores / np.exp(logarithm), axis=1))

    found = minimize_scalar(loss, bounds=np.log(RANGE), method="bounded", options={"xatol": 1e-4})
    return round(float(np.exp(found.x)), 3)


def at_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return (n, classes) float32 `probabilities` as their scores, divided by `temperature`, would give them."""
    return np.exp(log_softmax(_scores(probabilities) / temperature, axis=1)).astype("float32")


def _scores(probabilities: np.ndarray) -> np.ndarray:
    return np.log(probabilities.astype("float64").clip(LEAST, 1 - LEAST))
