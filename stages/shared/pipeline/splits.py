"""The split's CSV files: one row an image, in the order of every array made from it."""

from pathlib import Path

import pandas as pd

from stages.shared.pipeline.damage import damaged
from stages.shared.pipeline.json_and_csv import read_table

SPLITS = ("train", "validation", "test")
COLUMNS = {"path": str, "label": str, "class_index": int, "sha256": str}


def read_split(path: Path) -> pd.DataFrame:
    """Return the columns path, label (str), class_index (int64) and sha256 (of the file's bytes).

    Raises UserError where they are not there, or a label and its class_index do not fit those of other rows.
    """
    split = read_table(path, COLUMNS)
    classes = split.drop_duplicates(["label", "class_index"]).sort_values("label")
    if (classes["class_index"].diff() <= 0).any() or classes["label"].duplicated().any() or len(split) == 0:
        raise damaged(path, "its labels and class indices are not one to one")
    if not split["sha256"].str.fullmatch("[0-9a-f]{64}").all():
        raise damaged(path, "it has a sha256 that is none")
    return split


def read_class_names(split: pd.DataFrame) -> list[str]:
    """Return the class names, the one with class_index 0 first."""
    return split.drop_duplicates("class_index").sort_values("class_index")["label"].tolist()
