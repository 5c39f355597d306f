"""The split's CSV files: one row an image, in the order of every array made from it."""

from pathlib import Path

import pandas as pd

SPLITS = ("train", "validation", "test")


def read_split(path: Path) -> pd.DataFrame:
    """Return the columns path, label (str), class_index (int64) and sha256 (of the file's bytes)."""
    return pd.read_csv(path, dtype={"path": str, "label": str, "sha256": str}, keep_default_na=False)


def read_class_names(split: pd.DataFrame) -> list[str]:
    """Return the class names, the one with class_index 0 first."""
    return split.drop_duplicates("class_index").sort_values("class_index")["label"].tolist()
