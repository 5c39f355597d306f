"""What there is to say on the images and their labels, as sentences that hold for any data."""

from operator import itemgetter

from stages.shared.reporting.wording import LABELS, begun, counted, listed, quoted


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
