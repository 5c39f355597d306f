"""Large `.npy` arrays, written and read row by row so that memory does not grow with their length."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.files import atomic_write

Rows = Sequence[int] | np.ndarray  # (m,) of whole numbers


class ArrayFile:
    """A `.npy` file of shape (*leading, *row_shape) that is being filled, a row at a place in `leading`.

    Rows are counted through all of `leading`, the last axis first. Each write maps the file anew:
    pages of a longer mapping would count as the process's memory.
    """

    def __init__(self, path: Path, leading: tuple[int, ...], row_shape: tuple[int, ...], dtype: str) -> None:
        self.path, self.rows, self.row_shape, self.dtype = path, prod(leading), row_shape, np.dtype(dtype)
        path.unlink(missing_ok=True)  # of a run that was killed
        needed = self.rows * prod(row_shape) * self.dtype.itemsize
        check_room(path.parent, needed)  # asked first, as some file systems fill the disk before they refuse
        array = open_memmap(path, mode="w+", dtype=dtype, shape=(*leading, *row_shape))
        if hasattr(os, "posix_fallocate"):  # macOS has none; a disk that fills up later is a bus error
            with path.open("r+b") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, array.offset + array.nbytes)
                except OSError as error:
                    raise UserError(
                        f"{path.parent} has no room for {needed / 1e9:.1f} GB: {error.strerror}."
                    ) from None

    def write(self, rows: Rows, values: np.ndarray) -> None:
        """Store `values`, (len(rows), *row_shape) in the array's dtype."""
        open_memmap(self.path, mode="r+").reshape(-1, *self.row_shape)[rows] = values

    def fit(self, values: np.ndarray) -> np.ndarray:
        """Return `values` in the array's dtype; raises UserError where one is beyond its range."""
        with np.errstate(over="ignore"):
            fitting = np.asarray(values).astype(self.dtype)
        if not np.isfinite(fitting).all():
            remedy = "set conv_base.precision to float32" if self.dtype == np.float16 else "check the weights"
            raise UserError(f"an activation for {self.path.name} does not fit into {self.dtype}: {remedy}.")
        return fitting


def check_room(folder: Path, needed: int) -> None:
    """Raise UserError where less than `needed` bytes are free in `folder`."""
    disk = shutil.disk_usage(folder)
    if needed > disk.free and disk.total:
        raise UserError(f"{folder} has no room for {needed / 1e9:.1f} GB: {disk.free / 1e9:.1f} GB are free.")


@contextmanager
def array_file(
    path: Path, leading: tuple[int, ...], row_shape: tuple[int, ...], dtype: str
) -> Iterator[ArrayFile]:
    """Give an ArrayFile that appears at `path` when the block ends, and not at all if it fails."""
    with atomic_write(path) as unfinished:
        yield ArrayFile(unfinished, leading, row_shape, dtype)


class StoredArray:
    """The array in a `.npy` file, of shape (rows, *row_shape) or (views, rows, *row_shape), on disk.

    Reads copy the wanted rows out of the file and map nothing, so that memory stays constant.
    Raises UserError where the file has another shape.
    """

    def __init__(self, path: Path, rows: int, row_shape: tuple[int, ...]) -> None:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        shape = array.shape if array.ndim == 2 + len(row_shape) else (1, *array.shape)
        if shape[1:] != (rows, *row_shape):
            raise UserError(
                f"{path} holds {shape[1]} rows of shape {shape[2:]}, but the split and image_size "
                f"ask for {rows} of {tuple(row_shape)}: run dvc repro to extract it anew."
            )
        self.views, self.rows, self.row_shape, self.dtype = shape[0], rows, tuple(row_shape), array.dtype
        self.offset, self.row_bytes = array.offset, array.nbytes // (shape[0] * rows)
        self.file = path.open("rb", buffering=0)

    def read(self, view: int, rows: Rows) -> np.ndarray:
        """Return `rows` of a view, (len(rows), *row_shape) in the array's dtype."""
        values = np.empty((len(rows), *self.row_shape), self.dtype)
        for value, row in zip(values, rows, strict=True):
            place = self.offset + (view * self.rows + int(row)) * self.row_bytes
            if os.preadv(self.file.fileno(), [value.data.cast("B")], place) != self.row_bytes:
                raise UserError(f"{self.file.name} is cut short: run dvc repro to extract it anew.")
        return values
