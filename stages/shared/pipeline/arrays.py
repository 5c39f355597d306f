"""Large `.npy` arrays, written and read row by row so that memory does not grow with their length.

After the array the file has a checksum for each row, the precision in which the array was computed, and at its very
end a checksum of the header and the precision. Readers of `.npy` pay no heed to them. So a row is verified whenever it
is read, and no other row has to be read for that.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import file_digest
from math import prod
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import ArrayLike

from stages.shared.pipeline.checksums import SIZE, checksum
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.damage import damaged
from stages.shared.pipeline.files import atomic_write

Rows = Sequence[int] | np.ndarray  # (m,) of whole numbers


class ArrayFile:
    """A `.npy` file of shape (*leading, *row_shape) that is being filled, a row at a place in `leading`.

    Rows are counted through all of `leading`, the last axis first. `precision` is what the values were computed in.
    """

    def __init__(
        self, path: Path, leading: tuple[int, ...], row_shape: tuple[int, ...], precision: str
    ) -> None:
        self.path, self.leading, self.rows = path.absolute(), leading, prod(leading)
        self.row_shape, self.dtype = row_shape, dtype_for(precision)
        path.unlink(missing_ok=True)  # of a run that was killed
        self.row_bytes = prod(row_shape) * self.dtype.itemsize
        needed = self.rows * (self.row_bytes + SIZE)
        check_room(path.parent, needed)  # asked first, as some file systems fill the disk before they refuse
        array = open_memmap(path, mode="w+", dtype=self.dtype, shape=(*leading, *row_shape))
        self.offset, self.checksums = array.offset, array.offset + array.nbytes  # where they begin
        end = self.checksums + self.rows * SIZE
        with path.open("r+b") as file:
            header = file.read(array.offset)
            if hasattr(os, "posix_fallocate"):  # macOS has none; a disk that fills up later is a bus error
                try:
                    os.posix_fallocate(file.fileno(), 0, end + 2 * SIZE)
                except OSError as error:
                    raise UserError(
                        f"{path.parent} has no room for {needed / 1e9:.1f} GB: {error.strerror}."
                    ) from None
            name = precision.encode().ljust(SIZE, b"\0")
            os.pwrite(file.fileno(), name + checksum(header + name), end)

    def write(self, rows: Rows, values: np.ndarray) -> None:
        """Store `values`, (len(rows), *row_shape) in the array's dtype.

        An OSError that does not say where names the folder: of several arrays some may be on another disk.
        """
        try:
            with self.path.open("r+b") as file:
                for row, value in zip(map(int, rows), np.ascontiguousarray(values), strict=True):
                    content = value.data.cast("B")
                    file.seek(self.offset + row * self.row_bytes)
                    file.write(content)
                    file.seek(self.checksums + row * SIZE)
                    file.write(checksum(content, row))
        except OSError as error:
            error.filename = error.filename or os.path.relpath(self.path.parent)
            raise

    def fit(self, values: ArrayLike) -> np.ndarray:
        """Return `values` in the array's dtype; raises UserError where one is beyond its range."""
        with np.errstate(over="ignore"):
            fitting = np.asarray(values).astype(self.dtype)
        if not np.isfinite(fitting).all():
            remedy = "set conv_base.precision to float32" if self.dtype == np.float16 else "check the weights"
            raise UserError(f"an activation for {self.path.name} does not fit into {self.dtype}: {remedy}.")
        return fitting


def dtype_for(precision: str) -> np.dtype:
    """Return the dtype that holds what was computed in `precision`: of bfloat16, which NumPy has not, float16.

    It holds every bfloat16 of normal size exactly.
    """
    return np.dtype("float16" if precision == "bfloat16" else precision)


def check_room(folder: Path, needed: int) -> None:
    """Raise UserError where less than `needed` bytes are free in `folder`."""
    disk = shutil.disk_usage(folder)
    if needed > disk.free and disk.total:
        raise UserError(f"{folder} has no room for {needed / 1e9:.1f} GB: {disk.free / 1e9:.1f} GB are free.")


@contextmanager
def array_file(
    path: Path, leading: tuple[int, ...], row_shape: tuple[int, ...], precision: str
) -> Iterator[ArrayFile]:
    """Give an ArrayFile that appears at `path` when the block ends, and not at all if it fails."""
    with atomic_write(path) as unfinished:
        yield ArrayFile(unfinished, leading, row_shape, precision)


class StoredArray:
    """The array in a `.npy` file, of shape (rows, *row_shape) or (views, rows, *row_shape), on disk.

    Reads copy the wanted rows out of the file and map nothing, so that memory stays constant.
    Raises UserError as open_array does, and where the file has another shape.
    """

    def __init__(self, path: Path, rows: int, row_shape: tuple[int, ...]) -> None:
        array = open_array(path)
        shape = array.shape if array.ndim == 2 + len(row_shape) else (1, *array.shape)
        if shape[1:] != (rows, *row_shape):
            raise UserError(
                f"{path} holds {shape[1]} rows of shape {shape[2:]}, but the split and image_size "
                f"ask for {rows} of {tuple(row_shape)}: run dvc repro to extract it anew."
            )
        self.views, self.rows, self.row_shape, self.dtype = shape[0], rows, tuple(row_shape), array.dtype
        self.path, self.offset, self.row_bytes = path, array.offset, array.nbytes // (shape[0] * rows)
        self.file = path.open("rb", buffering=0)
        self.view, self.checksums = -1, b""  # of the view that was read last

    def digest(self) -> str:
        """Return a SHA-256 of the checksums, and so of the array, in hexadecimal digits."""
        with self.path.open("rb") as file:
            file.seek(self.offset + self.views * self.rows * self.row_bytes)
            return file_digest(file, "sha256").hexdigest()

    def read(self, view: int, rows: Rows) -> np.ndarray:
        """Return `rows` of a view, (len(rows), *row_shape) in the array's dtype; raises UserError where one is damaged."""
        values = np.empty((len(rows), *self.row_shape), self.dtype)
        if view != self.view:
            start = self.offset + self.views * self.rows * self.row_bytes + view * self.rows * SIZE
            self.view, self.checksums = view, os.pread(self.file.fileno(), self.rows * SIZE, start)
        for value, row in zip(values, rows, strict=True):
            place, content = view * self.rows + int(row), value.data.cast("B")
            os.preadv(self.file.fileno(), [content], self.offset + place * self.row_bytes)
            if self.checksums[row * SIZE : (row + 1) * SIZE] != checksum(content, place):
                raise damaged(self.path, f"row {place} is not as it was written")
        return values


def copy_array(source: Path, target: Path) -> None:
    """Copy an array of shape (rows, *row_shape) when each of its rows has been verified.

    Raises UserError as StoredArray's reads do.
    """
    rows, *row_shape = open_array(source).shape
    array = StoredArray(source, rows, tuple(row_shape))
    for row in range(rows):
        array.read(0, [row])
    with atomic_write(target) as copy:
        shutil.copyfile(source, copy)


def open_array(path: Path) -> np.memmap:
    """Return the array in `path` as it lies on disk. Its rows are not verified yet: StoredArray's reads do that.

    Raises UserError where `path` is no array that an ArrayFile wrote, as a whole.
    """
    try:
        array = open_memmap(path, mode="r")
        with path.open("rb") as file:
            header = file.read(array.offset)
            file.seek(-2 * SIZE, os.SEEK_END)
            precision = file.read(SIZE)
            whole = file.read() == checksum(header + precision)
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # NumPy raises many kinds on foreign files
        raise damaged(path, f"NumPy cannot read it ({' '.join(str(error).split())[:300]})") from None
    if not whole:
        raise damaged(path, "it has no checksums of its rows, or was cut")
    return array


def read_precision(path: Path) -> str:
    """Return in which precision the array in `path` was computed; raises UserError as open_array does."""
    open_array(path)
    with path.open("rb") as file:
        file.seek(-2 * SIZE, os.SEEK_END)
        return file.read(SIZE).rstrip(b"\0").decode()
