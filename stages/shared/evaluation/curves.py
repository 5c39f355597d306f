"""Curves of predictions, apart from metrics as who draws them needs no network."""

import numpy as np
import pandas as pd


def counts_above(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many images that are `positive`, (n,) bool, and how many others have each score or a higher one.

    Each is (different scores,) int64, from the highest of `score`, (n,), to the lowest.
    """
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=np.nan))  # of those with the same score
    true = positive[order].cumsum()[last]
    return true, last + 1 - true


def reliability(truth: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Return images, confidence and accuracy, a row for each tenth of confidence that has images.

    Confidence is the mean probability of the most probable class, whatever the threshold, and
    accuracy how often that class is right.
    """
    confidence = probabilities.max(axis=1).astype("float64")
    table = pd.DataFrame({"confidence": confidence, "accuracy": probabilities.argmax(axis=1) == truth})
    tenth = np.minimum((confidence * 10).astype(int), 9)
    return table.groupby(tenth).agg(
        images=("accuracy", "size"), confidence=("confidence", "mean"), accuracy=("accuracy", "mean")
    )


def accuracy_at_coverage(right: np.ndarray, confidence: np.ndarray) -> pd.DataFrame:
    """Return answered and accuracy, shares of images, a row for each `confidence`, (n,), from which on to answer.

    `right`, (n,) bool, is whether the answer to an image is. Source: El-Yaniv and Wiener, On the Foundations of
    Noise-free Selective Classification (2010).
    """
    true, false = counts_above(right, confidence)
    return pd.DataFrame({"answered": (true + false) / len(right), "accuracy": true / (true + false)})


def roc_curve(truth: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Return false_positive_rate and true_positive_rate, a row a threshold at which the curve turns.

    For two classes of the second one; for more, the mean over classes of each against the rest, at
    each false positive rate from below and from above, so that its area is the mean of their areas.
    """
    classes = probabilities.shape[1]
    curves = [
        _roc_curve(truth == index, probabilities[:, index])
        for index in ([1] if classes == 2 else range(classes))
    ]
    if classes == 2:
        false_positive, true_positive = curves[0]
    else:
        rates = np.unique(np.concatenate([curve[0] for curve in curves]))
        above = np.mean([np.interp(rates, *curve) for curve in curves], axis=0)
        below = np.mean([np.interp(-rates, -curve[0][::-1], curve[1][::-1]) for curve in curves], axis=0)
        below[0] = 0
        false_positive, true_positive = np.repeat(rates, 2), np.column_stack([below, above]).ravel()
    return pd.DataFrame({"false_positive_rate": false_positive, "true_positive_rate": true_positive})


def _roc_curve(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    true, false = (np.append(0, counts) for counts in counts_above(positive, score))
    turns = np.append(np.diff(true, 2) != 0, True) | np.append(np.diff(false, 2) != 0, True)
    corners = np.append(True, turns)
    return false[corners] / false[-1], true[corners] / true[-1]


def precision_recall_curve(truth: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Return recall and precision, two rows a step.

    The mean over classes of each against the rest, so that its area is the average precision.
    """
    curves = []
    for index, column in enumerate(probabilities.T):
        true, false = counts_above(truth == index, column)
        curves.append((true / true[-1], true / (true + false)))
    recalls = np.unique(np.concatenate([recall for recall, _ in curves]))
    recalls = recalls[recalls > 0]
    steps = [precision[np.searchsorted(recall, recalls)] for recall, precision in curves]
    return pd.DataFrame(
        {
            "recall": np.append(0, np.repeat(recalls, 2))[:-1],
            "precision": np.repeat(np.mean(steps, axis=0), 2),
        }
    )
