"""Files that are there as a whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give the path of a file that appears at `path` when the block ends, and not at all if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"unfinished.{path.name}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def keep(record: Path, *files: Path) -> None:
    """Copy `files` into the folder `record`; see the head of dvc.yaml for why."""
    for file in files:
        with whole(record / file.name) as copy:
            shutil.copyfile(file, copy)
