"""How models learnt, erred and were sure, as sentences that hold for any result."""

import numpy as np
import pandas as pd

from stages.shared.reporting.wording import LABELS, MODELS, begun, counted, quoted


def describe_curves(model: str, curves: pd.DataFrame) -> str:
    """Return a sentence on learning curves as `history.write_epochs` has them."""
    loss, last = curves["validation_loss"], curves.iloc[-1]
    return begun(
        f"{LABELS[model]}: the validation loss is lowest, {loss.min():.3f}, in epoch {loss.idxmin()} of "
        f"{len(curves)}; the last epoch's accuracy is {last['train_accuracy']:.3f} in training and "
        f"{last['validation_accuracy']:.3f} in validation."
    )


def describe_confusions(model: str, matrix: np.ndarray, names: list[str]) -> str:
    """Return a sentence on the errors in a confusion matrix, a row a true class."""
    errors = matrix - np.diag(np.diag(matrix))
    wrong, images = int(errors.sum()), int(matrix.sum())
    if not wrong:
        return begun(f"{MODELS[model]} got all {images:,} test images right.")
    true, predicted = np.unravel_index(errors.argmax(), errors.shape)
    most = (
        f"all were {quoted(names[true])} taken for {quoted(names[predicted])}"
        if errors.max() == wrong
        else f"most often it took {quoted(names[true])} for {quoted(names[predicted])} ({errors.max():,} of "
        f"{matrix[true].sum():,})"
    )
    return begun(f"{MODELS[model]} got {wrong:,} of {counted(images, 'test image')} wrong; {most}.")


def describe_roc(measured: dict[str, dict], names: list[str]) -> str:
    """Return a sentence on what the ROC curves show, and the areas under them."""
    which = (
        f"of the class {quoted(names[1])}"
        if len(names) == 2
        else "mean over the classes, each against the rest"
    )
    areas = [f"{LABELS[model]} {metrics['roc_auc']:.3f}" for model, metrics in measured.items()]
    return f"ROC curves, {which}. Area under them (0.5 by chance): {', '.join(areas)}."


def describe_precision_recall(measured: dict[str, dict]) -> str:
    """Return a sentence on what the precision-recall curves show, and the areas under them."""
    areas = [f"{LABELS[model]} {metrics['average_precision']:.3f}" for model, metrics in measured.items()]
    return (
        "Precision-recall curves, mean over the classes, each against the rest. Area under them (average "
        f"precision): {', '.join(areas)}."
    )


def describe_calibration(model: str, metrics: dict, reliability: pd.DataFrame) -> str:
    """Return a sentence on a model's confidence, as `metrics.reliability` has it, and its probabilities' errors."""
    means = np.average(reliability[["confidence", "accuracy"]], axis=0, weights=reliability["images"])
    confidence, accuracy = means.tolist()
    excess = confidence - accuracy
    verdict = (
        "about as sure as it is right"
        if abs(excess) < 0.005
        else f"{abs(excess):.3f} {'more' if excess > 0 else 'less'} sure than it is right"
    )
    return begun(
        f"{MODELS[model]} is on average {verdict} (confidence {confidence:.3f}, accuracy "
        f"{accuracy:.3f}); expected calibration error {metrics['calibration_error']:.3f}, Brier score "
        f"{metrics['brier_score']:.3f}."
    )


def describe_answers(model: str, metrics: dict) -> list[str]:
    """Return sentences on how well a model knows what it knows, as in metrics/evaluation.json."""
    said = [
        (
            f"Divided by its temperature, {metrics['temperature']:.2f}, {MODELS[model]}'s scores have an expected "
            f"calibration error of {metrics['calibration_error']:.3f}, and {metrics['calibration_error_before']:.3f} "
            f"as they are. It calls {metrics['unlike']:.3f} of the test images unlike all that it has learnt."
        )
    ]
    if "answered" in metrics:
        accuracy = metrics["accuracy_of_answers"]
        of_them = "" if accuracy is None else f", with an accuracy of {accuracy:.3f}"
        said.append(f"It is sure of its answer to {metrics['answered']:.3f} of them{of_them}.")
    if "in_set" in metrics:
        said.append(
            f"The true class is among those that it calls possible for {metrics['in_set']:.3f} of them, "
            f"{metrics['set_size']:.2f} of an image on average."
        )
    return said
