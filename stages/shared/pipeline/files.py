"""Files that are there as a whole or not at all."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path

NO_ROOM = ENOSPC, EDQUOT, EFBIG  # a full disk, a quota, a limit to a file's size


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give the path of a file that appears at `path` when the block ends, and not at all if it fails."""
    with scratch_file(path) as unfinished:
        yield unfinished
        unfinished.replace(path)


@contextmanager
def scratch_file(path: Path) -> Iterator[Path]:
    """Give the path of a file beside `path` that is gone when the block ends; a kill leaves it to the next run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"unfinished.{path.name}")
    unfinished.unlink(missing_ok=True)
    try:
        yield unfinished
    except OSError as error:
        if error.errno in NO_ROOM:  # of which a write does not say where
            error.filename = error.filename or str(path.parent)
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def write_json(path: Path, content: dict) -> None:
    """Write `content` as JSON in UTF-8, at once and with its line end."""
    with atomic_write(path) as file:
        file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def copy_to_records(folder: Path, files: list[Path]) -> None:
    """Copy `files` into `folder`, under their own names."""
    for file in files:
        with atomic_write(folder / file.name) as copy:
            shutil.copyfile(file, copy)
