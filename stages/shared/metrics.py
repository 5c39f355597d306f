"""How good predictions are. Formulas are scikit-learn's; every class counts as positive in turn."""

import keras
import numpy as np
import pandas as pd
from sklearn import metrics

from stages.shared.intervals import bootstrap, wilson


def per_class(output: np.ndarray) -> np.ndarray:
    """Return (n, classes) float32 probabilities from a model's output, which is (n, 1) for two classes."""
    return np.hstack([1 - output, output]) if output.shape[1] == 1 else output


def measure(truth: np.ndarray, probabilities: np.ndarray, names: list[str]) -> dict:
    """Return the metrics of `probabilities`, (n, classes), given the class indices `truth`, (n,).

    Loss is the mean cross-entropy in nats, as Keras has it, with probabilities of at least 1e-7.
    ROC AUC and average precision are means over the classes, each against the rest; for two classes
    the two ROC AUCs are the same figure. The confusion matrix counts images, a row a true class and
    a column a predicted one. The Brier score is the mean square error of the probabilities, of one
    class where there are two, summed over the classes where there are more.
    """
    predicted = probabilities.argmax(axis=1)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        truth, predicted, labels=range(len(names)), zero_division=0
    )
    positive = np.eye(len(names), dtype=int)[truth]  # (n, classes), one column a class
    loss = keras.losses.sparse_categorical_crossentropy(truth, probabilities.astype("float64"))
    return {
        "accuracy": float(metrics.accuracy_score(truth, predicted)),
        "loss": float(np.mean(loss)),
        "balanced_accuracy": float(metrics.balanced_accuracy_score(truth, predicted)),
        "roc_auc": float(metrics.roc_auc_score(positive, probabilities, average="macro")),
        "average_precision": float(metrics.average_precision_score(positive, probabilities, average="macro")),
        "brier_score": float(metrics.brier_score_loss(truth, probabilities, labels=range(len(names)))),
        "calibration_error": calibration_error(truth, probabilities),
        "per_class": {
            name: {"precision": float(precision[i]), "recall": float(recall[i]), "f1": float(f1[i])}
            for i, name in enumerate(names)
        },
        "confusion_matrix": metrics.confusion_matrix(truth, predicted, labels=range(len(names))).tolist(),
    }


def with_intervals(measured: dict, truth: np.ndarray, probabilities: np.ndarray) -> dict:
    """Return `measured`, what `measure` says of these predictions, with 95 % intervals beside the metrics.

    Of accuracy Wilson's, and of ROC AUC and each class's F1 bootstrapped within each class.
    """
    intervals = bootstrap(truth, probabilities)
    per_class = {
        name: {**found, "f1_interval": interval.tolist()}
        for (name, found), interval in zip(measured["per_class"].items(), intervals["f1"])
    }
    return {
        **measured,
        "accuracy_interval": wilson(int((probabilities.argmax(axis=1) == truth).sum()), len(truth)),
        "roc_auc_interval": intervals["roc_auc"].tolist(),
        "per_class": per_class,
    }


def accuracy_without(images: np.ndarray, right: np.ndarray) -> float | None:
    """Return the accuracy on all but some `images`, (n,) bool, given which are `right`; None if none is left."""
    return None if images.all() else float(right[~images].mean())


def reliability(truth: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Return images, confidence and accuracy, a row for each tenth of confidence that has images.

    Confidence is the mean probability of the predicted class, and accuracy how often it is right.
    """
    confidence = probabilities.max(axis=1)
    table = pd.DataFrame(
        {"confidence": confidence.astype("float64"), "accuracy": probabilities.argmax(axis=1) == truth}
    )
    tenth = np.minimum((confidence * 10).astype(int), 9)
    return table.groupby(tenth).agg(
        images=("accuracy", "size"), confidence=("confidence", "mean"), accuracy=("accuracy", "mean")
    )


def calibration_error(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the expected calibration error: how far accuracy is from confidence, over all images.

    Source: Guo et al., On Calibration of Modern Neural Networks (2017), with ten bins.
    """
    table = reliability(truth, probabilities)
    return float(np.average((table["accuracy"] - table["confidence"]).abs(), weights=table["images"]))


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
