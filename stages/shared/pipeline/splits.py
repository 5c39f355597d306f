"""The split's CSV files: one row an image, in the order of every array made from it."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stages.shared.pipeline.damage import damaged
from stages.shared.pipeline.json_and_csv import read_table

SPLITS = ("train", "validation", "test")
COLUMNS = {"path": str, "label": str, "class_index": int, "sha256": str}
GROUP_COLUMN = {"group": str}  # only with split.group_by: images of one group belong together
# Only where images lie in shards, which are tars in the folder of images: which one, and where in it, in bytes. An
# image that is a file of its own has an empty name there, and zeros.
SHARD_COLUMNS = {"shard": str, "offset": int, "length": int}
Image = dict | pd.Series  # a row of a split


class Place(NamedTuple):
    """Where the bytes of an image are: in a file below the folder of images, from `offset` on."""

    file: str
    offset: int = 0
    length: int = -1  # all to the end


def read_split(path: Path) -> pd.DataFrame:
    """Return the columns path, label (str), class_index (int64) and sha256 (of the image's bytes).

    GROUP_COLUMN follows where they were split by groups, and SHARD_COLUMNS where they lie in shards. Raises UserError
    where columns are not there, or a label and its class_index do not fit those of other rows.
    """
    split = read_table(path, COLUMNS, {**GROUP_COLUMN, **SHARD_COLUMNS})
    classes = split.drop_duplicates(["label", "class_index"]).sort_values("label")
    if (classes["class_index"].diff() <= 0).any() or classes["label"].duplicated().any() or len(split) == 0:
        raise damaged(path, "its labels and class indices are not one to one")
    if not split["sha256"].str.fullmatch("[0-9a-f]{64}").all():
        raise damaged(path, "it has a sha256 that is none")
    others = split.columns[len(COLUMNS) :].drop("group", errors="ignore").tolist()
    if others and (others != list(SHARD_COLUMNS) or (split[["offset", "length"]] < 0).any(axis=None)):
        raise damaged(path, "it does not say where in which shard an image lies")
    return split


def place_of(image: Image) -> Place:
    """Return where the bytes of an image are, in a shard or in a file of its own."""
    if image.get("shard"):
        return Place(image["shard"], image["offset"], image["length"])
    return Place(image["path"])


def read_class_names(split: pd.DataFrame) -> list[str]:
    """Return the class names, the one with class_index 0 first."""
    return split.drop_duplicates("class_index").sort_values("class_index")["label"].tolist()
