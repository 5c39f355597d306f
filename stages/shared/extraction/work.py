"""What is left to compute of some splits' arrays: the seam between planning and the engines that compute.

A row is an image in a version; rows are counted through all versions, the images of one in the split's order.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from pydantic import Field

from stages.shared.extraction.base_fingerprint import fingerprint_base
from stages.shared.images.image_folder import ImagesFolder
from stages.shared.images.reading import block_for
from stages.shared.network import gpu
from stages.shared.network.conv_base import ConvBase
from stages.shared.network.inference import forward
from stages.shared.pipeline.arrays import ArrayFile
from stages.shared.pipeline.image_input import ImageInput
from stages.shared.pipeline.parameters import Section
from stages.shared.store.results import Store

Key = Callable[
    [str, int, str], bytes
]  # of what a layer gives for a version of the image with a SHA-256, in the store
ON_GPU = 256  # images in a block at most
Pixels = np.ndarray | tf.Tensor  # (block, size, size, 3)
Compute = Callable[[Pixels], Sequence[np.ndarray | tf.Tensor]]  # to what each layer gives, (block, …)


class Cluster(Section):
    """Where engine ray computes."""

    address: str | None = Field(
        pattern=r"^[\w.-]+:\d+$",
        description="the HOST:PORT of a running cluster's head, or null to start one here",
    )
    mixed_machines: bool = Field(description="true or false")


class ExtractionParameters(ImageInput):
    """The parameters that say what goes into a conv base, and how and where it computes.

    No stage declares `store`, `engine` and `ray`: they change no output.
    """

    data: ImagesFolder
    conv_base: ConvBase
    store: Store
    engine: Literal["local", "ray"] = Field(description="local or ray")
    ray: Cluster


class Passes(Protocol):
    """How the passes of a conv base are computed."""

    name: str  # for the record of what the stage ran on
    block: int  # images that are computed together
    depends_on: Sequence[str]  # what a result depends on besides the base and our code

    def forward(self, layers: list[str]) -> Compute:
        """Return the function from pixels to what each of `layers` gives, whatever else is in a block."""
        ...

    def keep_rows_apart(self) -> bool:
        """Return whether a row of what comes out depends neither on its place in a block nor on the others there."""
        ...

    def elsewhere(self) -> "MakePasses":
        """Return what makes the same passes on another machine."""
        ...


MakePasses = Callable[[keras.Model, Path], Passes]  # of a base, and the file of its weights


class OwnPrecision:
    """As TensorFlow computes them, in the precision of `base`: on a GPU in larger blocks, and always the same way."""

    name = "base"

    def __init__(self, base: keras.Model, weights: Path | None = None) -> None:
        self.base, size, self.on_gpu = base, base.input_shape[1], gpu.memory() > 0
        self.block = block_for(size, ON_GPU, gpu.memory() // 16) if self.on_gpu else block_for(size)
        self.depends_on: Sequence[str] = [f"blocks of {self.block}"] if self.on_gpu else []
        self.computes: dict[tuple[str, ...], Compute] = {}  # by the layers that they give
        if self.on_gpu:
            tf.config.experimental.enable_op_determinism()

    def forward(self, layers: list[str]) -> Compute:
        if tuple(layers) not in self.computes:
            self.computes[tuple(layers)] = forward(self.base, layers)
        return self.computes[tuple(layers)]

    def keep_rows_apart(self) -> bool:
        """That is tried: no library promises it, and oneDNN breaks it in bfloat16 on processors without."""
        rng, compute = np.random.default_rng(0), self.forward([self.base.layers[-1].name])
        pixels = rng.integers(0, 256, (self.block, *self.base.input_shape[1:]), "uint8")
        rows = rng.integers(0, self.block, self.block)  # elsewhere, some twice and others not at all
        (expected,), (found,) = map(compute, (pixels, pixels[rows]))
        return np.array_equal(found, np.asarray(expected)[rows])

    def elsewhere(self) -> MakePasses:
        return OwnPrecision


class View(Protocol):
    """A version of every image."""

    def key(self, digest: str, size: int) -> bytes:
        """Return what is drawn for the image with SHA-256 `digest`, at `size` × `size` pixels."""
        ...

    def draw(self, pixels: np.ndarray, digests: list[str]) -> Pixels:
        """Return the images `pixels`, (n, size, size, 3) uint8, in this version."""
        ...


class AsItIs:
    """The image itself."""

    def key(self, digest: str, size: int) -> bytes:
        return b""

    def draw(self, pixels: np.ndarray, digests: list[str]) -> np.ndarray:
        return pixels


class Block(NamedTuple):
    """Images of a split that are computed together, in one version."""

    version: int
    images: np.ndarray  # (m,) int64, their places in the split
    digests: list[str]
    absent: int  # how many of them are to be computed; the others come along


class Part(NamedTuple):
    """The arrays of a split, and which of their rows are there."""

    passes: Passes
    split: pd.DataFrame
    versions: Sequence[View]
    key: Key
    arrays: dict[str, ArrayFile]  # of each layer
    held: dict[str, np.ndarray]  # of each layer, (rows,) bool
    store: Store

    @property
    def absent(self) -> np.ndarray:
        """The rows that a layer lacks, (versions, n) bool."""
        return ~np.all(list(self.held.values()), axis=0).reshape(-1, len(self.split))

    @property
    def lacking(self) -> dict[str, ArrayFile]:
        """The arrays that lack a row."""
        return {layer: array for layer, array in self.arrays.items() if not self.held[layer].all()}


class Work(NamedTuple):
    """What an engine is to compute: of some parts, for each row that a layer lacks, all layers that lack one."""

    base: keras.Model
    weights: Path  # of the base
    parameters: ExtractionParameters
    parts: list[Part]


def versions_of(
    pixels: np.ndarray, images: np.ndarray, digests: list[str], absent: np.ndarray, versions: Sequence[View]
) -> Iterator[tuple[Block, Pixels]]:
    """Yield each version of some images in which one is `absent`, (versions, m) bool, and its pixels.

    `pixels`, (block, size, size, 3), has as many images as go together, the last of the m repeated.
    """
    padded = digests + digests[-1:] * (len(pixels) - len(digests))
    for number, view in enumerate(versions):
        if count := int(absent[number].sum()):
            yield Block(number, images, digests, count), view.draw(pixels, padded)


def fingerprint_passes(
    base: keras.Model, weights: Path, passes: Passes, parameters: ExtractionParameters
) -> bytes:
    """Return the fingerprint of all that a result for an image depends on besides image, version and layer."""
    pixels = [getattr(parameters, name) for name in ImageInput.model_fields]
    how = (*pixels, parameters.conv_base.preprocessing, parameters.conv_base.computes_in, *passes.depends_on)
    return fingerprint_base(base, weights, __file__, how)


def make_key(fingerprint: bytes, versions: Sequence[View], size: int) -> Key:
    """Return the function from a layer, the number of a version and an image's SHA-256 to the key in the store."""

    def key(layer: str, version: int, digest: str) -> bytes:
        drawn = versions[version].key(digest, size)
        return sha256(fingerprint + layer.encode() + bytes.fromhex(digest) + drawn).digest()

    return key


def store_for(passes: Passes, fingerprint: bytes, store: Store) -> Store:
    """Return `store`, or one that keeps nothing where a row depends on the other rows of its block.

    Whether it does is tried once on a machine, and kept.
    """
    if store.gigabytes == 0:
        return store
    key = sha256(fingerprint + b"keeps rows apart").digest()
    (apart,) = store.read([key])
    if apart is None:
        apart = bytes([passes.keep_rows_apart()])
        store.write({key: apart})
    if any(apart):
        return store
    print(
        "on this machine a row depends on the other rows of its block: the store is not used", file=sys.stderr
    )
    return store.model_copy(update={"gigabytes": 0})


def keep(outputs: dict[str, np.ndarray], block: Block, key: Key, store: Store) -> None:
    """Put what each layer gives for the images of `block`, (m, …), into `store`."""
    store.write(
        {
            key(layer, block.version, digest): value.tobytes()
            for layer, values in outputs.items()
            for digest, value in zip(block.digests, values, strict=True)
        }
    )
