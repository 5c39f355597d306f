"""The features of several splits, one after the other, as a head takes them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from stages.shared.pipeline.arrays import StoredArray, open_array
from stages.shared.pipeline.averages import average_features


class Features(NamedTuple):
    """Features of images, which `read` gives by their rows: (m,) to (m, *row_shape)."""

    read: Callable[[np.ndarray], np.ndarray]
    row_shape: tuple[int, int, int]
    dtype: np.dtype


def averaged(averages: np.ndarray) -> Features:
    """Return (n, channels) float32 features as maps of one cell, whose average they are."""
    maps = averages[:, np.newaxis, np.newaxis]
    return Features(lambda rows: maps[rows], maps.shape[1:], maps.dtype)


def stored(features: Path, splits: Mapping[str, pd.DataFrame]) -> Features:
    """Return what lies in features/NAME.npy for each split, read when it is asked for; raises as StoredArray does."""
    shape = open_array(features / f"{next(iter(splits))}.npy").shape[1:]
    arrays = [StoredArray(features / f"{name}.npy", len(split), shape) for name, split in splits.items()]
    starts = np.cumsum([0, *map(len, splits.values())])

    def read(rows: np.ndarray) -> np.ndarray:
        values = np.empty((len(rows), *shape), arrays[0].dtype)
        which = np.searchsorted(starts, rows, "right") - 1
        for index, array in enumerate(arrays):
            values[which == index] = array.read(0, rows[which == index] - starts[index])
        return values

    return Features(read, shape, arrays[0].dtype)


def read_features(
    features: Path, splits: Mapping[str, pd.DataFrame], pooling: str
) -> tuple[np.ndarray, Features]:
    """Return the averaged features of the images of `splits`, (n, channels) float32, and those for `pooling`."""
    averages = np.concatenate(list(average_features(features, splits).values()))
    return averages, averaged(averages) if pooling == "average" else stored(features, splits)
