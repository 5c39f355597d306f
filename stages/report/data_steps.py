"""What the numbers of a run say to do about its images and labels."""

import numpy as np
from scipy.stats import fisher_exact

from stages.report.findings import EVIDENCE, FEWEST, Findings, Step
from stages.shared.evaluation.intervals import wilson
from stages.shared.reporting.wording import MODELS, counted, quoted, stated

WIDE = 0.1  # an interval of accuracy from which little can be told


def review_labels(found: Findings) -> Step | None:
    """Suspects among the images that are learnt from: no model is better than its labels."""
    audit, sizes = found.label_audit, found.split["images"]
    suspects, labels = (counts["train"] + counts["validation"] for counts in (audit["suspects"], sizes))
    if not suspects:
        return None
    with_them, without = audit["accuracy"], audit["accuracy_without_suspects"]
    verdict = (
        "wrong ones do harm" if without > with_them else "hard images with the right label may be among them"
    )
    return Step(
        "Look at the labels that are likely wrong, as all else rests on labels",
        f"{suspects:,} of {labels:,} in training and validation; a probe that learns from none of these foretells "
        f"{without:.3f} of the labels, and one that learns from all {with_them:.3f}: {verdict}",
        "make review",
    )


def separate_near_duplicates(found: Findings) -> Step | None:
    """Near-duplicates on which a model is better than on other test images: it may have seen them in training."""
    alike, images = found.leakage["test_images"], found.images
    if not alike:
        return None
    evidence = (
        f"{alike:,} of {counted(images, 'test image')} {'has' if alike == 1 else 'have'} a near-duplicate in training "
        "or validation (metrics/near_duplicates.png)"
    )
    if alike < images:
        metrics = found.measured[found.model]
        others = round(metrics["accuracy_without_near_duplicates"] * (images - alike))
        right = images - found.errors - others
        p = fisher_exact([[right, alike - right], [others, images - alike - others]], "greater").pvalue
        if p > EVIDENCE:
            return None
        evidence += (
            f", of which {MODELS[found.model]} gets {right / alike:.3f} right, and of the others "
            f"{others / (images - alike):.3f}, {stated(p)}"
        )
    return Step(
        "Where near-duplicates show the same thing, "
        + (
            "widen the groups of split.group_by"
            if "groups" in found.split
            else "keep them in one split by split.group_by"
        ),
        evidence,
    )


def add_test_images(found: Findings) -> Step | None:
    """A test that is too small, or too easy, to tell which of two models is better."""
    metrics, images = found.measured[found.model], found.images
    low, high = metrics["accuracy_interval"]
    if found.errors < FEWEST:
        return Step(
            "Add test images, of other days, places or cameras",
            f"{MODELS[found.model]} got {found.errors} of {images:,} wrong, and of fewer than {FEWEST} errors no other model "
            "can correct so many that it is evidence",
        )
    if high - low > WIDE:
        return Step(
            "Add test images",
            f"with {images:,} the accuracy of {MODELS[found.model]} lies between {low:.3f} and {high:.3f} (95 % interval), "
            f"and an interval of {WIDE} takes about {enough(metrics['accuracy']):,}",
        )
    return None


def enough(accuracy: float) -> int:
    """Return with how many images, to two digits, the interval of `accuracy` is WIDE."""
    images = 10
    while np.ptp(wilson(round(accuracy * images), images)) > WIDE:
        images += 10
    return images


def photograph(found: Findings) -> Step | None:
    """More images to learn from, where the band of their learning curve lies above what there is."""
    curve = found.learning_curve
    if "twice" not in curve:
        return Step(
            "Collect more training images",
            f"{curve['images']:,} are too few to foretell what more of them would give; it takes some 160",
        )
    twice, now = curve["twice"], curve["on_the_curve"]
    low, high = twice["interval"]
    if low <= now:
        return None
    evidence = (
        f"twice as many ({twice['images']:,}) would take a linear probe from {now:.3f} to {twice['accuracy']:.3f} (95 % "
        f"band {low:.3f} to {high:.3f})"
    )
    gainer = max(curve["per_class"], key=lambda one: one["twice"] - one["recall"])
    if gainer["twice"] - gainer["recall"] < 0.005:
        return Step("Collect more training images", evidence, "python -m tools.select PHOTOS --number 100")
    return Step(
        f"Photograph more, {quoted(gainer['class'])} first",
        f"{evidence}, and from {gainer['recall']:.3f} to {gainer['twice']:.3f} of that class",
        "python -m tools.select PHOTOS --number 100",
    )
