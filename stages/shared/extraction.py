"""Run a split's images through a conv base and keep what comes out: once per image and view, ever."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import keras
import numpy as np
import pandas as pd
from pydantic import BaseModel, Field
from tqdm import tqdm

from stages.shared import circumstances
from stages.shared.arrays import ArrayFile, array_file
from stages.shared.conv_base import ConvBase, ImageSize
from stages.shared.images import BLOCK, ImagesFolder, Interpolation, check_unchanged, read_blocks
from stages.shared.inference import forward
from stages.shared.store import Store


class Extraction(BaseModel):
    """The parameters that say what goes into a conv base, and how it computes.

    No stage declares `store`: it changes no output.
    """

    data: ImagesFolder
    image_size: ImageSize
    interpolation: Interpolation = Field(description="bilinear or nearest")
    conv_base: ConvBase
    store: Store


class View(Protocol):
    """A version of every image."""

    def key(self, digest: str, size: int) -> bytes:
        """Return what is drawn for the image with SHA-256 `digest`, at `size` × `size` pixels."""

    def draw(self, pixels: np.ndarray, digests: list[str]) -> np.ndarray:
        """Return the images `pixels`, (n, size, size, 3) uint8, in this version."""


class AsItIs:
    """The image itself."""

    def key(self, digest: str, size: int) -> bytes:
        return b""

    def draw(self, pixels: np.ndarray, digests: list[str]) -> np.ndarray:
        return pixels


def store_outputs(
    base: keras.Model,
    weights: Path,
    files: dict[str, Path],
    split: pd.DataFrame,
    parameters: Extraction,
    views: Sequence[View] | None = None,
) -> None:
    """Write what layers of `base`, whose weights `weights` holds, give for a split's images.

    `files` names a file for each layer. The arrays are (n, …) in the split's order, or
    (views, n, …) where `views` are given. What the store has is taken from there, and the rest
    goes there block by block: a run that was stopped resumes where it was.
    """
    n, versions = len(split), views or [AsItIs()]
    leading = (n,) if views is None else (len(views), n)
    folder, digests = Path(parameters.data.images), split["sha256"].tolist()
    size, interpolation = parameters.image_size, parameters.interpolation
    preprocessing, dtype = parameters.conv_base.preprocessing, parameters.conv_base.stores_in
    code = circumstances.code_digest(__file__).hex()
    context = circumstances.describe(base, weights, code, size, interpolation, preprocessing, dtype)

    def key(layer: str, row: int) -> bytes:
        number, image = divmod(row, n)
        drawn = versions[number].key(digests[image], size)
        return sha256(context + layer.encode() + bytes.fromhex(digests[image]) + drawn).digest()

    with ExitStack() as stack:
        arrays, absent = {}, {}
        for layer, file in files.items():
            shape = base.get_layer(layer).output.shape[1:]
            arrays[layer] = stack.enter_context(array_file(file, leading, shape, dtype))
            absent[layer] = take_stored(arrays[layer], partial(key, layer), parameters.store)
        layers = [layer for layer in files if absent[layer].any()]
        computed = np.any(list(absent.values()), axis=0).reshape(len(versions), n)
        wanted = np.flatnonzero(computed.any(axis=0))
        check_unchanged(split.drop(index=split.index[wanted]), folder)

        run = forward(base, layers) if layers else None
        title, done = next(iter(files.values())).with_suffix(""), computed.size - computed.sum()
        progress = stack.enter_context(
            tqdm(desc=str(title), total=computed.size, initial=done, unit="image", mininterval=1)
        )
        for block, pixels in read_blocks(split.iloc[wanted], folder, size, interpolation):
            images = wanted[block]
            padded = [digests[image] for image in np.pad(images, (0, len(pixels) - len(images)), "edge")]
            for number, view in enumerate(versions):
                if not computed[number, images].any():
                    continue
                rows, results = number * n + images, {}
                for layer, output in zip(layers, run(view.draw(pixels, padded)), strict=True):
                    values = arrays[layer].fit(output[: len(rows)])
                    arrays[layer].write(rows, values)
                    results |= {key(layer, row): value.tobytes() for row, value in zip(rows, values)}
                parameters.store.write(results)
                progress.update(int(computed[number, images].sum()))
    for layer, file in files.items():
        shape = (*leading, *arrays[layer].row_shape)
        held = np.count_nonzero(~absent[layer])
        print(f"{file}: {shape} {dtype}, {held} of {computed.size} images from the store")


def take_stored(array: ArrayFile, key: Callable[[int], bytes], store: Store) -> np.ndarray:
    """Fill the rows of `array` that `store` has under `key`; return which are absent, (rows,) bool."""
    absent, used = np.ones(array.rows, dtype=bool), []
    for first in range(0, array.rows, BLOCK):
        rows = range(first, min(first + BLOCK, array.rows))
        keys = [key(row) for row in rows]
        kept = {row: value for row, value in zip(rows, store.read(keys)) if value is not None}
        if kept:
            array.write(
                list(kept), np.frombuffer(b"".join(kept.values()), array.dtype).reshape(-1, *array.row_shape)
            )
            absent[list(kept)] = False
            used += [key for row, key in zip(rows, keys) if row in kept]
    store.mark_used(used)
    return absent
