"""Large `.npy` arrays, written and read in pieces so that memory does not grow with their length."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from stages.shared.errors import UserError


class ArrayFile:
    """A `.npy` file of a given shape and dtype, filled piece by piece.

    Each write maps the file anew: pages of a longer mapping would count as the process's memory.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str) -> None:
        self.path = path
        open_memmap(path, mode="w+", dtype=dtype, shape=shape)

    def __setitem__(self, place, values: np.ndarray) -> None:
        """Store `values`; raises UserError where one is beyond the range of the array's dtype."""
        array = open_memmap(self.path, mode="r+")
        with np.errstate(over="ignore"):
            stored = np.asarray(values).astype(array.dtype)
        if not np.isfinite(stored).all():
            raise UserError(
                f"an activation for {self.path.name} does not fit into {array.dtype}: "
                "set conv_base.precision to float32."
            )
        array[place] = stored


@contextmanager
def array_file(path: Path, shape: tuple[int, ...], dtype: str) -> Iterator[ArrayFile]:
    """Give an ArrayFile that appears at `path` when the block ends, and not at all if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        yield ArrayFile(unfinished, shape, dtype)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def open_array(path: Path, rows: int, row_shape: tuple[int, ...]) -> np.ndarray:
    """Return the array in `path` memory-mapped, as (views, rows, *row_shape); views is 1 without that axis.

    Raises UserError where it has another shape.
    """
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.ndim == 1 + len(row_shape):
        array = array[np.newaxis]
    if array.shape[1:] != (rows, *row_shape):
        raise UserError(
            f"{path} holds {array.shape[1]} rows of shape {array.shape[2:]}, but the split and image_size "
            f"ask for {rows} of {tuple(row_shape)}: run dvc repro to extract it anew."
        )
    return array
