"""The images of a split read from their folder, each as it was when the split was made."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import numpy as np
import pandas as pd

from stages.shared.images.decoding import decode
from stages.shared.images.fit import resize
from stages.shared.images.image_folder import ImageFolder
from stages.shared.images.opening import fault_of, opened
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.image_input import ImageInput
from stages.shared.pipeline.splits import Image, place_of

BLOCK = 32  # images decoded, and run through the base, together, where they are small
AHEAD = 4  # blocks that are decoded while the caller works on another one
# Bytes that VGG16's first layer gives for a block on a processor: 64 numbers of 4 bytes a pixel. Some three such
# arrays are alive at once. It is what 32 images of 256 × 256 pixels take.
ACTIVATIONS = 2**29


def read_unchanged(folder: ImageFolder, image: Image) -> bytes:
    """Return the bytes of an image of a split; raises UserError where it is gone or its SHA-256 is another one."""
    path = image["path"]
    try:
        data = folder.read(place_of(image))
    except OSError as error:
        raise UserError(
            f"{folder}/{path} can no longer be read ({fault_of(error)}): run dvc repro --force --single-item split_dataset, "
            "then dvc repro."
        ) from None
    if sha256(data).hexdigest() != image["sha256"]:
        raise UserError(
            f"{folder}/{path} has changed since the split was made: run dvc repro --force --single-item split_dataset, "
            "then dvc repro."
        )
    return data


def read_pixels(folder: ImageFolder, image: Image, image_input: ImageInput) -> np.ndarray:
    """Return an image of a split as a network takes it: (image_size, image_size, 3) uint8 RGB.

    Raises UserError as read_unchanged does.
    """
    with opened(read_unchanged(folder, image)) as file:
        return resize(decode(file, image_input.white_16_bit), image_input)


def block_for(image_size: int, most: int = BLOCK, activations: int = ACTIVATIONS) -> int:
    """Return how many images of `image_size` × `image_size` pixels go through the base together: 2 to `most`.

    VGG16's first layer gives `activations` bytes for them at most, in float32. Never one alone: TensorFlow sums it in another order, and a row would depend on the size of its block.
    """
    return min(most, max(2, activations // (image_size**2 * 64 * 4)))


def read_blocks(
    split: pd.DataFrame, folder: ImageFolder, image_input: ImageInput, size: int | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield rows of `split` and their pixels, (block, image_size, image_size, 3) uint8, in order.

    A block has `size` images, or as many as block_for says. The next blocks are decoded while the caller works on this one. The last block repeats its
    last image up to the full size, so that no row's result depends on how many others there are.
    """
    size = size or block_for(image_input.image_size)
    pool = ThreadPoolExecutor(folder.readers)

    def start_reading(first: int) -> tuple[slice, list]:
        rows = slice(first, min(first + size, len(split)))
        images = split.iloc[rows].to_dict("records")
        return rows, [pool.submit(read_pixels, folder, image, image_input) for image in images]

    def finish(rows: slice, futures: list) -> tuple[slice, np.ndarray]:
        pixels = [future.result() for future in futures]
        return rows, np.stack(pixels + pixels[-1:] * (size - len(pixels)))

    ahead: deque[tuple[slice, list]] = deque()
    try:
        for first in range(0, len(split), size):
            ahead.append(start_reading(first))
            if len(ahead) > AHEAD:
                yield finish(*ahead.popleft())
        while ahead:
            yield finish(*ahead.popleft())
    finally:
        pool.shutdown(cancel_futures=True)  # where the caller stops, none of the others is decoded first
