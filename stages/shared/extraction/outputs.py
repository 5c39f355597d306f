"""Run the images of splits through a conv base and keep what comes out: once per image and view, ever.

What the store has is taken from there, and an engine computes the other rows, block by block.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

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
    Part,
    Passes,
    View,
    Work,
    fingerprint_passes,
    make_key,
    store_for,
)
from stages.shared.images.image_folder import ImageFolder, open_folder
from stages.shared.images.reading import BLOCK, read_unchanged
from stages.shared.pipeline.arrays import ArrayFile, StoredArray, array_file
from stages.shared.pipeline.splits import place_of
from stages.shared.store.known import SHA256, find_known
from stages.shared.store.results import Store

ENGINES = {"local": compute_here, "ray": compute_on_ray}


class Extraction(NamedTuple):
    """What is wanted of a split: a file for each of some layers.

    The arrays are (n, …) in the split's order, or (views, n, …) where `views` are given. `passes` computes them,
    or TensorFlow in the base's own precision. What layers give in the first view may be there: in `first_view`, files
    of arrays (n, …).
    """

    files: dict[str, Path]
    split: pd.DataFrame
    views: Sequence[View] | None = None
    passes: Passes | None = None
    first_view: Mapping[str, Path] = MappingProxyType({})


def store_outputs(
    base: keras.Model,
    weights: Path,
    extractions: Sequence[Extraction],
    parameters: ExtractionParameters,
) -> None:
    """Write what layers of `base`, whose weights `weights` holds, give for the images of splits.

    What the store has is taken from there, and the rest goes there block by block: a run that was stopped resumes
    where it was.
    """
    with ExitStack() as stack:
        parts = [begin(base, weights, extraction, parameters, stack) for extraction in extractions]
        folder = open_folder(parameters.data.images)
        for part in parts:
            check_unchanged(part, folder, parameters.store)
        rows = sum(part.absent.size for part in parts)
        lacking = [part for part in parts if part.absent.any()]
        done = rows - sum(int(part.absent.sum()) for part in lacking)
        if lacking:
            title = str(next(iter(extractions[0].files.values())).parent)
            work = Work(base, weights, parameters, lacking)
            with tqdm(desc=title, total=rows, initial=done, unit="image", mininterval=1) as progress:
                for images in ENGINES[parameters.engine](work):
                    progress.update(images)
    for extraction, part in zip(extractions, parts, strict=True):
        for layer, file in extraction.files.items():
            copied = len(extraction.split) if layer in extraction.first_view else 0
            report(file, part.arrays[layer], part.held[layer][copied:])


def begin(
    base: keras.Model,
    weights: Path,
    extraction: Extraction,
    parameters: ExtractionParameters,
    stack: ExitStack,
) -> Part:
    """Begin the files of `extraction`, which `stack` completes, and fill in what is there and what the store has."""
    files, split, views, passes, first_view = extraction
    passes, versions = passes or OwnPrecision(base), views or [AsItIs()]
    leading = (len(split),) if views is None else (len(views), len(split))
    fingerprint = fingerprint_passes(base, weights, passes, parameters)
    key, digests = make_key(fingerprint, versions, parameters.image_size), split["sha256"].tolist()
    arrays, held, store = {}, {}, store_for(passes, fingerprint, parameters.store)
    for layer, file in files.items():
        shape = base.get_layer(layer).output.shape[1:]
        arrays[layer] = stack.enter_context(
            array_file(file, leading, shape, parameters.conv_base.computes_in)
        )

        def key_of(row: int, layer: str = layer) -> bytes:
            version, image = divmod(row, len(split))
            return key(layer, version, digests[image])

        held[layer] = np.zeros(arrays[layer].rows, dtype=bool)
        if layer in first_view:
            held[layer][: len(split)] = True
            copy_rows(StoredArray(first_view[layer], len(split), shape), arrays[layer])
        take_stored(arrays[layer], held[layer], key_of, store)
    return Part(passes, split, versions, key, arrays, held, store)


def check_unchanged(part: Part, folder: ImageFolder, store: Store) -> None:
    """Raise UserError where an image of which no row is absent is gone or changed since the split was made.

    Of S3 it is enough that it has the version that had this content.
    """
    split = part.split.iloc[np.flatnonzero(~part.absent.any(axis=0))]
    with ThreadPoolExecutor(folder.readers) as pool:
        for first in range(0, len(split), BLOCK):
            images = split.iloc[first : first + BLOCK].to_dict("records")
            known = find_known([folder.version(place_of(image)) for image in images], SHA256, store)
            others = [image for image, digest in zip(images, known, strict=True) if image["sha256"] != digest]
            deque(pool.map(partial(read_unchanged, folder), others), 0)


def copy_rows(source: StoredArray, target: ArrayFile) -> None:
    """Write the rows of `source` to the first places of `target`; raises UserError as StoredArray does."""
    for first in range(0, source.rows, BLOCK):
        rows = range(first, min(first + BLOCK, source.rows))
        target.write(rows, source.read(0, rows))


def take_stored(array: ArrayFile, held: np.ndarray, key: Callable[[int], bytes], store: Store) -> None:
    """Fill the rows of `array` that `store` has under `key`, and mark them in `held`, (rows,) bool; it marks others."""
    used, absent = [], np.flatnonzero(~held)
    for first in range(0, len(absent), BLOCK):
        rows = absent[first : first + BLOCK].tolist()
        keys = [key(row) for row in rows]
        found = {row: value for row, value in zip(rows, store.read(keys), strict=True) if value is not None}
        if found:
            values = np.frombuffer(b"".join(found.values()), array.dtype).reshape(-1, *array.row_shape)
            array.write(list(found), values)
            held[list(found)] = True
            used += [key for row, key in zip(rows, keys, strict=True) if row in found]
    store.mark_used(used)


def report(file: Path, array: ArrayFile, held: np.ndarray) -> None:
    """Say what was written to `file`, and how many of the rows that were not copied the store had."""
    shape = (*array.leading, *array.row_shape)
    print(f"{file}: {shape} {array.dtype}, {np.count_nonzero(held)} of {held.size} images from the store")
