"""Temporary folders that another process can tell from those of a tool that was killed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def scratch_folder(prefix: str, within: Path) -> Iterator[Path]:
    """Give a folder below `within` that is gone when the block ends, and locked as long as this process lives."""
    with TemporaryDirectory(prefix=prefix, dir=within) as folder, _locked(Path(folder)):
        yield Path(folder)


def left_behind(prefix: str, within: Path) -> Iterator[Path]:
    """Yield the folders that a killed process had from `scratch_folder`."""
    for folder in sorted(within.glob(f"{prefix}*")):
        if folder.is_dir():
            try:
                with _locked(folder):
                    pass
            except BlockingIOError:
                continue
            yield folder


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    opened = os.open(folder, os.O_RDONLY)
    try:
        flock(opened, LOCK_EX | LOCK_NB)  # the system lifts it when the process ends, however it ends
        yield
    finally:
        os.close(opened)
