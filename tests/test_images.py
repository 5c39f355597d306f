"""Pixels are right whatever the file's mode, depth or orientation."""

from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.shared.images import BLOCK, decode, fault_of, opened, read_blocks, read_pixels
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


def test_exif_orientation_is_honoured():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held turned by 90 degrees
    pixels = decoded(encoded(Image.fromarray(RGB), exif=exif))
    assert (pixels == np.rot90(RGB, -1)).all()


def fault(data: bytes) -> str:
    """Return why `data` is no usable image, as the split and tools.predict say it; nothing where it is one."""
    try:
        decoded(data)
    except Exception as error:
        return fault_of(error)
    return ""


def test_faults():
    whole = encoded(Image.fromarray(RGB.repeat(20, 0).repeat(20, 1)), "JPEG")
    assert fault(whole) == ""
    assert states(fault(whole[:-300]), "truncated")
    assert states(fault(b""), "empty")
    assert fault(b"GIF89a but no more")
    assert states(fault(b"hello"), "not an image")
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
    blocks = list(read_blocks(split, tmp_path, image_input()))
    assert [(rows.start, rows.stop) for rows, _ in blocks] == [(0, 32), (32, 64), (64, 67)]
    assert {pixels.shape for _, pixels in blocks} == {(BLOCK, 32, 32, 3)}
    for rows, pixels in blocks:
        for row, image in zip(
            range(rows.start, rows.stop), pixels, strict=False
        ):  # the last block is filled up
            expected = Image.open(tmp_path / f"{row}.png").resize((32, 32), Image.Resampling.BILINEAR)
            assert (image == np.asarray(expected)).all()
    assert (blocks[-1][1][3:] == blocks[-1][1][2]).all()


def test_nearest_takes_pixels_as_they_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype("uint8")
    (tmp_path / "0.png").write_bytes(encoded(Image.fromarray(pixels)))
    digest = sha256((tmp_path / "0.png").read_bytes()).hexdigest()
    found = read_pixels(tmp_path / "0.png", digest, image_input(interpolation="nearest"))
    assert (found == pixels[1::2, 1::3]).all()


def test_a_change_since_the_split_is_noticed(tmp_path):
    split = split_of(tmp_path, 2)
    (tmp_path / "1.png").write_bytes(encoded(Image.fromarray(RGB[::-1])))
    with refused(tmp_path / "1.png", "changed", "dvc repro"):
        list(read_blocks(split, tmp_path, image_input()))
    (tmp_path / "1.png").unlink()
    with refused(tmp_path / "1.png", "No such file or directory", "dvc repro"):
        list(read_blocks(split, tmp_path, image_input()))
