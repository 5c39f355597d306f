"""Which images there are, and what their labels, groups and given splits are."""

import re
import unicodedata
from typing import Literal

import pandas as pd
from pydantic import Field

from stages.shared.images.image_folder import IMAGES, ImageFolder, some
from stages.shared.labels.decisions import CORRECTED
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.parameters import Section
from stages.shared.pipeline.splits import place_of
from stages.shared.store.results import Store
from stages.split_dataset import given, groups
from stages.split_dataset.assignment import Split
from stages.split_dataset.groups import COLUMN
from stages.split_dataset.labels_file import check_place, find_files, read_rows
from stages.split_dataset.look_alikes import appearance, check_look_alikes
from stages.split_dataset.shards import list_files

NUMBERED = re.compile(r"(?P<label>.+?)\.\d+\.\w+")  # cat.12.jpg
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MARKUP = re.compile(r"<(/?script|!--)", re.IGNORECASE)  # ends or opens what holds the data of dvc plots show


class Columns(Section):
    """The names of columns of the CSV file with the labels."""

    file: str = Field(min_length=1, description="the name of the column with the files")
    label: str = Field(min_length=1, description="the name of the column with the labels")


class Data(Section):
    images: str = Field(min_length=1, description=IMAGES)
    labels_from: str = Field(min_length=1, description="folder, filename or the path of a CSV file")
    columns: Columns
    unlisted: Literal["fail", "ignore"] = Field(description="fail or ignore")
    labels_corrected: str = Field(min_length=1, description=CORRECTED)
    on_bad_image: Literal["fail", "exclude"] = Field(description="fail or exclude")
    max_megapixels: float = Field(gt=0, description="a number of megapixels above 0")


def list_images(
    folder: ImageFolder, data: Data, split: Split, store: Store | None = None
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return a row for every image, sorted by path, and of each other file the reason why it is none.

    The columns are path (below data.images, with slashes) and label; with split.group_by group, with split.given
    given, which is train, validation or test, and with shards SHARD_COLUMNS. `store` may know the shards in S3.
    data.labels_from says where the label is: folder
    (the first folder of the path, or the first other one than the given split), filename (the part before
    the number, as in Kaggle's cat.12.jpg) or the path of a CSV file inside the folder.

    Raises UserError where a file has no label, group or split, where labels look alike, or none is there.
    """
    listed, shards = list_files(folder, store)
    files = listed["path"].tolist()
    if data.labels_from in ("folder", "filename"):
        for key, value, other in (
            ("split.group_by", split.group_by, "a regular expression"),
            ("split.given", split.given, "folders"),
        ):
            if value and value.startswith(COLUMN):
                raise UserError(
                    f"{key} is {value!r}, a column of the CSV file with the labels, but data.labels_from is "
                    f"{data.labels_from}: name such a file there, or give {key} {other} or null."
                )
        table, others = _from_paths(folder, files, data, split)
    else:
        table, others = _from_csv(folder, listed, data, split)
    if split.group_by and not split.group_by.startswith(COLUMN):
        table["group"] = groups.find(table["path"], split.group_by)
    if "group" in table:
        table["group"] = [unicodedata.normalize("NFC", group) for group in table["group"]]
    if split.given == "folders":
        table["given"] = given.from_folders(table["path"], folder)
    elif split.given is None:
        given.warn_of_folders(table["path"], folder)
    _check_names(table, folder)
    check_look_alikes(table)
    table["label"] = [unicodedata.normalize("NFC", label) for label in table["label"]]
    others |= dict.fromkeys(shards, "holds images")
    return table.merge(listed, on="path").sort_values("path", ignore_index=True), others


def _check_names(table: pd.DataFrame, folder: ImageFolder) -> None:
    rows = list(zip(table["path"], table["label"], strict=True))
    if odd := [path for path, label in rows if CONTROL.search(path + label) or not appearance(label)]:
        raise UserError(
            f"{len(odd)} images in {folder} have control characters in name or label, or a label in which nothing "
            f"shows: {some(odd)}. Rename them."
        )
    if odd := [path for path, label in rows if MARKUP.search(path) or MARKUP.search(label)]:
        raise UserError(
            f"{len(odd)} images in {folder} have <script, </script or <!-- in name or label, which a page of plots "
            f"would run: {some(odd)}. Rename them."
        )


def _from_paths(
    folder: ImageFolder, files: list[str], data: Data, split: Split
) -> tuple[pd.DataFrame, dict[str, str]]:
    if not files:
        raise UserError(f"{folder} holds no images: put some there, or point data.images elsewhere.")
    levels = given.find_levels(files, folder)[1] if split.given == "folders" else []
    label_of = _folder_label if data.labels_from == "folder" else _filename_label
    labels = {path: label_of(given.without(path, levels)) for path in files}
    unlabelled = sorted(path for path, label in labels.items() if label is None)
    if unlabelled and data.unlisted == "fail":
        where = "lie in no class folder" if data.labels_from == "folder" else "are not named like cat.12.jpg"
        raise UserError(
            f"{len(unlabelled)} files in {folder} {where}, so data.labels_from: {data.labels_from} gives them no "
            f"label: {some(unlabelled)}. Move them, or leave them aside with data.unlisted: ignore."
        )
    labelled = {path: label for path, label in labels.items() if label is not None}
    if data.labels_from == "folder":
        if split.given is None:
            given.check_class_folders(list(labelled), folder)
        _check_empty_folders(files, folder)
    table = pd.DataFrame({"path": list(labelled), "label": list(labelled.values())}, dtype=str)
    return table, dict.fromkeys(unlabelled, "without a label")


def _check_empty_folders(files: list[str], folder: ImageFolder) -> None:
    empty = sorted(set(folder.list_folders()) - {path.split("/")[0] for path in files})
    if empty:
        raise UserError(f"class folders of {folder} without an image: {some(empty)}. Fill or remove them.")


def _folder_label(path: str) -> str | None:
    return path.split("/")[0] if "/" in path else None


def _filename_label(path: str) -> str | None:
    match = NUMBERED.fullmatch(path.split("/")[-1])
    return match and match["label"]


def _from_csv(
    folder: ImageFolder, listed: pd.DataFrame, data: Data, split: Split
) -> tuple[pd.DataFrame, dict[str, str]]:
    file, files = data.labels_from, listed["path"].tolist()
    itself = check_place(file, folder, files)
    columns = {
        "name": (data.columns.file, "data.columns.file"),
        "label": (data.columns.label, "data.columns.label"),
    }
    for column, key, value in (
        ("group", "split.group_by", split.group_by),
        ("given", "split.given", split.given),
    ):
        if value and value.startswith(COLUMN):
            columns[column] = (value.removeprefix(COLUMN), key)
    [image, *_] = listed[listed["path"] == itself].to_dict("records") or [
        {"path": itself}
    ]  # as it may be hidden
    table, rest = read_rows(file, folder.read(place_of(image)), columns)
    images = [path for path in files if path != itself]
    found = find_files(table["name"].tolist(), images)
    table["path"] = [paths[0] if len(paths) == 1 else "" for paths in found]
    problems = {
        "are not there": [not paths for paths in found],
        "may each be several files": [len(paths) > 1 for paths in found],
        "are listed twice": table["path"].duplicated(),
        "have no label, or one with blanks around it": table["label"].map(_is_no_name),
    }
    if "group" in table:
        problems[f"have no {columns['group'][0]}, or one with blanks around it"] = table["group"].map(
            _is_no_name
        )
    for problem, rows in problems.items():
        if any(rows):
            raise UserError(
                f"{sum(rows)} files of {file} {problem} (in {folder}): {some(table['name'][rows].tolist())}."
            )
    if "given" in table:
        table["given"] = given.from_column(table, columns["given"][0], file)
    elif split.given is None:
        given.warn_of_columns(rest, file)
    unlisted = sorted(set(images) - set(table["path"]))
    if unlisted and data.unlisted == "fail":
        raise UserError(
            f"{len(unlisted)} files in {folder} are not listed in {file}: {some(unlisted)}. "
            "List them, remove them, or leave them aside with data.unlisted: ignore."
        )
    reasons = {itself: "holds the labels", **dict.fromkeys(unlisted, f"not listed in {file}")}
    return table.drop(columns="name"), reasons


def _is_no_name(text: str) -> bool:
    return text.strip() != text or not text
