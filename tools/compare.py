"""Compare the models of two revisions on the test images that both have.

    python -m tools.compare REV [REV2]    REV2 is the workspace where it is left out

Says for each model what `dvc metrics diff` cannot: how sure the accuracies are, and whether their
difference could be chance. So it does of cross-validation, where both have the same folds. Where test images,
labels or classes differ, it says first what can be compared; where nothing can, it ends with 1. Reads git's
history and DVC's cache or remote; the workspace stays as it is. Draws the images that flipped, from wrong
to right and from right to wrong, in compare.png.
"""

import argparse
from hashlib import sha256
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from dvc.exceptions import DvcException
from dvc_data.index import DataIndexError
from matplotlib.figure import Figure
from ruamel.yaml import YAML

from stages.shared.evaluation import resampled
from stages.shared.evaluation.intervals import mcnemar, wilson
from stages.shared.evaluation.resampled import corrected_interval, corrected_p_value
from stages.shared.images.decoding import decode
from stages.shared.images.opening import opened
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.files import atomic_write
from stages.shared.reporting.wording import counted, listed
from tools.shared.predictions import (
    IMAGE,
    MODELS,
    PROBABILITY,
    classes_of,
    read_predictions,
    read_table,
    unreadable,
)
from tools.shared.revisions import Files

SHOWN = 6  # flipped images of each kind and model in the picture
PICTURE = Path("compare.png")
FOLDS = "metrics/cross_validation.csv"


def main(before: str, after: str | None) -> None:
    """Print the comparison and draw the picture; raises UserError where no test image is in both."""
    PICTURE.unlink(missing_ok=True)
    files = {rev: Files(rev) for rev in (before, after)}
    flipped, names, compared = {}, (before, after or "workspace"), 0
    for model in MODELS:
        old, new = (read_predictions(files[rev], model) for rev in (before, after))
        both = match(old, new)
        if model == MODELS[0]:  # the others are of the same images and classes
            for sentence in describe_scope(names, old, new, both):
                print(sentence)
        same = both[both["label_before"] == both["label_after"]].rename(columns={"label_after": "label"})
        print(f"{model}:")
        for rev, table in zip(names, (old, new), strict=True):
            print(f"  {rev}: {describe_accuracy(table)}")
        for sentence in [describe_difference(same), *describe_in_both(old, new, same)]:
            print(f"  {sentence}")
        flipped[model] = same[right(same, "_before") != right(same, "_after")]
        compared += len(same)
    print("cross-validation:")
    try:
        for sentence in describe_folds(*(read_folds(files[rev]) for rev in (before, after))):
            print(f"  {sentence}")
    except UserError as missing:  # in a revision of before there was any
        print(f"  {missing}")
    if any(map(len, flipped.values())):
        draw(flipped, files[after])
        print(f"{PICTURE}: the images that flipped")
    if not compared:
        raise UserError(
            f"{before} and {after or 'the workspace'} have no test image of the same label in common: their "
            "accuracies are of different images, and no test compares them."
        )


def match(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Return a row a test image that both have, with path, label, predicted and its probability _before and _after."""
    columns = [*IMAGE, "path", "label", "predicted", "probability"]
    old, new = (
        table.assign(probability=[row[f"{PROBABILITY}{row['predicted']}"] for _, row in table.iterrows()])
        for table in (old, new)
    )
    return old[columns].merge(new[columns], on=IMAGE, suffixes=("_before", "_after"))


def read_folds(files: Files) -> pd.DataFrame:
    """Return a row a fold: images, a digest of which it held out, learnt and held_out, and each model's accuracy."""
    figures = ["learnt", "held_out", *(f"{model}_accuracy" for model in resampled.MODELS)]
    table = read_table(files, FOLDS, ["images", *figures])
    table[figures] = table[figures].apply(pd.to_numeric, errors="coerce")
    if len(table) < 2 or not (table[figures] >= 0).all(axis=None):
        raise unreadable(files, FOLDS, "it has no figures of two folds or more")
    return table[["images", *figures]]


def right(table: pd.DataFrame, suffix: str = "") -> pd.Series:
    return table[f"predicted{suffix}"] == table["label"]


def describe_scope(
    revs: tuple[str, str], old: pd.DataFrame, new: pd.DataFrame, both: pd.DataFrame
) -> list[str]:
    """Return sentences on what can be compared; none where test images, labels and classes are the same."""
    before, after = revs
    said = []
    if len(both) < max(len(old), len(new)):
        said.append(
            f"The test splits differ: {len(old)} images in {before}, {len(new)} in {after}, {len(both)} in both. The "
            "accuracies are of different images: only what is said of images in both compares the models."
        )
    if relabelled := int((both["label_before"] != both["label_after"]).sum()):
        said.append(f"{counted(relabelled, 'image')} of these cannot be compared: the labels differ.")
    earlier, later = classes_of(old), classes_of(new)
    for rev, classes, others in ((before, earlier, later), (after, later, earlier)):
        if alone := [name for name in classes if name not in others]:
            said.append(f"Only {rev} has the {'class' if len(alone) == 1 else 'classes'} {listed(alone)}.")
    shared = [name for name in earlier if name in later]
    if shared and earlier != later:
        said.append(
            f"Images of the {counted(len(shared), 'class')} in both can be compared. A model that knows more classes "
            "has more to confuse: what it loses on these images is the price of the others."
        )
    return said


def describe_accuracy(table: pd.DataFrame) -> str:
    correct = int(right(table).sum())
    low, high = wilson(correct, len(table))
    return (
        f"{correct} of {len(table)} correct, {correct / len(table):.3f} "
        f"(95 % interval {low:.3f} to {high:.3f})"
    )


def describe_difference(both: pd.DataFrame) -> str:
    """Return a sentence on the images that one of the two got right and the other did not."""
    if both.empty:
        return "No image is in both test splits with the same label: nothing can be compared."
    gained, lost, p = mcnemar(right(both, "_before").to_numpy(), right(both, "_after").to_numpy()).values()
    if gained == lost == 0:
        return f"The same {len(both)} images right and wrong: no difference."
    change = gained - lost
    amount = (
        "as many correct"
        if change == 0
        else f"{abs(change)} of {len(both)} {'more' if change > 0 else 'fewer'} correct"
    )
    verdict = "no evidence of a difference" if p > 0.05 else "more than chance explains"
    return f"{amount} (corrected {gained}, spoiled {lost}), p = {p:.2g}: {verdict}."


def describe_in_both(old: pd.DataFrame, new: pd.DataFrame, both: pd.DataFrame) -> list[str]:
    """Return sentences on accuracy where the images differ, and on recalls where the classes do, of images in both."""
    parts = [("images in both", both)] if len(both) < max(len(old), len(new)) else []
    if classes_of(old) != classes_of(new):
        parts += [(str(label), images) for label, images in both.groupby("label")]
    return [
        f"{part}: {right(images, '_before').sum()} to {right(images, '_after').sum()} of {len(images)} correct."
        for part, images in parts
        if len(images)
    ]


def describe_folds(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    """Return sentences on what probe and head reach on the folds that both have."""
    if not before["images"].equals(after["images"]):
        return ["The folds differ in images, labels or draw: there is no pairing."]
    sizes, said = (before["learnt"].to_numpy(), before["held_out"].to_numpy()), []
    for model in resampled.MODELS:
        old, new = (table[f"{model}_accuracy"].to_numpy() for table in (before, after))
        if (old == new).all():
            said.append(f"{model}: {old.mean():.3f}, the same on each of {len(old)} folds.")
            continue
        low, high = corrected_interval(new - old, *sizes)
        p = corrected_p_value(new - old, *sizes)
        verdict = "no evidence of a difference" if p > 0.05 else "more than chance explains"
        said.append(
            f"{model}: {old.mean():.3f} to {new.mean():.3f} on {len(old)} folds, {(new - old).mean():+.3f} "
            f"(95 % interval {low:+.3f} to {high:+.3f}), p = {p:.2g}: {verdict}."
        )
    return said


def draw(flipped: dict[str, pd.DataFrame], files: Files) -> None:
    """Write PICTURE; raises UserError where the images are not here."""
    try:
        picture = compose(flipped, files)
    except (OSError, DvcException, DataIndexError) as error:
        raise UserError(
            f"{PICTURE} is not drawn, as {files.rev or 'the workspace'} has not all images here ({error}): "
            "dvc add them before you commit a run, and dvc pull them where a colleague did."
        ) from None
    with atomic_write(PICTURE) as file:
        picture.savefig(file, dpi=100)


def compose(flipped: dict[str, pd.DataFrame], files: Files) -> Figure:
    """Draw up to SHOWN images of each model and direction, the most confident first."""
    matplotlib.rcParams["text.parse_math"] = False  # names may have dollar signs
    parameters = YAML(typ="safe").load(files.read("params.yaml"))
    folder, white = parameters["data"]["images"], parameters.get("white_16_bit", 65535)  # of older revisions
    rows = []
    for model, table in flipped.items():
        for title, chosen in (("corrected", right(table, "_after")), ("spoiled", ~right(table, "_after"))):
            if chosen.any():
                rows.append((model, title, table[chosen].nlargest(SHOWN, "probability_after")))
    figure = Figure(figsize=(2.2 * SHOWN, 2.9 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), SHOWN, squeeze=False)
    for line, (model, title, table) in zip(grid, rows, strict=True):
        for axes in line:
            axes.set_axis_off()
        for axes, image in zip(line, table.itertuples(), strict=False):
            content = read_image(files, f"{folder}/{image.path_after}", image.sha256)
            with opened(content) as file:
                axes.imshow(np.asarray(decode(file, white)))
            axes.set_title(
                f"{model}, {title}\n{Path(image.path_after).name}: {image.label}\n"
                f"{image.predicted_before} {image.probability_before:.2f} → "
                f"{image.predicted_after} {image.probability_after:.2f}",
                fontsize=8,
            )
    return figure


def read_image(files: Files, path: str, digest: str) -> bytes:
    """Return the image in `path`, of the workspace where it is the same, as the sample images are not in DVC's cache.

    Raises UserError where its SHA-256 is not `digest`, and otherwise as `files` does.
    """
    here = Path(path)
    content = here.read_bytes() if here.is_file() else b""
    if sha256(content).hexdigest() != digest:
        content = files.read(path)
    if sha256(content).hexdigest() != digest:
        raise UserError(f"{PICTURE} is not drawn: {path} has changed since that run.")
    return content


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tools.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("before", metavar="REV", help="a git revision, or the name of an experiment")
    parser.add_argument("after", metavar="REV2", nargs="?", help="another one; the workspace if left out")
    options = parser.parse_args()
    main(options.before, options.after)
