"""Image files to RGB pixels, whatever the file's mode, depth or orientation."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps
from pydantic import Field

from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.image_input import Interpolation
from stages.shared.pipeline.parameters import PartOfSection

BLOCK = 32  # images decoded, and run through the base, together


class ImagesFolder(PartOfSection):
    """Where the images are, for stages that need no more of the section data."""

    images: str = Field(min_length=1, description="the path of a folder of images")


def decode(data: bytes) -> Image.Image:
    """Return the image in `data`, a file's bytes, upright and in mode RGB.

    Orientation follows EXIF, 16-bit grey is scaled to 8 bits, transparency is laid on white.
    Raises OSError, ValueError or SyntaxError, as Pillow does, where `data` is no whole image, and
    ValueError where it does not say which of its numbers is white.
    """
    if not data:
        raise OSError("the file is empty")
    with Image.open(BytesIO(data)) as file:
        file.load()
        format = file.format
        image = ImageOps.exif_transpose(file)
    if image.mode.startswith("I;16") or (image.mode == "I" and format in ("PNG", "PPM")):
        grey = np.rint(np.asarray(image) / 257).astype(np.uint8)  # 65535 / 257 = 255
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("I", "F"):
        kind = {"I": "integers of 32 bits", "F": "floating-point numbers"}[image.mode]
        raise ValueError(f"its pixels are {kind} of unknown range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def resize(image: Image.Image, size: int, interpolation: Interpolation) -> np.ndarray:
    """Return `image`, in mode RGB, as a network takes it: (size, size, 3) uint8."""
    return np.asarray(image.resize((size, size), Image.Resampling[interpolation.upper()]))


def fault_of(error: Exception) -> str:
    """Return in a few words why a file is no usable image, given what reading or decoding it raised."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def read_unchanged(path: Path, digest: str) -> bytes:
    """Return the bytes in `path`; raises UserError where it is gone or its SHA-256 no longer `digest`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = f"({error.strerror})"
        raise UserError(f"{path} can no longer be read {reason}: run dvc repro to split again.") from None
    if sha256(data).hexdigest() != digest:
        raise UserError(f"{path} has changed since the split was made: run dvc repro to split again.")
    return data


def check_unchanged(split: pd.DataFrame, folder: Path) -> None:
    """Raise UserError where an image of `split` is gone or changed since the split was made."""
    with ThreadPoolExecutor() as pool:
        for first in range(0, len(split), BLOCK):
            images = split.iloc[first : first + BLOCK]
            deque(pool.map(read_unchanged, [folder / path for path in images["path"]], images["sha256"]), 0)


def read_pixels(path: Path, digest: str, size: int, interpolation: Interpolation) -> np.ndarray:
    """Return the image in `path` at `size` × `size` pixels: (size, size, 3) uint8 RGB.

    Raises UserError as read_unchanged does.
    """
    return resize(decode(read_unchanged(path, digest)), size, interpolation)


def read_blocks(
    split: pd.DataFrame, folder: Path, size: int, interpolation: Interpolation
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield rows of `split` and their pixels, (BLOCK, size, size, 3) uint8, in order.

    The next block is decoded while the caller works on this one. The last block repeats its
    last image up to the full size, so that no row's result depends on how many others there are.
    """
    with ThreadPoolExecutor() as pool:

        def start_reading(first: int) -> tuple[slice, list]:
            rows = slice(first, min(first + BLOCK, len(split)))
            images = split.iloc[rows]
            return rows, [
                pool.submit(read_pixels, folder / path, digest, size, interpolation)
                for path, digest in zip(images["path"], images["sha256"], strict=True)
            ]

        ahead: deque = deque()
        for first in range(0, len(split), BLOCK):
            ahead.append(start_reading(first))
            if len(ahead) > 1:
                yield _finish(*ahead.popleft())
        while ahead:
            yield _finish(*ahead.popleft())


def _finish(rows: slice, futures: list) -> tuple[slice, np.ndarray]:
    pixels = [future.result() for future in futures]
    return rows, np.stack(pixels + pixels[-1:] * (BLOCK - len(pixels)))
