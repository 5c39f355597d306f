"""Where a classifier is to say that it is not sure."""

import numpy as np
from scipy.stats import beta

CONFIDENCE = 0.9  # that the accuracy asked for is reached


def choose_sure_above(accuracy: float, confidence: np.ndarray, right: np.ndarray) -> float:
    """Return the probability above which an answer has at least `accuracy`, so that as many as can be are answered.

    `confidence`, (n,) float32, is the probability of the class that is predicted, and `right`, (n,) bool, whether it
    is the true one. What counts is the lower bound of the accuracy on the images above (Clopper and Pearson): a
    probability chosen for what the images happen to give would keep its promise on other images half of the time.
    It is half-way between the confidences it parts, and 1 where no answer is sure enough.
    Source: Geifman and El-Yaniv, Selective Classification for Deep Neural Networks (2017).
    """
    order = np.argsort(-confidence, kind="stable")
    sure, correct = confidence[order].astype("float64"), right[order].cumsum()
    last = np.flatnonzero(np.diff(sure, append=-1))  # of the images with one confidence
    wrong = last + 1 - correct[last]
    bound = beta.ppf(1 - CONFIDENCE, correct[last], wrong + 1)  # no number where none is right
    enough = last[bound >= accuracy]
    if not enough.size:
        return 1.0
    below = sure[enough[-1] + 1] if enough[-1] + 1 < len(sure) else 0.0
    return float((sure[enough[-1]] + below) / 2)
