"""Curves of predictions, apart from metrics as who draws them needs no network. Formulas are scikit-learn's."""

import numpy as np
import pandas as pd
from sklearn import metrics


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


def roc_curve(truth: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Return false_positive_rate and true_positive_rate, a row a threshold.

    For two classes of the second one; for more, the mean over classes of each against the rest, at
    each false positive rate from below and from above, so that its area is the mean of their areas.
    """
    classes = probabilities.shape[1]
    curves = [
        metrics.roc_curve(truth == index, probabilities[:, index])[:2]
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


def precision_recall_curve(truth: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Return recall and precision, two rows a step.

    The mean over classes of each against the rest, so that its area is the average precision.
    """
    curves = [
        [
            values[::-1]
            for values in metrics.precision_recall_curve(truth == index, probabilities[:, index])[:2]
        ]
        for index in range(probabilities.shape[1])
    ]
    recalls = np.unique(np.concatenate([recall for _, recall in curves]))
    steps = [precision[np.searchsorted(recall, recalls[1:])] for precision, recall in curves]
    return pd.DataFrame(
        {"recall": np.repeat(recalls, 2)[1:-1], "precision": np.repeat(np.mean(steps, axis=0), 2)}
    )
