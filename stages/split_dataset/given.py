"""Splits that the images bring along: in folders named train, validation and test, or in a column."""

import re

import pandas as pd

from stages.shared.images.image_folder import ImageFolder, some
from stages.shared.pipeline.command import UserError

NAMED = {
    "train": "train(ing)?|trn",
    "validation": "val(id(ation)?)?|dev|eval(uation)?",
    "test": "test(ing)?|tst|holdout",
}
KNOWN = "train, training or training_set; val, valid, validation or dev; test, testing, test_set or holdout"


def split_named(name: str) -> str | None:
    """Return the split that `name` usually stands for, or None: train for Training_set, test for test1 or seg_test.

    A name of several words stands for the only split among them.
    """
    words = _words(name)
    named = {_split_of(word) for word in ("".join(words), *words)} - {None}
    return named.pop() if len(named) == 1 else None


def _words(name: str) -> list[str]:
    return [re.sub(r"(set|data)?\d*$", "", word) for word in re.split(r"[\W_]+", name.casefold())]


def _split_of(word: str) -> str | None:
    return next((split for split, pattern in NAMED.items() if re.fullmatch(pattern, word)), None)


def find_levels(paths: list[str], folder: ImageFolder) -> tuple[int, list[int]]:
    """Return at which depth the folders of `paths` name their splits, 0 for the first, and all depths without labels.

    The first depth at which all paths have a folder that is named like a split, and not all the same; the
    others without labels are those that repeat it, or that name one split for all. Raises UserError where
    there is none.
    """
    named = [[split_named(name) for name in path.split("/")[:-1]] for path in paths]
    depths = range(min(map(len, named)))
    common = {depth: [splits[depth] for splits in named] for depth in depths if all(s[depth] for s in named)}
    if not common:
        outside = [path for path, splits in zip(paths, named, strict=True) if not any(splits)]
        where = (
            "in no folder that is named like a split" if outside else "in such folders at different depths"
        )
        raise UserError(
            f"split.given is folders, but {len(outside or paths)} of {len(paths)} files in {folder} lie {where}: "
            f"{some(outside or paths)}. Such names are {KNOWN}."
        )
    level = next((depth for depth, splits in common.items() if len(set(splits)) > 1), min(common))
    return level, [
        depth for depth, splits in common.items() if len(set(splits)) == 1 or splits == common[level]
    ]


def without(path: str, levels: list[int]) -> str:
    """Return `path` without its folders at the depths `levels`."""
    return "/".join(part for depth, part in enumerate(path.split("/")) if depth not in levels)


def from_folders(paths: pd.Series, folder: ImageFolder) -> list[str | None]:
    """Return the split that the folders of each path name; raises UserError as find_levels does."""
    level, _ = find_levels(paths.tolist(), folder)
    return [split_named(path.split("/")[level]) for path in paths]


def from_column(table: pd.DataFrame, column: str, file: str) -> list[str | None]:
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


def check_class_folders(files: list[str], folder: ImageFolder) -> None:
    """Raise UserError where class folders are named like splits.

    A single one called train is taken for a class, unless it has folders that others have too, or lack at all. Names
    of several words count where they stand for several splits: seg_train and seg_test, but not train_station.
    """
    inner: dict[str, set[str]] = {}
    for path in files:
        first, *others = path.split("/")[:-1]
        inner.setdefault(first, set()).update(others[:1])
    named = {name: split for name in inner if (split := split_named(name))}
    plain = [name for name in named if _split_of("".join(_words(name)))]
    if [name.casefold() for name in named] == ["train"]:
        own = inner[plain[0]]
        others = set().union(*(folders for name, folders in inner.items() if name != plain[0]))
        plain = plain if own and (not others or own & others) else []
    if plain or len(set(named.values())) > 1:
        raise UserError(
            f"{folder} has class folders that are named like splits: {some(list(named))}. Set split.given: folders, "
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


def warn_of_folders(paths: pd.Series, folder: ImageFolder) -> None:
    """Say so where all images lie in folders that are named like splits, which nobody asked to keep."""
    for names in zip(*(path.split("/")[:-1] for path in paths), strict=False):
        if len(set(names)) > 1 and all(map(split_named, names)):
            print(
                f"{folder} has folders that are named like splits, {', '.join(sorted(set(names)))}: they are not "
                "kept. split.given: folders would keep them."
            )


def warn_of_columns(columns: pd.DataFrame, file: str) -> None:
    """Say so where a column names splits, which nobody asked to keep."""
    for column, values in columns.items():
        if values.nunique() > 1 and values.map(split_named).notna().mean() > 0.5:
            print(
                f"{file} has splits in its column {column!r}: they are not kept. "
                f"split.given: column:{column} would keep them."
            )
