"""How good predictions are. Formulas are scikit-learn's; every class counts as positive in turn."""

import keras
import numpy as np
from sklearn import metrics

from stages.shared.evaluation.curves import reliability
from stages.shared.evaluation.intervals import bootstrap, wilson
from stages.shared.network.prediction import predict_classes


def measure(
    truth: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray, class_names: list[str]
) -> dict:
    """Return the METRICS of predictions for images of the class indices `truth`, (n,), and per class.

    `predicted` are class indices, (n,), and `probabilities` (n, classes). The confusion matrix counts
    images, a row a true class and a column a predicted one. It and what there is per class are
    lists, which DVC leaves out of its tables.
    """
    return {
        **{name: float(metric(truth, predicted, probabilities)) for name, metric in METRICS.items()},
        "per_class": measure_classes(truth, predicted, class_names),
        "confusion_matrix": metrics.confusion_matrix(
            truth, predicted, labels=range(len(class_names))
        ).tolist(),
    }


def measure_classes(truth: np.ndarray, predicted: np.ndarray, class_names: list[str]) -> list[dict]:
    """Return class, precision, recall and f1 of each class, 0 where there is nothing to divide by."""
    found = metrics.precision_recall_fscore_support(
        truth, predicted, labels=range(len(class_names)), zero_division=0
    )
    of_classes = zip(class_names, *(np.asarray(values) for values in found[:3]), strict=True)
    return [
        {"class": name, "precision": float(precision), "recall": float(recall), "f1": float(f1)}
        for name, precision, recall, f1 in of_classes
    ]


def evaluate_predictions(
    truth: np.ndarray, probabilities: np.ndarray, class_names: list[str], threshold: float | None
) -> dict:
    """Return what `measure` says of a model's predictions at its threshold, with 95 % intervals.

    Of accuracy Wilson's, and of ROC AUC and each class's F1 bootstrapped within each class. Where
    there is a threshold it is beside them, with what accuracy, precision, recall and F1 are at 0.5.
    """
    predicted = predict_classes(probabilities, threshold)
    found = measure(truth, predicted, probabilities, class_names)
    intervals = bootstrap(truth, predicted, probabilities)
    found["accuracy_interval"] = wilson(int((predicted == truth).sum()), len(truth))
    found["roc_auc_interval"] = intervals["roc_auc"].tolist()
    for one, interval in zip(found["per_class"], intervals["f1"], strict=True):
        one["f1_interval"] = interval.tolist()
    if threshold is not None:
        at_half = measure(truth, predict_classes(probabilities, 0.5), probabilities, class_names)
        found |= {"threshold": threshold, "accuracy_at_half": at_half["accuracy"]}
        for one, other in zip(found["per_class"], at_half["per_class"], strict=True):
            one |= {f"{name}_at_half": other[name] for name in ("precision", "recall", "f1")}
    return found


def accuracy_without(images: np.ndarray, right: np.ndarray) -> float | None:
    """Return the accuracy on all but some `images`, (n,) bool, given which are `right`; None if none is left."""
    return None if images.all() else float(right[~images].mean())


def calibration_error(truth: np.ndarray, _: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the expected calibration error: how far accuracy is from confidence, over all images.

    Source: Guo et al., On Calibration of Modern Neural Networks (2017), with ten bins.
    """
    table = reliability(truth, probabilities)
    return float(np.average((table["accuracy"] - table["confidence"]).abs(), weights=table["images"]))


def loss(truth: np.ndarray, _: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean cross-entropy in nats, as Keras has it, with probabilities of at least 1e-7."""
    losses = keras.losses.sparse_categorical_crossentropy(truth, probabilities.astype("float64"))
    return float(np.mean(np.asarray(losses)))


def roc_auc(truth: np.ndarray, _: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean over the classes, each against the rest: of two classes both are the same figure."""
    return metrics.roc_auc_score(each_against_the_rest(truth, probabilities), probabilities, average="macro")


def average_precision(truth: np.ndarray, _: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean over the classes, each against the rest."""
    positive = each_against_the_rest(truth, probabilities)
    return metrics.average_precision_score(positive, probabilities, average="macro")


def brier_score(truth: np.ndarray, _: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean square error of the probabilities, of one class where there are two, else of all summed."""
    return metrics.brier_score_loss(truth, probabilities, labels=range(probabilities.shape[1]))


def each_against_the_rest(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return (n, classes) int64: 1 in the column of an image's class."""
    return np.eye(probabilities.shape[1], dtype=int)[truth]


METRICS = {  # each a function of truth, predicted and probabilities, as in `measure`
    "accuracy": lambda truth, predicted, _: metrics.accuracy_score(truth, predicted),
    "loss": loss,
    "balanced_accuracy": lambda truth, predicted, _: metrics.balanced_accuracy_score(truth, predicted),
    "roc_auc": roc_auc,
    "average_precision": average_precision,
    "brier_score": brier_score,
    "calibration_error": calibration_error,
}
