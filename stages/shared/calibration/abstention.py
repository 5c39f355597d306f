"""Where a classifier is to say that it is not sure."""

import numpy as np
from scipy.stats import beta

CONFIDENCE = 0.9  # of the bound


def choose_sure_above(accuracy: float, confidence: np.ndarray, right: np.ndarray) -> float:
    """Return the probability above which answers have at least `accuracy`, as low as it can be.

    `confidence`, (n,) float32, is the probability of the class that is predicted, and `right`, (n,) bool, whether it
    is the true one. What counts is a lower bound of the accuracy (Clopper and Pearson), so that the promise is kept on
    other images of the same kind in about nine draws of ten: chosen for what these images happen to give, it would be
    in every other one. It is half-way between the confidences it parts, and 1 where no answer is sure enough.
    Source: Geifman and El-Yaniv, Selective Classification for Deep Neural Networks (2017); they allow for how many
    probabilities are tried too, which leaves few images answered where there are some hundred.
    """
    order = np.argsort(-confidence, kind="stable")
    sure, correct = confidence[order].astype("float64"), right[order].cumsum()
    last = np.flatnonzero(np.diff(sure, append=-1))  # of the images with one confidence
    wrong = last + 1 - correct[last]
    bound = beta.ppf(1 - CONFIDENCE, correct[last], wrong + 1)  # no number where none is right
    enough = last[bound >= accuracy]
    if not enough.size:
        return 1.0
    following = sure[enough[-1] + 1] if enough[-1] + 1 < len(sure) else 0.0
    return float((sure[enough[-1]] + following) / 2)
