"""The split's CSV files: one row an image, in the order of every array made from it."""

from pathlib import Path

import pandas as pd

from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.image_files import list_files, some

SPLITS = ("train", "validation", "test")


def read_split(path: Path) -> pd.DataFrame:
    """Return the columns path, label (str), class_index (int64) and sha256 (of the file's bytes)."""
    return pd.read_csv(path, dtype={"path": str, "label": str, "sha256": str}, keep_default_na=False)


def read_class_names(split: pd.DataFrame) -> list[str]:
    """Return the class names, the one with class_index 0 first."""
    return split.drop_duplicates("class_index").sort_values("class_index")["label"].tolist()


def check_complete(splits: Path, unused: Path, folder: Path) -> None:
    """Raise UserError where `folder` has files that are neither in one of `splits` nor in the table `unused`.

    They came while split_dataset ran: DVC, which looks at the folder at its end, takes it for up to date.
    """
    tables = map(read_split, (*(splits / f"{name}.csv" for name in SPLITS), unused))
    new = sorted(set(list_files(folder)).difference(*(table["path"] for table in tables)))
    if new:
        raise UserError(
            f"{len(new)} files came into {folder} while it was split: {some(new)}. "
            "Run dvc repro --force --single-item split_dataset, then dvc repro."
        )
