"""What the numbers of a run say to do about its models: which to take, and what may make a better one."""

from math import sqrt
from operator import itemgetter

from stages.report.findings import EVIDENCE, FEWEST, Findings, Step, better, changed
from stages.shared.evaluation.intervals import wilson
from stages.shared.reporting.wording import CHANGES, MODELS, counted, quoted

GAP = 0.05  # from accuracy in training to that in validation
FALLEN = 0.02  # the share of its loss that a training loses in its last quarter, if it ends too early
UNCALIBRATED = 0.05  # expected calibration error
BINS = 10  # of that error
SECTIONS = {"head": "head", "augmented": "augmented", "fine_tuned": "fine_tune"}  # of params.yaml


def take_a_model(found: Findings) -> Step:
    """Whether augmentation and fine-tuning paid: a dearer model is taken where there is evidence for it."""
    taken, metrics = found.model, found.measured[found.model]
    low, high = metrics["accuracy_interval"]
    largest = max(found.split["per_class"], key=itemgetter("train"))
    share = largest["test"] / found.images
    if low <= share:
        return Step(
            "Use no model yet",
            f"naming every image {quoted(largest['class'])} gets {share:.3f} of the test images right, and "
            f"{MODELS[taken]} {metrics['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}): no evidence that it "
            "is better",
        )
    models = list(found.measured)
    place, said = models.index(taken), []
    for cheaper in models[:place]:
        pair = found.pair(cheaper, taken)
        verdict = "better than" if better(pair) else "no evidence that it is better than"
        said.append(f"{verdict} {MODELS[cheaper]} ({changed(pair)})")
    if gains := [
        f"{CHANGES[dearer]} ({changed(found.pair(taken, dearer))})" for dearer in models[place + 1 :]
    ]:
        said.append(f"no evidence of a gain by {' or '.join(gains)}, which takes longer to train")
    return Step(f"Use {MODELS[taken]}", "; ".join(said))


def try_another_base(found: Findings) -> Step | None:
    """Other features, where there are errors that more images will not or may not mend."""
    curve = found.learning_curve
    if found.errors < FEWEST or "twice" not in curve or curve["on_the_curve"] > 0.9995:
        return None
    half, twice = curve["half_the_errors"], curve["twice"]
    low, high = twice["interval"]
    if half["out_of_reach"]:
        evidence = f"more images of this kind will not halve the errors ({half['accuracy']:.3f}), by the learning curve"
    elif half["images"] is None:
        evidence = (
            f"to halve the errors ({half['accuracy']:.3f}) takes more than 100 times as many images, by the learning "
            "curve"
        )
    elif low <= curve["on_the_curve"]:
        evidence = (
            f"twice as many images may bring nothing: {curve['on_the_curve']:.3f} to {twice['accuracy']:.3f} (95 % band "
            f"{low:.3f} to {high:.3f}) by the learning curve"
        )
    else:
        return None
    return Step("Try another conv base, or a lower cut of this one", evidence, "python -m tools.bases")


def change_fine_tuning(found: Findings) -> Step | None:
    """More of it where it paid, less where it did harm."""
    pair = found.pair("augmented", "fine_tuned")
    if found.errors < FEWEST or pair["p_value"] > EVIDENCE:
        return None
    if better(pair):
        return Step(
            "Fine-tune from a lower layer too (python -m tools.bases lists some)",
            f"fine-tuning is better than augmented training alone ({changed(pair)})",
            "dvc exp run -S fine_tune.freeze_through=LAYER",
        )
    return Step(
        "Fine-tune more gently",
        f"fine-tuning is worse than augmented training alone ({changed(pair)})",
        "dvc exp run -S fine_tune.learning_rate=LOWER",
    )


def change_augmentation(found: Findings) -> Step | None:
    """More of it where it paid, milder where it did harm."""
    pair = found.pair("head", "augmented")
    if found.errors < FEWEST or pair["p_value"] > EVIDENCE:
        return None
    if better(pair):
        return Step(
            "Draw more views of each image",
            f"augmented training is better than the head ({changed(pair)})",
            "dvc exp run -S augmentation.views=MORE",
        )
    return Step(
        "Augment more mildly, by half the degrees and fractions",
        f"augmented training is worse than the head ({changed(pair)})",
        "dvc exp run -S augmentation.rotation_degrees=LESS",
    )


def help_the_weakest_class(found: Findings) -> Step | None:
    """A class that is found less often than the others, whatever chance explains."""
    confusions, classes = found.confusions, found.split["per_class"]
    right, images = confusions.diagonal(), confusions.sum(axis=1)
    weakest = int((right / images).argmin())
    names = [one["class"] for one in found.measured[found.model]["per_class"]]
    found_of, found_of_others = int(right[weakest]), int(right.sum() - right[weakest])
    others = int(images.sum() - images[weakest])
    if wilson(found_of, int(images[weakest]))[1] >= wilson(found_of_others, others)[0]:
        return None
    name = quoted(names[weakest])
    evidence = (
        f"{MODELS[found.model]} finds {found_of:,} of its {counted(int(images[weakest]), 'test image')} "
        f"({found_of / images[weakest]:.3f}), and of the others {found_of_others / others:.3f}"
    )
    learnt = {one["class"]: one["train"] for one in classes}
    if learnt[names[weakest]] < sum(learnt.values()) / len(learnt):
        return Step(
            f"Have {name}, which has fewer images, count for more, if to miss it is worse than a false alarm",
            evidence,
            f"dvc exp run -S {SECTIONS[found.model]}.class_weights=balanced",
        )
    taken_for = confusions[weakest].copy()
    taken_for[weakest] = 0
    most = int(taken_for.argmax())
    return Step(
        f"See what tells {name} from {quoted(names[most])}, in the photos and in the labels",
        f"{evidence}; {taken_for[most]:,} are taken for {quoted(names[most])}",
    )


def train_longer_or_less(found: Findings) -> Step | None:
    """A training that ended while it still gained, or that learnt its images by heart."""
    history = found.histories[found.model].dropna()  # of epochs that diverged
    epochs = len(history)
    if epochs < 2:
        return None
    smoothed, last = history["validation_loss_smoothed"], history.iloc[-1]
    before = smoothed.iloc[-1 - max(epochs // 4, 1)]
    if history["validation_loss"].argmin() == epochs - 1 and smoothed.iloc[-1] < (1 - FALLEN) * before:
        return Step(
            "Train for more epochs",
            f"the validation loss of {MODELS[found.model]} was still falling, to {last['validation_loss']:.3f} in "
            f"epoch {epochs}, its last",
            f"dvc exp run -S {SECTIONS[found.model]}.epochs={2 * epochs}",
        )
    learnt, checked = last["train_accuracy"], last["validation_accuracy"]
    error = sqrt(checked * (1 - checked) / found.split["images"]["validation"])
    if learnt - checked > max(GAP, 2 * error):
        return Step(
            "Learn less by heart: more dropout, or fewer units",
            f"{MODELS[found.model]} gets {learnt:.3f} of the training images right, and {checked:.3f} of the "
            "validation images",
            f"dvc exp run -S {'head' if found.model == 'head' else 'augmented'}.dropout=MORE",
        )
    return None


def mistrust_probabilities(found: Findings) -> Step | None:
    """A calibration error beyond what so few images explain where every probability is right."""
    error = found.measured[found.model]["calibration_error"]
    if error <= max(UNCALIBRATED, 0.4 * sqrt(BINS / found.images)):
        return None
    return Step(
        f"Do not take the probabilities of {MODELS[found.model]} at their word",
        f"they are {error:.3f} from what comes true, the expected calibration error on {found.images:,} test images",
    )
