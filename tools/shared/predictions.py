"""What the models of a revision said of the test images, wherever in a git repository the project lies."""

from io import BytesIO

import pandas as pd
from dvc.exceptions import DvcException
from dvc.scm import RevError
from dvc_data.index import DataIndexError

from stages.shared.pipeline.command import UserError
from tools.shared.revisions import Files

MODELS = ("head", "augmented", "fine_tuned")
IMAGE = ["sha256", "copy"]  # what an image is, wherever it lies
PROBABILITY = "probability_"  # with which the name of a column of a class begins


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
    names = classes_of(table)
    sure = table[[f"{PROBABILITY}{name}" for name in names]].apply(pd.to_numeric, errors="coerce").to_numpy()
    if not {*table["label"], *table["predicted"]} <= {*names} or not ((sure >= 0) & (sure <= 1)).all():
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


def unreadable(files: Files, path: str, fault: str) -> UserError:
    return UserError(
        f"{files.rev or 'the workspace'} has a {path} that no run has written ({fault}): run the pipeline at "
        "that revision, or dvc pull it where a colleague pushed it."
    )


def classes_of(predictions: pd.DataFrame) -> list[str]:
    """Return the names of the classes that the models of `predictions` know."""
    return [
        str(column).removeprefix(PROBABILITY) for column in predictions if str(column).startswith(PROBABILITY)
    ]
