"""Run a split's images through a conv base and keep what comes out: once per image and view, ever.

A row is an image in a view; rows are counted through all views, the images of a view in the split's order.
An extraction plans which rows are absent from the store, computes those block by block, writes each
block into the arrays and the store, and reports what it did.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

import keras
import numpy as np
import pandas as pd
from pydantic import BaseModel
from tqdm import tqdm

from stages.shared.extraction.fingerprint import take_fingerprint
from stages.shared.extraction.store import Store
from stages.shared.images import BLOCK, ImagesFolder, check_unchanged, read_blocks
from stages.shared.network.conv_base import ConvBase
from stages.shared.network.inference import forward
from stages.shared.pipeline.arrays import ArrayFile, array_file
from stages.shared.pipeline.image_input import ImageSize, Interpolation

Key = Callable[[str, int], bytes]  # of what a layer gives for a row, in the store


class ExtractionParameters(BaseModel):
    """The parameters that say what goes into a conv base, and how it computes.

    No stage declares `store`: it changes no output.
    """

    data: ImagesFolder
    image_size: ImageSize
    interpolation: Interpolation
    conv_base: ConvBase
    store: Store


class View(Protocol):
    """A version of every image."""

    def key(self, digest: str, size: int) -> bytes:
        """Return what is drawn for the image with SHA-256 `digest`, at `size` × `size` pixels."""
        ...

    def draw(self, pixels: np.ndarray, digests: list[str]) -> np.ndarray:
        """Return the images `pixels`, (n, size, size, 3) uint8, in this version."""
        ...


class AsItIs:
    """The image itself."""

    def key(self, digest: str, size: int) -> bytes:
        return b""

    def draw(self, pixels: np.ndarray, digests: list[str]) -> np.ndarray:
        return pixels


class Block(NamedTuple):
    """Images that are computed together."""

    rows: np.ndarray  # (m,) int64
    pixels: np.ndarray  # (BLOCK, size, size, 3), the last of m images up to the full size
    absent: int  # how many of them are to be computed; the others come along


def store_outputs(
    base: keras.Model,
    weights: Path,
    files: dict[str, Path],
    split: pd.DataFrame,
    parameters: ExtractionParameters,
    views: Sequence[View] | None = None,
) -> None:
    """Write what layers of `base`, whose weights `weights` holds, give for a split's images.

    `files` names a file for each layer. The arrays are (n, …) in the split's order, or
    (views, n, …) where `views` are given. What the store has is taken from there, and the rest
    goes there block by block: a run that was stopped resumes where it was.
    """
    versions: Sequence[View] = views or [AsItIs()]
    leading = (len(split),) if views is None else (len(views), len(split))
    key = make_keys(base, weights, split, parameters, versions)
    store, dtype = parameters.store, parameters.conv_base.stores_in
    with ExitStack() as stack:
        arrays = {
            layer: stack.enter_context(
                array_file(file, leading, base.get_layer(layer).output.shape[1:], dtype)
            )
            for layer, file in files.items()
        }
        held = {layer: take_stored(array, partial(key, layer), store) for layer, array in arrays.items()}
        incomplete = [layer for layer in files if not held[layer].all()]
        absent = ~np.all(list(held.values()), axis=0).reshape(len(versions), len(split))
        check_unchanged(split[~absent.any(axis=0)], Path(parameters.data.images))
        if incomplete:
            compute = forward(base, incomplete)  # (BLOCK, size, size, 3) to what each layer gives for them
            title = str(next(iter(files.values())).with_suffix(""))
            progress = tqdm(
                desc=title, total=absent.size, initial=int((~absent).sum()), unit="image", mininterval=1
            )
            stack.enter_context(progress)
            for block in read_absent(absent, split, parameters, versions):
                outputs = dict(zip(incomplete, compute(block.pixels), strict=True))
                write(block, outputs, arrays, key, store)
                progress.update(block.absent)
    for layer, file in files.items():
        shape, count = (*leading, *arrays[layer].row_shape), np.count_nonzero(held[layer])
        print(f"{file}: {shape} {dtype}, {count} of {absent.size} images from the store")


def make_keys(
    base: keras.Model,
    weights: Path,
    split: pd.DataFrame,
    parameters: ExtractionParameters,
    versions: Sequence[View],
) -> Key:
    """Return the function from a layer and a row to the key of the result in the store."""
    digests, size = split["sha256"].tolist(), parameters.image_size
    how = (size, parameters.interpolation, parameters.conv_base.preprocessing, parameters.conv_base.stores_in)
    fingerprint = take_fingerprint(base, weights, __file__, how)

    def key(layer: str, row: int) -> bytes:
        number, image = divmod(row, len(split))
        drawn = versions[number].key(digests[image], size)
        return sha256(fingerprint + layer.encode() + bytes.fromhex(digests[image]) + drawn).digest()

    return key


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


def read_absent(
    absent: np.ndarray, split: pd.DataFrame, parameters: ExtractionParameters, versions: Sequence[View]
) -> Iterator[Block]:
    """Yield the blocks that have an image to compute, given `absent`, (versions, n) bool."""
    wanted = np.flatnonzero(absent.any(axis=0))
    chosen, folder = split.iloc[wanted], Path(parameters.data.images)
    for block, pixels in read_blocks(chosen, folder, parameters.image_size, parameters.interpolation):
        images = wanted[block]
        padded = np.pad(images, (0, len(pixels) - len(images)), "edge")
        digests = split["sha256"].iloc[padded].tolist()
        for number, view in enumerate(versions):
            if count := int(absent[number, images].sum()):
                yield Block(number * len(split) + images, view.draw(pixels, digests), count)


def write(
    block: Block, outputs: dict[str, np.ndarray], arrays: dict[str, ArrayFile], key: Key, store: Store
) -> None:
    """Put what each layer gives for `block`, (BLOCK, …), into its array and into `store`."""
    results = {}
    for layer, output in outputs.items():
        values = arrays[layer].fit(output[: len(block.rows)])
        arrays[layer].write(block.rows, values)
        results |= {
            key(layer, int(row)): value.tobytes() for row, value in zip(block.rows, values, strict=True)
        }
    store.write(results)
