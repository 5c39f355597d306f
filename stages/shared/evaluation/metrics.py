"""How good predictions are. Every class counts as positive in turn."""

import numpy as np

from stages.shared.evaluation.curves import counts_above, reliability
from stages.shared.evaluation.intervals import area, bootstrap, wilson
from stages.shared.network.prediction import predict_classes


def measure(
    truth: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray, class_names: list[str]
) -> dict:
    """Return the METRICS of predictions for images of the class indices `truth`, (n,), and per class.

    `predicted` are class indices, (n,), and `probabilities` (n, classes). The confusion matrix counts
    images, a row a true class and a column a predicted one. It and what there is per class are
    lists, which DVC leaves out of its tables.
    """
    confusion = confusion_matrix(truth, predicted, len(class_names))
    return {
        **{name: float(metric(truth, predicted, probabilities)) for name, metric in METRICS.items()},
        "per_class": measure_classes(confusion, class_names),
        "confusion_matrix": confusion.tolist(),
    }


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return how many images of each class, a row, are predicted as each, a column: (classes, classes) int64."""
    return np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes)


def measure_classes(confusion: np.ndarray, class_names: list[str]) -> list[dict]:
    """Return class, precision, recall and f1 of each class, 0 where there is nothing to divide by."""
    right, named, are = confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)
    shares = zip(
        class_names, share(right, named), share(right, are), share(2 * right, named + are), strict=True
    )
    return [
        {"class": name, "precision": float(precision), "recall": float(recall), "f1": float(f1)}
        for name, precision, recall, f1 in shares
    ]


def share(counts: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Return `counts` / `of`, each (classes,) int64, and 0 where there is nothing to divide by."""
    return np.divide(counts, of, out=np.zeros(len(of)), where=of > 0)


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
    """Return the mean cross-entropy in nats, as Keras has it: with probabilities from 1e-7 to 1 - 1e-7."""
    of_true_class = probabilities[np.arange(len(truth)), truth].astype("float64")
    return -np.log(of_true_class.clip(1e-7, 1 - 1e-7)).mean()


def balanced_accuracy(truth: np.ndarray, predicted: np.ndarray, _: np.ndarray) -> float:
    """Return the mean recall of the classes that have images."""
    return float(np.mean([(predicted == index)[truth == index].mean() for index in np.unique(truth)]))


def roc_auc(truth: np.ndarray, _: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean over the classes, each against the rest: of two classes both are the same figure."""
    once = np.ones((1, len(truth)), dtype=int)
    areas = [area(truth == index, column, once) for index, column in enumerate(probabilities.T)]
    return float(np.mean(areas))


def average_precision(truth: np.ndarray, _: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean over the classes, each against the rest, of the mean precision at its images."""
    means = []
    for index, column in enumerate(probabilities.T):
        true, false = counts_above(truth == index, column)
        means.append(np.sum(np.diff(true, prepend=0) * true / (true + false)) / true[-1])
    return float(np.mean(means))


def brier_score(truth: np.ndarray, _: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean square error of the probabilities, of one class where there are two, else of all summed."""
    classes = probabilities.shape[1]
    errors = np.square(probabilities - np.eye(classes)[truth]).sum(axis=1)
    return errors.mean() / (2 if classes == 2 else 1)


METRICS = {  # each a function of truth, predicted and probabilities, as in `measure`
    "accuracy": lambda truth, predicted, _: np.mean(truth == predicted),
    "loss": loss,
    "balanced_accuracy": balanced_accuracy,
    "roc_auc": roc_auc,
    "average_precision": average_precision,
    "brier_score": brier_score,
    "calibration_error": calibration_error,
}
