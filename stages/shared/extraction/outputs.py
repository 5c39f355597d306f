"""Run a split's images through a conv base and keep what comes out: once per image and view, ever.

A row is an image in a view; rows are counted through all views, the images of a view in the split's order.
An extraction plans which rows are absent from the store, computes those block by block, writes each
block into the arrays and the store while the next one is computed, and reports what it did.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from stages.shared.extraction.base_fingerprint import fingerprint_base
from stages.shared.images.reading import BLOCK, ImagesFolder, check_unchanged, read_blocks
from stages.shared.network.conv_base import ConvBase
from stages.shared.network.inference import forward
from stages.shared.pipeline.arrays import ArrayFile, array_file
from stages.shared.pipeline.image_input import ImageInput
from stages.shared.store.results import Store

Key = Callable[[str, int], bytes]  # of what a layer gives for a row, in the store
Compute = Callable[[np.ndarray], list[np.ndarray]]  # pixels, (block, size, size, 3), to what each layer gives


class ExtractionParameters(ImageInput):
    """The parameters that say what goes into a conv base, and how it computes.

    No stage declares `store`: it changes no output.
    """

    data: ImagesFolder
    conv_base: ConvBase
    store: Store


class Passes(Protocol):
    """How the passes of a conv base are computed: the seam at which another engine comes in."""

    name: str  # for the record of what the stage ran on
    depends_on: Sequence[str]  # what a result depends on besides the base and our code

    def forward(self, layers: list[str]) -> Compute:
        """Return the function from pixels to what each of `layers` gives, whatever else is in a block."""
        ...


class OwnPrecision:
    """As TensorFlow computes them, in the precision of `base`."""

    name = "base"
    depends_on: Sequence[str] = ()

    def __init__(self, base: keras.Model) -> None:
        self.base = base

    def forward(self, layers: list[str]) -> Compute:
        return forward(self.base, layers)


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


class Plan(NamedTuple):
    """What is left to compute."""

    layers: list[str]  # those that lack a row
    absent: np.ndarray  # the rows that a layer lacks, (versions, n) bool


class Block(NamedTuple):
    """Images that are computed together."""

    rows: np.ndarray  # (m,) int64
    pixels: np.ndarray  # (block, size, size, 3), the last of m images up to the full size
    absent: int  # how many of them are to be computed; the others come along


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
    key = make_keys(base, weights, passes, split, parameters, versions)
    dtype = parameters.conv_base.stores_in
    with ExitStack() as stack:
        arrays = {}
        for layer, file in files.items():
            shape = base.get_layer(layer).output.shape[1:]
            arrays[layer] = stack.enter_context(array_file(file, leading, shape, dtype))
        held = {
            layer: take_stored(array, partial(key, layer), parameters.store)
            for layer, array in arrays.items()
        }
        todo = plan(held, len(split))
        complete = np.flatnonzero(~todo.absent.any(axis=0))
        check_unchanged(split.iloc[complete], Path(parameters.data.images))
        if todo.layers:
            compute = passes.forward(todo.layers)
            title, done = next(iter(files.values())).with_suffix(""), int((~todo.absent).sum())
            writer = stack.enter_context(ThreadPoolExecutor(1))
            written: Future[None] = writer.submit(lambda: None)  # the block before this one
            with tqdm(
                desc=str(title), total=todo.absent.size, initial=done, unit="image", mininterval=1
            ) as progress:
                for block in read_absent(todo.absent, split, parameters, versions):
                    outputs = {
                        layer: arrays[layer].fit(output[: len(block.rows)])
                        for layer, output in zip(todo.layers, compute(block.pixels), strict=True)
                    }
                    written.result()
                    written = writer.submit(write, block, outputs, arrays, key, parameters.store)
                    progress.update(block.absent)
            written.result()
    for layer, file in files.items():
        report(file, (*leading, *arrays[layer].row_shape), dtype, held[layer])


def make_keys(
    base: keras.Model,
    weights: Path,
    passes: Passes,
    split: pd.DataFrame,
    parameters: ExtractionParameters,
    versions: Sequence[View],
) -> Key:
    """Return the function from a layer and a row to the key of the result in the store."""
    digests, size = split["sha256"].tolist(), parameters.image_size
    pixels = [getattr(parameters, name) for name in ImageInput.model_fields]
    how = (*pixels, parameters.conv_base.preprocessing, parameters.conv_base.stores_in, *passes.depends_on)
    fingerprint = fingerprint_base(base, weights, __file__, how)

    def key(layer: str, row: int) -> bytes:
        number, image = divmod(row, len(split))
        drawn = versions[number].key(digests[image], size)
        return sha256(fingerprint + layer.encode() + bytes.fromhex(digests[image]) + drawn).digest()

    return key


def plan(held: dict[str, np.ndarray], images: int) -> Plan:
    """Return what is left to compute of `images` in each version, given the rows that are `held` of each layer."""
    layers = [layer for layer, rows in held.items() if not rows.all()]
    absent = ~np.all(list(held.values()), axis=0).reshape(-1, images)
    return Plan(layers, absent)


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
    for block, pixels in read_blocks(chosen, folder, parameters):
        images = wanted[block]
        padded = np.pad(images, (0, len(pixels) - len(images)), "edge")
        digests = split["sha256"].iloc[padded].tolist()
        for number, view in enumerate(versions):
            if count := int(absent[number, images].sum()):
                yield Block(number * len(split) + images, view.draw(pixels, digests), count)


def write(
    block: Block, outputs: dict[str, np.ndarray], arrays: dict[str, ArrayFile], key: Key, store: Store
) -> None:
    """Put what each layer gives for the rows of `block`, (m, …), into its array and into `store`."""
    results = {}
    for layer, values in outputs.items():
        arrays[layer].write(block.rows, values)
        results |= {
            key(layer, int(row)): value.tobytes() for row, value in zip(block.rows, values, strict=True)
        }
    store.write(results)


def report(file: Path, shape: tuple[int, ...], dtype: str, held: np.ndarray) -> None:
    """Say what was written to `file`, and how many of its rows the store had."""
    print(f"{file}: {shape} {dtype}, {np.count_nonzero(held)} of {held.size} images from the store")
