"""Compare the models of two revisions on the test images that both have.

    python -m tools.compare REV [REV2]    REV2 is the workspace where it is left out

Says for each model what `dvc metrics diff` cannot: how sure the accuracies are, and whether their
difference could be chance. So it does of cross-validation, where both have the same folds. Reads git's
history and DVC's cache or remote; the workspace stays as it is. Draws the images that flipped, from wrong
to right and from right to wrong, in compare.png.
"""

import argparse
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from dvc.exceptions import DvcException
from dvc.scm import RevError
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
from tools.shared.revisions import Files

MODELS = ("head", "augmented", "fine_tuned")
IMAGE = ["sha256", "copy", "label"]  # what an image is, wherever it lies
SHOWN = 6  # flipped images of each kind and model in the picture
PICTURE = Path("compare.png")
FOLDS = "metrics/cross_validation.csv"


def main(before: str, after: str | None) -> None:
    PICTURE.unlink(missing_ok=True)
    files = {rev: Files(rev) for rev in (before, after)}
    flipped = {}
    for model in MODELS:
        old, new = (with_confidence(read_predictions(files[rev], model)) for rev in (before, after))
        both = old.merge(new, on=IMAGE, suffixes=("_before", "_after"))
        print(f"{model}:")
        for rev, table in ((before, old), (after, new)):
            print(f"  {rev or 'workspace'}: {describe_accuracy(table)}")
        if len(both) < max(len(old), len(new)):
            print(f"  The test splits differ: {len(old)} and {len(new)} images, {len(both)} in both.")
        print(f"  {describe_difference(both)}")
        flipped[model] = both[right(both, "_before") != right(both, "_after")]
    print("cross-validation:")
    try:
        for sentence in describe_folds(*(read_folds(files[rev]) for rev in (before, after))):
            print(f"  {sentence}")
    except UserError as missing:  # in a revision of before there was any
        print(f"  {missing}")
    if any(map(len, flipped.values())):
        try:
            picture = draw(flipped, files[after])
        except (OSError, DvcException, DataIndexError) as error:
            raise UserError(
                f"{PICTURE} is not drawn, as {after or 'the workspace'} has not all images here ({error}): "
                "dvc add them before you commit a run, and dvc pull them where a colleague did."
            ) from None
        with atomic_write(PICTURE) as file:
            picture.savefig(file, dpi=100)
        print(f"{PICTURE}: the images that flipped")


def read_predictions(files: Files, model: str) -> pd.DataFrame:
    """Return a row a test image: its path, sha256 and label, predicted and probability_CLASS for each class.

    `copy` numbers byte-identical images from 0.
    """
    file = f"data/evaluation/{model}_predictions.csv"
    table = read_table(files, file, ["path", "label", "predicted"])
    test = read_table(files, "data/splits/test.csv", ["path", "label", "sha256"])
    if not table[["path", "label"]].equals(test[["path", "label"]]):
        raise UserError(
            f"{files.rev or 'the workspace'} has data/evaluation of another split than data/splits: run dvc repro."
        )
    probabilities = table.filter(regex="^probability_")
    names = {str(column).removeprefix("probability_") for column in probabilities}
    sure = probabilities.apply(pd.to_numeric, errors="coerce").to_numpy()
    if not {*table["label"], *table["predicted"]} <= names or not ((sure >= 0) & (sure <= 1)).all():
        raise unreadable(files, file, "a class has no probability from 0 to 1")
    return table.assign(sha256=test["sha256"], copy=test.groupby("sha256").cumcount())


def read_table(files: Files, path: str, columns: list[str]) -> pd.DataFrame:
    """Return the CSV file `path`, which has `columns`; raises UserError where it is not here, or another."""
    text = dict.fromkeys(("path", "label", "predicted", "sha256"), str)
    try:
        content = files.read(path)
    except RevError as error:
        raise UserError(f"{error}: it takes a git revision or the name of an experiment.") from None
    except (OSError, DvcException, DataIndexError) as error:
        raise UserError(
            f"{files.rev or 'the workspace'} has no {path} here ({error}): run the pipeline at that revision, "
            "or dvc pull it where a colleague pushed it."
        ) from None
    try:
        table = pd.read_csv(BytesIO(content), keep_default_na=False, dtype=text)
    except ValueError as error:  # of pandas: the encoding, a row, a number
        raise unreadable(files, path, " ".join(str(error).split())[:300]) from None
    for column in columns:
        if column not in table.columns:
            raise unreadable(files, path, f"it has no column {column}")
    return table


def read_folds(files: Files) -> pd.DataFrame:
    """Return a row a fold: images, a digest of which it held out, learnt and held_out, and each model's accuracy."""
    figures = ["learnt", "held_out", *(f"{model}_accuracy" for model in resampled.MODELS)]
    table = read_table(files, FOLDS, ["images", *figures])
    table[figures] = table[figures].apply(pd.to_numeric, errors="coerce")
    if len(table) < 2 or not (table[figures] >= 0).all(axis=None):
        raise unreadable(files, FOLDS, "it has no figures of two folds or more")
    return table[["images", *figures]]


def unreadable(files: Files, path: str, fault: str) -> UserError:
    return UserError(
        f"{files.rev or 'the workspace'} has a {path} that no run has written ({fault}): run the pipeline at "
        "that revision, or dvc pull it where a colleague pushed it."
    )


def with_confidence(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return what an image is, its path, predicted and probability, the one of the predicted class."""
    probability = [row[f"probability_{row['predicted']}"] for _, row in predictions.iterrows()]
    return predictions[[*IMAGE, "path", "predicted"]].assign(probability=probability)


def right(table: pd.DataFrame, suffix: str = "") -> pd.Series:
    return table[f"predicted{suffix}"] == table["label"]


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
        return "No image is in both test splits: nothing can be compared."
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


def draw(flipped: dict[str, pd.DataFrame], files: Files) -> Figure:
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
