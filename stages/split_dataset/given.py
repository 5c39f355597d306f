"""Splits that the images bring along: in folders named train, validation and test, or in a column."""

import re
from pathlib import Path

import pandas as pd

from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.image_files import some

NAMED = {"train": "train(ing)?", "validation": "val(id(ation)?)?|dev", "test": "test(ing)?|holdout"}
KNOWN = "train, training or training_set; val, valid, validation or dev; test, testing, test_set or holdout"


def split_named(name: str) -> str | None:
    """Return the split that `name` usually stands for, or None: train for Training_set, test for test1."""
    plain = re.sub(r"(set|data)?\d*$", "", re.sub(r"[\W_]", "", name.casefold()))
    return next((split for split, pattern in NAMED.items() if re.fullmatch(pattern, plain)), None)


def find_level(paths: list[str], folder: Path) -> int:
    """Return at which depth all `paths` have a folder that is named like a split, 0 for the first.

    Raises UserError where there is none.
    """
    levels = [
        {depth for depth, name in enumerate(path.split("/")[:-1]) if split_named(name)} for path in paths
    ]
    common = set.intersection(*levels)
    if not common:
        outside = [path for path, level in zip(paths, levels, strict=True) if not level] or paths
        raise UserError(
            f"split.given is folders, but {len(outside)} of {len(paths)} files in {folder} lie in no folder "
            f"that is named like a split, all at one depth: {some(outside)}. Such names are {KNOWN}."
        )
    return min(common)


def without(path: str, level: int | None) -> str:
    """Return `path` without its folder at the depth `level`."""
    if level is None:
        return path
    parts = path.split("/")
    return "/".join(parts[:level] + parts[level + 1 :])


def from_folders(paths: pd.Series, folder: Path) -> list[str | None]:
    """Return the split that the folders of each path name; raises UserError as find_level does."""
    level = find_level(paths.tolist(), folder)
    return [split_named(path.split("/")[level]) for path in paths]


def from_column(table: pd.DataFrame, column: str, file: Path) -> list[str | None]:
    """Return the split that the column given of `table` names; raises UserError where it names none."""
    splits = table["given"].map(split_named)
    unknown = table[splits.isna()]
    if len(unknown):
        values = ", ".join(map(repr, unknown["given"].unique()[:10]))
        raise UserError(
            f"{len(unknown)} rows of {file} have in {column!r} (split.given) what names no split: {values}. "
            f"Such names are {KNOWN}."
        )
    return splits.tolist()


def check_class_folders(files: list[str], folder: Path) -> None:
    """Raise UserError where class folders are named like splits.

    A single one called train is taken for a class where its images lie as deep as those of another.
    """
    depths: dict[str, set[int]] = {}
    for path in files:
        depths.setdefault(path.split("/")[0], set()).add(path.count("/"))
    named = [name for name in depths if split_named(name)]
    if [name.casefold() for name in named] == ["train"]:
        others = set().union(*(found for name, found in depths.items() if name not in named))
        if depths[named[0]] & others:
            return
    if named:
        raise UserError(
            f"{folder} has class folders that are named like splits: {some(named)}. Set split.given: folders, "
            "so that each image keeps its split; rename those that are classes; remove those that are neither."
        )


def across_splits(table: pd.DataFrame) -> dict[str, list[list[str]]]:
    """Return the sets of identical images that lie in more than one split of `table`, and such groups.

    Each comes as the list of its images, written split: path.
    """
    named = table.assign(name=table["split"] + ": " + table["path"])
    kinds = {"sets of identical images": "sha256"} | ({"groups": "group"} if "group" in table else {})
    return {
        kind: [
            images["name"].tolist() for _, images in named.groupby(column) if images["split"].nunique() > 1
        ]
        for kind, column in kinds.items()
    }


def warn_of_folders(paths: pd.Series, folder: Path) -> None:
    """Say so where all images lie in folders that are named like splits, which nobody asked to keep."""
    for names in zip(*(path.split("/")[:-1] for path in paths), strict=False):
        if len(set(names)) > 1 and all(map(split_named, names)):
            print(
                f"{folder} has folders that are named like splits, {', '.join(sorted(set(names)))}: they are not "
                "kept. split.given: folders would keep them."
            )


def warn_of_columns(columns: pd.DataFrame, file: Path) -> None:
    """Say so where a column names splits, which nobody asked to keep."""
    for column, values in columns.items():
        if values.nunique() > 1 and values.map(split_named).notna().all():
            print(
                f"{file} has splits in its column {column!r}: they are not kept. "
                f"split.given: column:{column} would keep them."
            )
