"""Image files to RGB pixels, whatever the file's mode, depth or orientation, and as a network takes them."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext, suppress
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Literal
from zlib import crc32

import numpy as np
import pandas as pd
import pi_heif
from PIL import ExifTags, Image, ImageFile, PngImagePlugin
from pydantic import Field

from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.image_input import ImageInput
from stages.shared.pipeline.parameters import PartOfSection

BLOCK = 32  # images decoded, and run through the base, together, where they are small
# Bytes that VGG16's first layer gives for a block: 64 numbers of 4 bytes a pixel. Some three such arrays are
# alive at once. It is what 32 images of 256 × 256 pixels take.
ACTIVATIONS = 2**29
LARGE = 20_000_000  # pixels of an image that is decoded while no other one as large is
MEGAPIXELS = 179  # the most that tools decode, which read no parameters; as much as Pillow does unasked
ONE_LARGE = Lock()
Box = tuple[float, float, float, float]  # left, upper, right, lower
TURNS = {  # what makes an image of each EXIF orientation upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
PNG = b"\x89PNG\r\n\x1a\n"
PNG_PIXELS = (b"tRNS", b"acTL", b"fcTL", b"fdAT")  # chunks that decide about pixels beside the critical ones
# Texts that may hold an orientation.
PNG_TURNS = (b"exif\0", b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
BITS_PER_SAMPLE, PHOTOMETRIC, MAX_SAMPLE_VALUE = 258, 262, 281  # TIFF tags
SUBFILE_TYPE, SUB_IFDS, DNG_VERSION = 254, 330, 50706
KINDS = {  # what a file of a format that is not read begins with, from a place on
    (0, b"\xff\x0a"): "a JPEG XL image",
    (0, b"\0\0\0\x0cJXL "): "a JPEG XL image",
    (0, b"<svg"): "an SVG drawing",
    (0, b"%PDF"): "a PDF document",
    (0, b"gimp xcf"): "a GIMP project",
    (0, b"FUJIFILMCCD-RAW"): "a camera's raw file",
    (0, b"IIRO"): "a camera's raw file",
    (0, b"IIRS"): "a camera's raw file",
    (0, b"IIU\0"): "a camera's raw file",
    (0, b"FOVb"): "a camera's raw file",
    (4, b"ftypcrx"): "a camera's raw file",
    (128, b"DICM"): "a DICOM file",
    (0, b"\x1a\x45\xdf\xa3"): "a video",
    (8, b"AVI LIST"): "a video",
    (4, b"ftypqt"): "a video",
    (4, b"ftypisom"): "a video",
    (4, b"ftypmp4"): "a video",
    (4, b"ftypavc1"): "a video",
    (0, b"II*\0"): "a TIFF image that is damaged or of an unusual kind",
    (0, b"MM\0*"): "a TIFF image that is damaged or of an unusual kind",
    (4, b"ftyphe"): "a HEIC image that is damaged or of an unusual kind",
    (4, b"ftypmif1"): "a HEIC image that is damaged or of an unusual kind",
    (0, b"PK\x03\x04"): "a ZIP archive",
    (0, b"<!DOCTYPE html"): "a web page",
    (0, b"<html"): "a web page",
    (0, b"version https://git-lfs"): "a pointer of Git LFS",
}


class ImagesFolder(PartOfSection):
    """Where the images are, for stages that need no more of the section data."""

    images: str = Field(min_length=1, description="the path of a folder of images")


@contextmanager
def opened(data: bytes, most: float | None = None, said: str = "megapixels") -> Iterator[ImageFile.ImageFile]:
    """Give the image file in `data`, its bytes, to be decoded inside the block, at whose end its pixels are gone.

    Of large images there is one at a time.
    Raises OSError, ValueError or SyntaxError, as Pillow does, where `data` is no image, of a format
    that is not read, or of more than `most` megapixels, which `said` names.
    """
    if not data:
        raise OSError("the file is empty")
    prepare_pillow()
    try:
        file = Image.open(BytesIO(without_metadata(data)))
    except Image.UnidentifiedImageError:
        raise ValueError(f"{kind_of(data)}: convert it to JPEG or PNG") from None
    width, height = file.size
    if most is not None and width * height > most * 1e6:
        raise ValueError(f"it has {width:,} × {height:,} pixels, more than {most:g} {said}")
    if is_raw(file, data):
        raise ValueError("a camera's raw file: convert it to JPEG or PNG")
    with ONE_LARGE if width * height > LARGE else nullcontext(), closing(file):
        yield file


@cache
def prepare_pillow() -> None:
    """Let Pillow read HEIC, and have it neither warn of nor refuse sizes, which `opened` does."""
    pi_heif.register_heif_opener()
    Image.MAX_IMAGE_PIXELS = None
    Image.core.set_block_size(2**26)  # bytes: in smaller pieces glibc keeps what a thread has freed
    PngImagePlugin.MAX_TEXT_CHUNK = 2**26  # bytes of a text that holds an orientation, unpacked


def without_metadata(data: bytes) -> bytes:
    """Return a PNG's bytes without the chunks that bear on neither pixels nor orientation, others' as they are.

    Pillow refuses the whole image where a text or a colour profile, which we do not use, is large or broken.
    """
    if not data.startswith(PNG):
        return data
    view, place = memoryview(data), len(PNG)
    kept: list[bytes | memoryview] = [PNG]
    while place < len(data):
        length, kind = int.from_bytes(data[place : place + 4]), data[place + 4 : place + 8]
        chunk = view[place : place + 12 + length]
        place += len(chunk)
        if kind in PNG_PIXELS or not (kind.isalpha() and kind[:1].islower()) or _turns(kind, chunk):
            kept.append(chunk)
    return b"".join(kept)


def _turns(kind: bytes, chunk: memoryview) -> bool:
    """Return whether a whole `chunk` of a PNG may hold an orientation."""
    text = kind in (b"tEXt", b"zTXt", b"iTXt") and len(chunk) < 2**25
    orients = kind == b"eXIf" or (text and bytes(chunk[8:40]).startswith(PNG_TURNS))
    return orients and crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])


def kind_of(data: bytes) -> str:
    """Return what a file is that Pillow does not know, by what it begins with."""
    text = data[:1000].lstrip(b"\xef\xbb\xbf \r\n\t")
    if text.startswith(b"<?xml") and b"<svg" in text:
        return "an SVG drawing"
    found = (kind for (place, magic), kind in KINDS.items() if data.startswith(magic, place))
    return next(found, "not an image, or of a format that is not read")


def is_raw(file: ImageFile.ImageFile, data: bytes) -> bool:
    """Return whether a TIFF is a camera's raw file: Pillow would take the preview in it for the photo."""
    tags = getattr(file, "tag_v2", {})
    preview = tags.get(SUBFILE_TYPE, 0) & 1 and SUB_IFDS in tags
    return bool(preview) or DNG_VERSION in tags or data.startswith(b"CR", 8)


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


def place(width: float, height: float, image_input: ImageInput) -> tuple[Box, tuple[int, int, int, int]]:
    """Return which part of an image goes into a network, and where in its input that lies, in pixels of each."""
    size = image_input.image_size
    if image_input.fit == "crop":
        side = min(width, height)
        left, upper = (width - side) / 2, (height - side) / 2
        return (left, upper, left + side, upper + side), (0, 0, size, size)
    if image_input.fit == "pad":
        longer = max(width, height)
        across, down = (max(1, round(length / longer * size)) for length in (width, height))
        left, upper = round((size - across) / 2), round((size - down) / 2)
        return (0, 0, width, height), (left, upper, left + across, upper + down)
    return (0, 0, width, height), (0, 0, size, size)


def resize(image: Image.Image, image_input: ImageInput) -> np.ndarray:
    """Return `image`, in mode RGB, as a network takes it: (image_size, image_size, 3) uint8."""
    size = image_input.image_size
    part, (left, upper, right, lower) = place(*image.size, image_input)
    method = Image.Resampling[image_input.interpolation.upper()]
    resized = image.resize((right - left, lower - upper), method, box=part)
    if resized.size == (size, size):
        return np.asarray(resized)
    square = Image.new("RGB", (size, size))  # black
    square.paste(resized, (left, upper))
    return np.asarray(square)


def fault_of(error: Exception) -> str:
    """Return in a few words why a file is no usable image, given what reading or decoding it raised."""
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


def read_pixels(path: Path, digest: str, image_input: ImageInput) -> np.ndarray:
    """Return the image in `path` as a network takes it: (image_size, image_size, 3) uint8 RGB.

    Raises UserError as read_unchanged does.
    """
    with opened(read_unchanged(path, digest)) as file:
        return resize(decode(file, image_input.white_16_bit), image_input)


def block_for(image_size: int) -> int:
    """Return how many images of `image_size` × `image_size` pixels go through the base together: 2 to BLOCK.

    Never one alone: TensorFlow sums it in another order, and a row would depend on the size of its block.
    """
    return min(BLOCK, max(2, ACTIVATIONS // (image_size**2 * 64 * 4)))


def read_blocks(
    split: pd.DataFrame, folder: Path, image_input: ImageInput
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield rows of `split` and their pixels, (block, image_size, image_size, 3) uint8, in order.

    The next block is decoded while the caller works on this one. The last block repeats its
    last image up to the full size, so that no row's result depends on how many others there are.
    """
    size = block_for(image_input.image_size)
    with ThreadPoolExecutor() as pool:

        def start_reading(first: int) -> tuple[slice, list]:
            rows = slice(first, min(first + size, len(split)))
            images = split.iloc[rows]
            return rows, [
                pool.submit(read_pixels, folder / path, digest, image_input)
                for path, digest in zip(images["path"], images["sha256"], strict=True)
            ]

        def finish(rows: slice, futures: list) -> tuple[slice, np.ndarray]:
            pixels = [future.result() for future in futures]
            return rows, np.stack(pixels + pixels[-1:] * (size - len(pixels)))

        ahead: deque[tuple[slice, list]] = deque()
        for first in range(0, len(split), size):
            ahead.append(start_reading(first))
            if len(ahead) > 1:
                yield finish(*ahead.popleft())
        while ahead:
            yield finish(*ahead.popleft())
