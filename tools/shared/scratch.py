"""Temporary folders that another process can tell from those of a tool that was killed."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from tempfile import TemporaryDirectory

IN_USE = "in_use"  # locked as long as the tool's process lives; the system lifts that however it ends


@contextmanager
def scratch_folder(prefix: str, within: Path) -> Iterator[Path]:
    """Give a folder below `within` that is gone when the block ends, and in use as long as this process lives."""
    with TemporaryDirectory(prefix=prefix, dir=within) as folder, Path(folder, IN_USE).open("w") as file:
        with suppress(
            OSError
        ):  # of a file system without locks, where nobody can tell, and nothing is removed
            flock(file, LOCK_EX | LOCK_NB)
        yield Path(folder)


def left_behind(prefix: str, within: Path) -> Iterator[Path]:
    """Yield the folders that a killed process had from `scratch_folder`."""
    for mark in sorted(within.glob(f"{prefix}*/{IN_USE}")):
        with mark.open("a") as file:
            try:
                flock(file, LOCK_EX | LOCK_NB)
            except OSError:
                continue
        yield mark.parent
