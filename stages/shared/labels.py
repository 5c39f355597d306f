"""Which images there are, and what their labels are."""

import re
from pathlib import Path

import pandas as pd

from stages.shared.errors import UserError

NUMBERED = re.compile(r"(?P<label>.+?)\.\d+\.\w+")  # cat.12.jpg


def list_images(folder: Path, labels_from: str) -> pd.DataFrame:
    """Return path (below `folder`, with slashes) and label of every image, sorted by path.

    `labels_from` is folder (the first folder of the path), filename (the part before the number,
    as in Kaggle's cat.12.jpg) or the path of a CSV file inside `folder` with the columns file and
    label. Hidden files are no images. Raises UserError where a file has no label or there is none.
    """
    if not folder.is_dir():
        raise UserError(f"data.images is {str(folder)!r}, which is no folder.")
    if labels_from not in ("folder", "filename"):
        return _from_csv(folder, Path(labels_from))
    paths = sorted(_files(folder))
    if not paths:
        raise UserError(f"{folder} holds no images: put some there, or point data.images elsewhere.")
    label_of = _folder_label if labels_from == "folder" else _filename_label
    labels = [label_of(path) for path in paths]
    unlabelled = [path for path, label in zip(paths, labels) if label is None]
    if unlabelled:
        where = "lie in no class folder" if labels_from == "folder" else "are not named like cat.12.jpg"
        raise UserError(
            f"{len(unlabelled)} files in {folder} {where}, so data.labels_from: {labels_from} gives them "
            f"no label: {_some(unlabelled)}."
        )
    return pd.DataFrame({"path": paths, "label": labels})


def _files(folder: Path) -> list[str]:
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return [path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)]


def _folder_label(path: str) -> str | None:
    return path.split("/")[0] if "/" in path else None


def _filename_label(path: str) -> str | None:
    match = NUMBERED.fullmatch(path.split("/")[-1])
    return match and match["label"]


def _from_csv(folder: Path, file: Path) -> pd.DataFrame:
    if not file.is_file():
        raise UserError(
            f"data.labels_from is {str(file)!r}: it takes folder, filename or the path of a CSV file."
        )
    if folder.resolve() not in file.resolve().parents:
        raise UserError(
            f"data.labels_from is {str(file)!r}, outside {folder}: move it into that folder, so that DVC "
            "notices when it changes."
        )
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is no readable CSV file: {error}") from None
    if not {"file", "label"} <= set(table.columns):
        raise UserError(f"{file} has the columns {', '.join(table.columns)}: it needs file and label.")
    table = table[["file", "label"]].rename(columns={"file": "path"}).sort_values("path", ignore_index=True)
    problems = {
        "are listed twice": table["path"][table["path"].duplicated()],
        "have no label": table["path"][table["label"] == ""],
        "are not there": table["path"][[not (folder / path).is_file() for path in table["path"]]],
    }
    for problem, paths in problems.items():
        if len(paths):
            raise UserError(f"{len(paths)} files of {file} {problem} (in {folder}): {_some(list(paths))}.")
    unlisted = (
        set(_files(folder)) - set(table["path"]) - {file.resolve().relative_to(folder.resolve()).as_posix()}
    )
    if unlisted:
        raise UserError(
            f"{len(unlisted)} files in {folder} are not listed in {file}: {_some(sorted(unlisted))}. "
            "List them or remove them."
        )
    return table


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:10]) + (f" and {len(paths) - 10} more" if len(paths) > 10 else "")
