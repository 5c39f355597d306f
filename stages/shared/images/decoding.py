"""An opened image file to RGB pixels, whatever the file's mode, depth or orientation."""

from contextlib import suppress
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageFile

TURNS = {  # what makes an image of each EXIF orientation upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BITS_PER_SAMPLE, PHOTOMETRIC, MAX_SAMPLE_VALUE = 258, 262, 281  # TIFF tags


def decode(file: ImageFile.ImageFile, white_16_bit: int) -> Image.Image:
    """Return the image in `file`, which `opened` gave, upright and in mode RGB.

    Orientation follows EXIF, 16-bit grey is scaled to 8 bits, transparency is laid on white. White is
    what the file says it is, or else `white_16_bit`.
    Raises OSError, ValueError or SyntaxError, as Pillow does, where the file is not whole, and ValueError
    where it does not say which of its numbers is white, or has a number above it.
    """
    white = white_of(file)
    file.load()
    image = upright(file)
    if image.mode.startswith("I;16") or (image.mode == "I" and file.format in ("PNG", "PPM")):
        values = np.asarray(image)  # (height, width) uint16 or int32
        highest = int(values.max())
        if white and highest > white:
            raise ValueError(f"it has values up to {highest}, above {white}, which it says is white")
        if highest > (white or white_16_bit):
            raise ValueError(f"it has values up to {highest}, above white_16_bit: {white_16_bit}")
        return Image.fromarray(in_8_bits(values, file, white or white_16_bit)).convert("RGB")
    if image.mode in ("I", "F"):
        kind = {"I": "integers of 32 bits", "F": "floating-point numbers"}[image.mode]
        raise ValueError(f"its pixels are {kind} of unknown range")
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        background = Image.new("RGB", image.size, "white")
        background.paste(image, mask=image)
        return background
    return image if image.mode == "RGB" else image.convert("RGB")


def upright(image: Image.Image) -> Image.Image:
    """Return `image` as its metadata say that it stands, or as it is where they cannot be read."""
    turn = None
    with suppress(Exception):  # Pillow's readers raise many kinds on broken metadata
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def white_of(file: ImageFile.ImageFile) -> int | None:
    """Return which value of 16 bits a `file` that is not yet decoded says is white; None where it does not.

    A PNG's sBIT chunk is not asked: by the standard it says how many bits a picture once had, in
    values that are scaled to all 16.
    """
    bits = bits_of(file)
    tags = getattr(file, "tag_v2", None)
    if tags is None:  # Pillow scales values of fewer bits to all 16
        return 65535 if bits < 16 else None
    if bits < 16:
        return 2**bits - 1
    # Some write there the highest value that an image happens to have, which is no such number.
    highest = tags.get(MAX_SAMPLE_VALUE, (0,))[0]
    return highest if highest in [2**n - 1 for n in range(8, 16)] else None


def bits_of(file: ImageFile.ImageFile) -> int:
    """Return with how many bits a value is written in a `file` that is not yet decoded: 16, or fewer."""
    if hasattr(file, "tag_v2"):
        return max(file.tag_v2.get(BITS_PER_SAMPLE, (1,)))  # pyright: ignore[reportAttributeAccessIssue]
    if file.format == "JPEG2000" and file.fp:
        file.fp.seek(0)
        header = file.fp.read()
        return (header[header.index(b"\xff\x4f\xff\x51") + 42] & 127) + 1  # of the first component
    how = file.tile[0].args if file.tile else None
    if file.format == "PPM" and isinstance(how, tuple):
        return 16 if how[-1] == 65535 else 8  # by another highest value than that Pillow scales
    return 16 if ";16" in f"{file.mode} {how}" else 8


def in_8_bits(values: np.ndarray, file: ImageFile.ImageFile, white: int) -> np.ndarray:
    """Return `values`, (height, width) from 0 to `white`, scaled to 0 to 255: uint8."""
    scaled = np.rint(np.arange(white + 1) * 255 / white).astype("uint8")
    if getattr(file, "tag_v2", {}).get(PHOTOMETRIC) == 0:  # white is zero; in 8 bits Pillow minds it itself
        scaled = scaled[::-1].copy()
    transparent = file.info.get("transparency")
    if isinstance(transparent, int) and transparent <= white:
        scaled[transparent] = 255
    grey = np.empty(values.shape, "uint8")
    for row, line in zip(values, grey, strict=True):  # NumPy would make indices of 8 bytes of all at once
        line[:] = scaled[row]
    return grey


def depth_of_unknown_white(file: ImageFile.ImageFile) -> Literal["grey", "colour"] | None:
    """Return what a `file` of 16 bits a value, not yet decoded, shows where it does not say its white; or None."""
    if bits_of(file) != 16 or white_of(file):
        return None
    return "grey" if file.mode.startswith("I") else "colour" if file.mode in ("RGB", "RGBA") else None
