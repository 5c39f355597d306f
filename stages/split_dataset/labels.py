"""Which images there are, and what their labels and groups are."""

import csv
import os
import re
from pathlib import Path, PurePosixPath

import pandas as pd

from stages.shared.pipeline.command import UserError

NUMBERED = re.compile(r"(?P<label>.+?)\.\d+\.\w+")  # cat.12.jpg
COLUMN = "column:"  # the beginning of a split.group_by that is no regular expression
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def list_images(folder: Path, labels_from: str, group_by: str | None = None) -> pd.DataFrame:
    """Return path (below `folder`, with slashes) and label of every image, sorted by path.

    `labels_from` is folder (the first folder of the path), filename (the part before the number,
    as in Kaggle's cat.12.jpg) or the path of a CSV file inside `folder` with the columns file and
    label. Hidden files are no images. With `group_by`, which is column:NAME of that CSV file or a
    regular expression to search for in the path (its first capturing group, or the whole match),
    there is a column group too. Raises UserError where a file has no label or group, or none is there.
    """
    if not folder.is_dir():
        raise UserError(f"data.images is {str(folder)!r}, which is no folder.")
    column = group_by.removeprefix(COLUMN) if group_by and group_by.startswith(COLUMN) else None
    if labels_from not in ("folder", "filename"):
        table = _from_csv(folder, Path(labels_from), column)
    elif column is None:
        table = _from_paths(folder, labels_from)
    else:
        raise UserError(
            f"split.group_by is {group_by!r}, a column of the CSV file with the labels, but data.labels_from is "
            f"{labels_from}: name such a file there, or give split.group_by a regular expression."
        )
    if group_by and column is None:
        table["group"] = _groups(table["path"], group_by)
    odd = [
        path
        for path, label in zip(table["path"], table["label"], strict=True)
        if CONTROL.search(path + label)
    ]
    if odd:
        raise UserError(
            f"{len(odd)} images in {folder} have control characters in name or label: {_some(odd)}."
        )
    return table.sort_values("path", ignore_index=True)


def _from_paths(folder: Path, labels_from: str) -> pd.DataFrame:
    paths = _files(folder)
    if not paths:
        raise UserError(f"{folder} holds no images: put some there, or point data.images elsewhere.")
    label_of = _folder_label if labels_from == "folder" else _filename_label
    labels = [label_of(path) for path in paths]
    unlabelled = [path for path, label in zip(paths, labels, strict=True) if label is None]
    if unlabelled:
        where = "lie in no class folder" if labels_from == "folder" else "are not named like cat.12.jpg"
        raise UserError(
            f"{len(unlabelled)} files in {folder} {where}, so data.labels_from: {labels_from} gives them "
            f"no label: {_some(sorted(unlabelled))}."
        )
    folders = {file.name for file in folder.iterdir() if file.is_dir() and not file.name.startswith(".")}
    empty = sorted(folders - set(labels))
    if labels_from == "folder" and empty:
        raise UserError(f"class folders of {folder} without an image: {_some(empty)}. Fill or remove them.")
    return pd.DataFrame({"path": paths, "label": labels})


def _files(folder: Path) -> list[str]:
    """Return the files below `folder`, hidden ones excepted.

    Raises UserError where one cannot be read or is none, and for links to folders, which DVC does not follow.
    """

    def cannot_read(error: OSError) -> None:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}.")

    files, others = [], []
    for place, folders, names in os.walk(folder, onerror=cannot_read):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        others += [Path(place, name) for name in folders if Path(place, name).is_symlink()]
        for path in (Path(place, name) for name in sorted(names) if not name.startswith(".")):
            (files if path.is_file() else others).append(path)
    if others:
        raise UserError(
            f"{len(others)} entries of {folder} are links to folders, broken links or no files: "
            f"{_some(list(map(str, others)))}. Put the images themselves there."
        )
    return [path.relative_to(folder).as_posix() for path in files]


def _folder_label(path: str) -> str | None:
    return path.split("/")[0] if "/" in path else None


def _filename_label(path: str) -> str | None:
    match = NUMBERED.fullmatch(path.split("/")[-1])
    return match and match["label"]


def _groups(paths: pd.Series, pattern: str) -> list[str]:
    matches = [re.search(pattern, path) for path in paths]
    groups = [match and match[min(1, match.re.groups)] for match in matches]
    without = [path for path, group in zip(paths, groups, strict=True) if not group]
    if without:
        raise UserError(
            f"{len(without)} of {len(paths)} images have no group, as split.group_by, {pattern!r}, finds none in "
            f"their paths: {_some(sorted(without))}. (A column of a CSV file is written {COLUMN}NAME.)"
        )
    return [str(group) for group in groups]


def _from_csv(folder: Path, file: Path, column: str | None) -> pd.DataFrame:
    if not file.is_file():
        hint = f" Did you mean {folder / file}?" if (folder / file).is_file() else ""
        raise UserError(
            f"data.labels_from is {str(file)!r}, where no file is: it takes folder, filename or the path of "
            f"a CSV file from the project's top folder.{hint}"
        )
    itself = file.parent.resolve() / file.name  # DVC may have made it a link to its cache
    if folder.resolve() not in itself.parents:
        raise UserError(
            f"data.labels_from is {str(file)!r}, outside {folder}: move it into that folder, so that DVC "
            "notices when it changes."
        )
    table = _read_csv(file, column)
    inside = set(_files(folder))
    problems = {
        "are listed twice": table["path"].duplicated(),
        "have no label, or one with blanks around it": table["label"].map(_is_no_name),
        "are not written like apple/0.png, below the folder": table["path"].map(_is_no_plain_path),
        "are not there": ~table["path"].isin(inside),
    }
    if column is not None:
        problems[f"have no {column}, or one with blanks around it"] = table["group"].map(_is_no_name)
    for problem, rows in problems.items():
        if rows.any():
            raise UserError(
                f"{rows.sum()} files of {file} {problem} (in {folder}): {_some(list(table['path'][rows]))}."
            )
    unlisted = inside - set(table["path"]) - {itself.relative_to(folder.resolve()).as_posix()}
    if unlisted:
        raise UserError(
            f"{len(unlisted)} files in {folder} are not listed in {file}: {_some(sorted(unlisted))}. "
            "List them or remove them."
        )
    return table


def _read_csv(file: Path, column: str | None) -> pd.DataFrame:
    """Return path, label and, where `column` is named, group of a CSV file with the columns file, label and that."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            header, *rows = [row for row in csv.reader(lines, strict=True) if row] or [[]]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{file} is no readable CSV file in UTF-8: {error}.") from None
    needed = ["file", "label"] if column is None else ["file", "label", column]
    if any(header.count(name) != 1 for name in needed):
        group = "" if column is None else f", and {column!r} for split.group_by"
        raise UserError(
            f"{file} has the columns {', '.join(header)}: it needs file and label, once each{group}."
        )
    uneven = [",".join(row) for row in rows if len(row) != len(header)]
    if uneven:
        raise UserError(
            f"{len(uneven)} rows of {file} do not have its {len(header)} columns: {_some(uneven)}."
        )
    table = pd.DataFrame(rows, columns=header, dtype=str)
    return table[needed].set_axis(["path", "label", "group"][: len(needed)], axis="columns")


def _is_no_name(text: str) -> bool:
    return text.strip() != text or not text


def _is_no_plain_path(path: str) -> bool:
    plain = PurePosixPath(path)
    return plain.is_absolute() or ".." in plain.parts or str(plain) != path


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:10]) + (f" and {len(paths) - 10} more" if len(paths) > 10 else "")
