"""Run a split's images through a conv base and keep what comes out: once per image and view, ever.

An extraction takes from the store what that has, has an engine compute the other rows block by block, and
reports what it did.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from stages.shared.extraction.local import compute_here
from stages.shared.extraction.on_ray import compute_on_ray
from stages.shared.extraction.work import (
    AsItIs,
    ExtractionParameters,
    OwnPrecision,
    Passes,
    View,
    Work,
    make_key,
)
from stages.shared.images.reading import BLOCK, check_unchanged
from stages.shared.pipeline.arrays import ArrayFile, array_file
from stages.shared.store.results import Store

ENGINES = {"local": compute_here, "ray": compute_on_ray}


def store_outputs(
    base: keras.Model,
    weights: Path,
    files: dict[str, Path],
    split: pd.DataFrame,
    parameters: ExtractionParameters,
    views: Sequence[View] | None = None,
    passes: Passes | None = None,
) -> None:
    """Write what layers of `base`, whose weights `weights` holds, give for a split's images.

    `files` names a file for each layer. The arrays are (n, …) in the split's order, or
    (views, n, …) where `views` are given. What the store has is taken from there, and the rest, by `passes` or
    in the base's own precision, goes there block by block: a run that was stopped resumes where it was.
    """
    passes = passes or OwnPrecision(base)
    versions: Sequence[View] = views or [AsItIs()]
    leading = (len(split),) if views is None else (len(views), len(split))
    key, digests = make_key(base, weights, passes, versions, parameters), split["sha256"].tolist()
    dtype = parameters.conv_base.stores_in
    with ExitStack() as stack:
        arrays, held = {}, {}
        for layer, file in files.items():
            shape = base.get_layer(layer).output.shape[1:]
            arrays[layer] = stack.enter_context(array_file(file, leading, shape, dtype))

            def key_of(row: int, layer: str = layer) -> bytes:
                version, image = divmod(row, len(split))
                return key(layer, version, digests[image])

            held[layer] = take_stored(arrays[layer], key_of, parameters.store)
        absent = ~np.all(list(held.values()), axis=0).reshape(-1, len(split))
        complete = np.flatnonzero(~absent.any(axis=0))
        check_unchanged(split.iloc[complete], Path(parameters.data.images))
        if absent.any():
            lacking = {layer: array for layer, array in arrays.items() if not held[layer].all()}
            work = Work(base, weights, passes, split, versions, absent, lacking, parameters)
            title, done = next(iter(files.values())).with_suffix(""), int((~absent).sum())
            with tqdm(
                desc=str(title), total=absent.size, initial=done, unit="image", mininterval=1
            ) as progress:
                for images in ENGINES[parameters.engine](work, key):
                    progress.update(images)
    for layer, file in files.items():
        report(file, (*leading, *arrays[layer].row_shape), dtype, held[layer])


def take_stored(array: ArrayFile, key: Callable[[int], bytes], store: Store) -> np.ndarray:
    """Fill the rows of `array` that `store` has under `key`; return which these are, (rows,) bool."""
    held, used = np.zeros(array.rows, dtype=bool), []
    for first in range(0, array.rows, BLOCK):
        rows = range(first, min(first + BLOCK, array.rows))
        keys = [key(row) for row in rows]
        found = {row: value for row, value in zip(rows, store.read(keys), strict=True) if value is not None}
        if found:
            values = np.frombuffer(b"".join(found.values()), array.dtype).reshape(-1, *array.row_shape)
            array.write(list(found), values)
            held[list(found)] = True
            used += [key for row, key in zip(rows, keys, strict=True) if row in found]
    store.mark_used(used)
    return held


def report(file: Path, shape: tuple[int, ...], dtype: str, held: np.ndarray) -> None:
    """Say what was written to `file`, and how many of its rows the store had."""
    print(f"{file}: {shape} {dtype}, {np.count_nonzero(held)} of {held.size} images from the store")
