"""What the numbers of a report say, as sentences that hold for any data and any result."""

from operator import itemgetter

import numpy as np
import pandas as pd

LABELS = {"head": "head", "augmented": "augmented", "fine_tuned": "fine-tuned"}  # in tables and charts
MODELS = {"head": "the head", "augmented": "the augmented model", "fine_tuned": "the fine-tuned model"}
TECHNIQUES = {
    "head": "a dense head, trained on what the frozen base gives for each image",
    "augmented": "a fresh head, trained on augmented versions of each image",
    "fine_tuned": "that head again, trained together with the top of the conv base",
}
CHANGES = {"augmented": "augmented training", "fine_tuned": "fine-tuning"}  # what made it from another model


def counted(number: int, noun: str) -> str:
    """Return "1 image", "2,000 images" or "2 classes"."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def quoted(name: str) -> str:
    """Return the name of a class in quotation marks, and isolated, so that it turns no text around it."""
    return f"“\u2068{name}\u2069”"


def listed(words: list[str], most: int = 6) -> str:
    """Return "a", "a and b" or "a, b and 3 more"."""
    shown = words if len(words) <= most else [*words[: most - 1], f"{len(words) - most + 1} more"]
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def begun(sentence: str) -> str:
    """Return `sentence` with a capital letter at its beginning."""
    return sentence[0].upper() + sentence[1:]


def stated(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def describe_data(split: dict) -> list[str]:
    """Return sentences on `split`, the content of metrics/split.json."""
    sizes, classes = split["images"], split["per_class"]
    total = sum(sizes.values())
    largest, smallest = max(classes, key=itemgetter("train")), min(classes, key=itemgetter("train"))
    ratio = largest["train"] / smallest["train"]
    balance = (
        "All classes have the same number of training images."
        if ratio == 1
        else f"The largest class, {quoted(largest['class'])}, has {ratio:,.2f} times as many training images as the "
        f"smallest, {quoted(smallest['class'])}."
    )
    said = [
        (
            f"{counted(total, 'image')} of {counted(len(classes), 'class')}: {sizes['train']:,} to learn from, "
            f"{sizes['validation']:,} to watch the training (validation), and {sizes['test']:,} for the test, which "
            "no training has seen."
        ),
        balance,
    ]
    if "groups" in split:
        groups = listed([f"{number:,} in {name}" for name, number in split["groups"].items()])
        said.append(f"Groups of images that belong together stay in one split: {groups}.")
    if "across_splits" in split:
        said.append("Each image keeps the split that it came with; what had none was drawn from training.")
        for kind, found in split["across_splits"].items():
            if found:
                said.append(f"{begun(kind)} that lie in more than one split: {len(found):,}.")
    if split["identical_images"]:
        said.append(f"{counted(split['identical_images'], 'image')} repeated another, byte for byte.")
    if split["excluded_images"]:
        said.append(f"{counted(len(split['excluded_images']), 'broken file')} left out.")
    if "labels_corrected" in split:
        found = split["labels_corrected"]
        said.append(
            f"A person has decided on the labels of {counted(found['decided'], 'image')}: {found['corrected']:,} "
            f"corrected, {found['left_out']:,} left out as of no class, {found['unsure']:,} unsure."
        )
    return said


def describe_leakage(leakage: dict, measured: dict[str, dict], images: int) -> str:
    """Return a sentence on the near-duplicates of the test split, as in metrics/leakage.json."""
    found = leakage["test_images"]
    if not found:
        return "No test image has a near-duplicate in training or validation."
    said = (
        f"{found:,} of {counted(images, 'test image')} {'has' if found == 1 else 'have'} a near-duplicate in "
        "training or validation"
    )
    if found == images:
        return f"{said}."
    accuracies = [
        f"{LABELS[model]} {metrics['accuracy_without_near_duplicates']:.3f}"
        for model, metrics in measured.items()
    ]
    return f"{said}. Accuracy on the others: {', '.join(accuracies)}."


def describe_labels(audit: dict, sizes: dict[str, int]) -> list[str]:
    """Return sentences on the labels that are likely wrong, as in metrics/label_audit.json."""
    found = audit["suspects"]
    learnt, of_test = found["train"] + found["validation"], found["test"]
    said = [
        (
            f"{learnt:,} of {counted(sizes['train'] + sizes['validation'], 'label')} in training and validation "
            f"{'looks' if learnt == 1 else 'look'} wrong, and {of_test:,} of {sizes['test']:,} in the test."
        )
    ]
    if learnt:
        said.append(
            f"A linear probe foretells {audit['accuracy']:.3f} of the labels in training and validation that it has "
            f"not learnt from, and {audit['accuracy_without_suspects']:.3f} where it learns from no suspects."
        )
    return said


def describe_accuracies(measured: dict[str, dict], largest: str, baseline: float, images: int) -> list[str]:
    """Return sentences on the best accuracy, and on `baseline`, that of always naming `largest`."""
    best = max(metrics["accuracy"] for metrics in measured.values())
    leaders = [model for model, metrics in measured.items() if metrics["accuracy"] == best]
    low, high = measured[leaders[0]]["accuracy_interval"]
    above = [
        MODELS[model] for model, metrics in measured.items() if metrics["accuracy_interval"][0] > baseline
    ]
    if len(above) == len(measured):
        against = "all 95 % intervals lie above that"
    elif above:
        against = f"the 95 % interval lies above that for {listed(above)} only"
    else:
        against = "no 95 % interval lies above that"
    return [
        (
            f"The highest test accuracy, {best:.3f} ({round(best * images):,} of {counted(images, 'image')}; 95 % "
            f"interval {low:.3f} to {high:.3f}), is that of {listed([MODELS[model] for model in leaders])}."
        ),
        f"Naming every image {quoted(largest)} would give {baseline:.3f}: {against}.",
    ]


def describe_difference(after: str, before: str, corrected: int, spoiled: int, p_value: float) -> str:
    """Return a sentence on two models, one of the "differences" in metrics/evaluation.json."""
    if corrected == spoiled == 0:
        return begun(f"{MODELS[after]} and {MODELS[before]} got the same images right and wrong.")
    verdict = (
        "no evidence of a difference"
        if p_value > 0.05
        else f"evidence that {MODELS[after]} is {'better' if corrected > spoiled else 'worse'}"
    )
    return begun(
        f"{CHANGES[after]} corrected {counted(corrected, 'image')} and spoiled {spoiled:,} of {MODELS[before]}, "
        f"{stated(p_value)}: {verdict}."
    )


def describe_curves(model: str, curves: pd.DataFrame) -> str:
    """Return a sentence on learning curves as `history.write_epochs` has them."""
    loss, last = curves["validation_loss"], curves.iloc[-1]
    return begun(
        f"{LABELS[model]}: the validation loss is lowest, {loss.min():.3f}, in epoch {loss.idxmin()} of "
        f"{len(curves)}; the last epoch's accuracy is {last['train_accuracy']:.3f} in training and "
        f"{last['validation_accuracy']:.3f} in validation."
    )


def describe_more_images(foretold: dict) -> list[str]:
    """Return sentences on what more images to learn from would give, as in metrics/learning_curve.json."""
    images = foretold["images"]
    if "twice" not in foretold:
        return [f"{counted(images, 'training image')}: too few for a curve of accuracy against their number."]
    twice, half = foretold["twice"], foretold["half_the_errors"]
    low, high = twice["interval"]
    said = [
        (
            f"By its curve, twice as many training images ({twice['images']:,}) would take a linear probe of the same "
            f"features from {foretold['on_the_curve']:.3f} to {twice['accuracy']:.3f} on the validation images (95 % "
            f"band {low:.3f} to {high:.3f})."
        )
    ]
    aim = f"Half as many errors ({half['accuracy']:.3f})"
    if foretold["on_the_curve"] > 0.9995:
        said.append("There are next to no errors left to halve.")
    elif half["out_of_reach"]:
        said.append(f"{aim} are out of its reach: more images of this kind will not get there.")
    elif half["images"] is None:
        said.append(f"{aim} would take it more than 100 times as many images, if it gets there at all.")
    else:
        most = "if it gets there at all" if half["at_most"] is None else f"at most {half['at_most']:,}"
        said.append(f"{aim} would take it about {half['images']:,} images ({most}).")
    gains = [(one["twice"] - one["recall"], one) for one in foretold["per_class"]]
    gain, most_gained = max(gains, key=itemgetter(0))
    said.append(
        f"{quoted(most_gained['class'])} gains most by them: {most_gained['recall']:.3f} to "
        f"{most_gained['twice']:.3f} of its images found with twice as many of all classes."
        if gain >= 0.005
        else "No class gains as much as 0.005 of recall by twice as many."
    )
    return said


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


def describe_place(heat: np.ndarray) -> str:
    """Return where in an image a heat map is strongest."""
    if not heat.any():
        return "nothing in the image speaks for it"
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    vertical = ("upper", "middle", "lower")[int(3 * (row + 0.5) / heat.shape[0])]
    horizontal = ("left", "centre", "right")[int(3 * (column + 0.5) / heat.shape[1])]
    place = f"{vertical} {horizontal}" if (vertical, horizontal) != ("middle", "centre") else horizontal
    return f"strongest at the {place}"
