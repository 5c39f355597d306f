"""Pixels are right whatever the file's mode, depth or orientation."""

import struct
import time
import zlib
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pillow_heif
import pytest
from PIL import Image, ImageOps

from stages.shared.images import opening
from stages.shared.images.decoding import decode
from stages.shared.images.fit import resize
from stages.shared.images.image_folder import OnDisk
from stages.shared.images.opening import fault_of, opened
from stages.shared.images.reading import AHEAD, BLOCK, block_for, read_blocks, read_pixels
from tests.conftest import image_input, refused, states

RGB = np.random.default_rng(0).integers(0, 256, (6, 4, 3)).astype("uint8")


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def decoded(data: bytes, white_16_bit: int = 65535) -> np.ndarray:
    """Return the pixels of the image in `data`, (height, width, 3) uint8."""
    with opened(data) as file:
        return np.asarray(decode(file, white_16_bit))


def test_rgb_comes_through_unchanged():
    assert (decoded(encoded(Image.fromarray(RGB))) == RGB).all()


def test_grey_becomes_three_equal_channels():
    pixels = decoded(encoded(Image.fromarray(RGB[..., 0])))
    assert (pixels == RGB[..., :1]).all()


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bits_are_scaled_not_clipped(format):
    values = np.array([[0, 257, 1000], [32768, 65278, 65535]], dtype="uint16")
    pixels = decoded(encoded(Image.fromarray(values), format))
    assert pixels[..., 0].tolist() == [[0, 1, 4], [128, 254, 255]]
    assert pixels.shape == (2, 3, 3)


def test_a_16_bit_portable_grey_map_is_scaled():
    pixels = decoded(b"P5 3 1 65535\n" + np.array([0, 1000, 65535], ">u2").tobytes())
    assert pixels[..., 0].tolist() == [[0, 4, 255]]


TWELVE_BITS = np.array([[0, 1000, 2048, 4095]], dtype="uint16")
IN_8_BITS = [0, 62, 128, 255]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_white_is_what_the_parameter_says(format):
    data = encoded(Image.fromarray(TWELVE_BITS.repeat(8, 0)), format)
    assert decoded(data, white_16_bit=4095)[0, :, 0].tolist() == IN_8_BITS
    assert decoded(data)[0, :, 0].tolist() == [0, 4, 8, 16]
    assert states(fault(data, white_16_bit=4000), 4095, "white_16_bit: 4000")


def tagged(**tags: object) -> bytes:
    """Return a TIFF of TWELVE_BITS in 16 bits, with `tags` by number, as _281."""
    numbers = {int(name[1:]): value for name, value in tags.items()}
    return encoded(Image.fromarray(TWELVE_BITS), "TIFF", tiffinfo=numbers)


def test_what_a_tiff_says_goes_before_the_parameter():
    assert decoded(tagged(_281=4095))[..., 0].tolist() == [IN_8_BITS]
    assert decoded(tagged(_281=3999))[..., 0].tolist() == [[0, 4, 8, 16]]  # a brightest pixel, not a depth
    assert states(fault(tagged(_281=1023)), 4095, 1023, "says")
    assert decoded(tagged(_262=0), 4095)[..., 0].tolist() == [[255, 193, 127, 0]]  # white is zero
    packed = int("".join(f"{value:012b}" for value in TWELVE_BITS[0]), 2).to_bytes(6)
    tiff = encoded(Image.frombytes("L", (6, 1), packed), "TIFF")
    for tag, old, new in ((256, 6, 4), (258, 8, 12)):
        entry = next(kind for kind in (3, 4) if struct.pack("<HHII", tag, kind, 1, old) in tiff)
        tiff = tiff.replace(
            struct.pack("<HHII", tag, entry, 1, old), struct.pack("<HHII", tag, entry, 1, new)
        )
    assert decoded(tiff)[..., 0].tolist() == [IN_8_BITS]


def test_a_big_endian_tiff():
    image = Image.frombytes("I;16B", (4, 1), TWELVE_BITS.astype(">u2").tobytes())
    assert decoded(encoded(image, "TIFF"), 4095)[..., 0].tolist() == [IN_8_BITS]


@pytest.mark.parametrize("kind, bands", [("P5", 1), ("P6", 3)])
def test_a_portable_map_says_its_white(kind, bands):
    data = f"{kind} 4 1 4095\n".encode() + TWELVE_BITS.repeat(bands).astype(">u2").tobytes()
    assert decoded(data, white_16_bit=1000)[..., 0].tolist() == [IN_8_BITS]


def test_transparency_in_16_bits_is_laid_on_white():
    data = with_chunk(encoded(Image.fromarray(TWELVE_BITS)), b"tRNS", struct.pack(">H", 1000))
    assert decoded(data, 4095)[..., 0].tolist() == [[0, 255, 128, 255]]


def test_palette_and_its_transparency():
    image = Image.fromarray(np.array([[0, 1, 2]], dtype="uint8"), mode="P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    assert decoded(encoded(image)).tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]
    assert decoded(encoded(image, transparency=1)).tolist() == [[[255, 0, 0], [255] * 3, [0, 0, 255]]]


def test_transparency_is_laid_on_white():
    image = Image.fromarray(np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], dtype="uint8"))
    assert decoded(encoded(image)).tolist() == [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]]


def test_cmyk_jpeg():
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    pixels = decoded(encoded(red, "JPEG", quality=95)).astype(int)
    assert (abs(pixels - [254, 0, 0]) <= 3).all()


def turned_by_90() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held turned
    return exif


def test_exif_orientation_is_honoured():
    pixels = decoded(encoded(Image.fromarray(RGB), exif=turned_by_90()))
    assert (pixels == np.rot90(RGB, -1)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_as_pillow_has_it(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(RGB), exif=exif)
    assert (decoded(data) == np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(data))))).all()


def heic(pixels: np.ndarray, **options) -> bytes:
    file = BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(file, quality=-1, **options)
    return file.getvalue()


def test_heic():
    pixels = np.kron(RGB, np.ones((16, 16, 1))).astype("uint8")
    assert np.abs(decoded(heic(pixels, chroma=444)).astype(int) - pixels).max() <= 2  # YCbCr rounds
    turned = decoded(heic(pixels, chroma=444, exif=turned_by_90().tobytes()))
    assert np.abs(turned.astype(int) - np.rot90(pixels, -1)).max() <= 2
    assert states(fault(heic(pixels)[:200]), "HEIC", "JPEG or PNG")


def with_chunk(png: bytes, kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    """Return `png` with a chunk of metadata before its pixels."""
    checksum = zlib.crc32(kind + content) if checksum is None else checksum
    return (
        png[:33] + struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum) + png[33:]
    )


LONG = zlib.compress(b"x" * 70_000_000)  # what Pillow refuses to unpack


@pytest.mark.parametrize(
    "kind, content, checksum",
    [
        (b"zTXt", b"Comment\0\0" + LONG, None),
        (b"iTXt", b"Comment\0\1\0\0\0" + LONG, None),
        (b"tEXt", b"Comment\0" + b"x" * 70_000_000, None),
        (b"iCCP", b"profile\0\0" + LONG, None),
        (b"iCCP", b"profile\0\7", None),
        (b"tEXt", b"Comment\0damaged", 0),
        (b"eXIf", b"II*\0damaged", 0),
        (b"eXIf", b"no EXIF", None),
        (b"tEXt", b"Raw profile type exif\0\nexif\n 5\nno number", None),
        (b"pHYs", b"short", None),
        (b"gAMA", b"", None),
    ],
)
def test_a_png_is_taken_whatever_its_metadata(kind, content, checksum):
    data = with_chunk(encoded(Image.fromarray(RGB)), kind, content, checksum)
    assert (decoded(data) == RGB).all()
    turned = with_chunk(encoded(Image.fromarray(RGB), exif=turned_by_90()), kind, content, checksum)
    if kind != b"eXIf" and not content.startswith(b"Raw profile"):
        assert (decoded(turned) == np.rot90(RGB, -1)).all()


def test_an_orientation_in_a_text_is_honoured():
    xmp = b'<rdf:Description tiff:Orientation="6"/>' + b" " * 2_000_000
    for content in (b"\0\0\0\0\0" + xmp, b"\0\1\0\0\0" + zlib.compress(xmp)):
        data = with_chunk(encoded(Image.fromarray(RGB)), b"iTXt", b"XML:com.adobe.xmp" + content)
        assert (decoded(data) == np.rot90(RGB, -1)).all()


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "PNG"])
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0no EXIF", b"Exif\0\0", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"]
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_an_image_is_taken_whatever_its_exif(format, exif):
    image = Image.fromarray(RGB)
    assert (decoded(encoded(image, format, exif=exif)) == decoded(encoded(image, format))).all()


def fault(data: bytes, white_16_bit: int = 65535) -> str:
    """Return why `data` is no usable image, as the split and tools.predict say it; nothing where it is one."""
    try:
        decoded(data, white_16_bit)
    except Exception as error:
        return fault_of(error)
    return ""


def test_faults():
    whole = encoded(Image.fromarray(RGB.repeat(20, 0).repeat(20, 1)), "JPEG")
    assert fault(whole) == ""
    assert states(fault(whole[:-300]), "truncated")
    assert states(fault(b""), "empty")
    assert fault(b"GIF89a but no more")
    damaged = bytearray(encoded(Image.fromarray(RGB)))
    damaged[-25] ^= 255  # in the pixels
    assert fault(bytes(damaged))
    raw = {50706: b"\1\4\0\0"}
    for data, kind in {
        b"hello": "not an image",
        b"\xff\x0a": "JPEG XL",
        b"<?xml version='1.0'?>\n<svg/>": "SVG",
        b"%PDF-1.7": "PDF",
        encoded(Image.fromarray(RGB), "EPS"): "PostScript",
        b"\xc5\xd0\xd3\xc6" + bytes(99): "PostScript",
        b"\0\0\0\x18ftypisom": "video",
        b"\0\0\0\x18ftypcrx ": "raw",
        encoded(Image.fromarray(RGB), "TIFF", tiffinfo=raw): "raw",
        b"MM\0*\0\0\0\x08\0\0": "TIFF",
    }.items():
        assert states(fault(data), kind, "convert", "JPEG or PNG")
    for dtype, kind in (("float32", "floating-point"), ("int32", "32 bits")):
        image = encoded(Image.fromarray(np.full((2, 2), 255, dtype)), "TIFF")
        assert states(fault(image), kind, "range")


def split_of(folder: Path, count: int) -> pd.DataFrame:
    for number in range(count):
        (folder / f"{number}.png").write_bytes(encoded(Image.fromarray(RGB + np.uint8(number))))
    paths = [f"{number}.png" for number in range(count)]
    return pd.DataFrame(
        {"path": paths, "sha256": [sha256((folder / path).read_bytes()).hexdigest() for path in paths]}
    )


def test_blocks_cover_the_split_in_order_and_the_last_is_padded(tmp_path):
    split = split_of(tmp_path, BLOCK * 2 + 3)
    blocks = list(read_blocks(split, OnDisk(tmp_path), image_input()))
    assert [(rows.start, rows.stop) for rows, _ in blocks] == [(0, 32), (32, 64), (64, 67)]
    assert {pixels.shape for _, pixels in blocks} == {(BLOCK, 32, 32, 3)}
    for rows, pixels in blocks:
        for row, image in zip(
            range(rows.start, rows.stop), pixels, strict=False
        ):  # the last block is filled up
            expected = Image.open(tmp_path / f"{row}.png").resize((32, 32), Image.Resampling.BILINEAR)
            assert (image == np.asarray(expected)).all()
    assert (blocks[-1][1][3:] == blocks[-1][1][2]).all()


def test_blocks_are_as_large_as_their_activations_allow(tmp_path):
    assert [block_for(size) for size in (32, 150, 256, 362, 1024, 2048)] == [32, 32, 32, 16, 2, 2]
    split = split_of(tmp_path, 3)
    blocks = list(read_blocks(split, OnDisk(tmp_path), image_input(1024)))
    assert [(rows.start, rows.stop, pixels.shape[0]) for rows, pixels in blocks] == [(0, 2, 2), (2, 3, 2)]


def test_some_blocks_are_read_ahead_and_no_more_when_the_caller_stops(monkeypatch):
    started = []

    def read(folder: OnDisk, image: dict, *_) -> np.ndarray:
        started.append(image["path"])
        time.sleep(0.01)
        return np.zeros((32, 32, 3), "uint8")

    monkeypatch.setattr("stages.shared.images.reading.read_pixels", read)
    ahead = (1 + AHEAD) * BLOCK
    names = [str(number) for number in range(2 * ahead)]
    blocks = read_blocks(pd.DataFrame({"path": names, "sha256": names}), OnDisk(Path()), image_input())
    next(blocks)
    del blocks
    assert set(names[:BLOCK]) <= set(started) < set(names[:ahead])


def test_large_images_are_decoded_one_at_a_time_and_do_not_stay(tmp_path, monkeypatch):
    with opened(encoded(Image.fromarray(RGB))):
        assert not opening.ONE_LARGE.locked()
    monkeypatch.setattr(opening, "LARGE", 23)  # pixels: RGB has 24
    with opened(encoded(Image.fromarray(RGB))) as file:
        assert (np.asarray(decode(file, 65535)) == RGB).all() and opening.ONE_LARGE.locked()
    with pytest.raises(ValueError, match="closed"):
        file.load()
    split = split_of(tmp_path, 40)
    assert (
        sum(rows.stop - rows.start for rows, _ in read_blocks(split, OnDisk(tmp_path), image_input())) == 40
    )
    with pytest.raises(ValueError, match="more than"), opened(encoded(Image.fromarray(RGB)), 23e-6):
        pass
    assert not opening.ONE_LARGE.locked()


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (41, 30), (33, 97), (32, 32), (1000, 500)])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_fit_is_what_pillow_does_by_other_names(size, interpolation):
    """So that docs/using-models.md needs none of our code."""
    width, height = size
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype("uint8"))
    method = Image.Resampling[interpolation.upper()]
    results = {}
    for fit, other in {"squash": Image.Image.resize, "crop": ImageOps.fit, "pad": ImageOps.pad}.items():
        results[fit] = resize(image, image_input(48, fit=fit, interpolation=interpolation))
        assert (results[fit] == np.asarray(other(image, (48, 48), method))).all()
    assert width == height or len({pixels.tobytes() for pixels in results.values()}) == 3


def test_a_line_is_padded():
    pixels = resize(Image.new("RGB", (1000, 2), "white"), image_input(fit="pad"))
    assert np.unique(pixels.nonzero()[0]).tolist() == [16] and pixels[16].min() == 255


def test_nearest_takes_pixels_as_they_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype("uint8")
    (tmp_path / "0.png").write_bytes(encoded(Image.fromarray(pixels)))
    image = {"path": "0.png", "sha256": sha256((tmp_path / "0.png").read_bytes()).hexdigest()}
    found = read_pixels(OnDisk(tmp_path), image, image_input(interpolation="nearest"))
    assert (found == pixels[1::2, 1::3]).all()


def test_a_change_since_the_split_is_noticed(tmp_path):
    split = split_of(tmp_path, 2)
    (tmp_path / "1.png").write_bytes(encoded(Image.fromarray(RGB[::-1])))
    with refused(tmp_path / "1.png", "changed", "dvc repro"):
        list(read_blocks(split, OnDisk(tmp_path), image_input()))
    (tmp_path / "1.png").unlink()
    with refused(tmp_path / "1.png", "No such file or directory", "dvc repro"):
        list(read_blocks(split, OnDisk(tmp_path), image_input()))
