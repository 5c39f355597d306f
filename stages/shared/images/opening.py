"""Image files opened: of which format they are, how large, and without what keeps Pillow from their pixels."""

import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import cache
from io import BytesIO
from threading import Lock
from zlib import crc32

import pi_heif
from PIL import Image, ImageFile, PngImagePlugin

LARGE = 20_000_000  # pixels of an image that is decoded while no other one as large is
MEGAPIXELS = 179  # the most that tools decode, which read no parameters; as much as Pillow does unasked
ONE_LARGE = Lock()
PNG = b"\x89PNG\r\n\x1a\n"
PNG_PIXELS = (b"tRNS", b"acTL", b"fcTL", b"fdAT")  # chunks that decide about pixels beside the critical ones
# Texts that may hold an orientation.
PNG_TURNS = (b"exif\0", b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
SUBFILE_TYPE, SUB_IFDS, DNG_VERSION = 254, 330, 50706
KINDS = {  # what a file of a format that is not read begins with, from a place on
    (0, b"\xff\x0a"): "a JPEG XL image",
    (0, b"\0\0\0\x0cJXL "): "a JPEG XL image",
    (0, b"<svg"): "an SVG drawing",
    (0, b"%PDF"): "a PDF document",
    (0, b"%!PS"): "a PostScript drawing",
    (0, b"\xc5\xd0\xd3\xc6"): "a PostScript drawing",
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


@contextmanager
def opened(data: bytes, most: float | None = None, said: str = "megapixels") -> Iterator[ImageFile.ImageFile]:
    """Give the image file in `data`, its bytes, to be decoded inside the block, at whose end its pixels are gone.

    Of large images there is one at a time.
    Raises OSError, ValueError or SyntaxError, as Pillow does, where `data` is no image, of a format
    that is not read, or of more than `most` megapixels, which `said` names.
    """
    if not data:
        raise OSError("the file is empty")
    try:
        file = Image.open(BytesIO(without_metadata(data)), formats=prepare_pillow())
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
def prepare_pillow() -> list[str]:
    """Let Pillow read HEIC, and have it neither warn of nor refuse sizes, which `opened` does.

    Returns the formats to read: all but PostScript, which is a program, and Pillow has Ghostscript run it.
    """
    Image.preinit()  # what most files are is tried first
    pi_heif.register_heif_opener()
    Image.MAX_IMAGE_PIXELS = None
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of metadata that it cannot read
    Image.core.set_block_size(2**26)  # bytes: in smaller pieces glibc keeps what a thread has freed
    PngImagePlugin.MAX_TEXT_CHUNK = 2**26  # bytes of a text that holds an orientation, unpacked
    Image.init()
    return [name for name in Image.ID if name != "EPS"]


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


def fault_of(error: Exception) -> str:
    """Return in a few words why a file is no usable image, given what reading or decoding it raised."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
