"""Small images for a page, encoded anew so that nothing else of the user's files gets into it."""

import base64
from io import BytesIO

import matplotlib
import numpy as np
import pandas as pd
from PIL import Image

from stages.shared.images.decoding import decode
from stages.shared.images.fit import place
from stages.shared.images.image_folder import ImageFolder
from stages.shared.images.opening import opened
from stages.shared.images.reading import read_unchanged
from stages.shared.pipeline.image_input import ImageInput

SIDE = 200  # pixels
COLORS = matplotlib.colormaps["inferno"]
OPACITY = 0.7  # of the heat map where it is 1; where it is 0 the image shows as it is


def thumbnail(image: pd.Series, folder: ImageFolder, white_16_bit: int) -> str:
    """Return the `image` of a split as a data URI; raises UserError as read_unchanged does."""
    with opened(read_unchanged(folder, image)) as file:
        return as_uri(decode(file, white_16_bit))


def on_image(heat: np.ndarray, width: int, height: int, image_input: ImageInput) -> np.ndarray:
    """Return a heat map of a network's input, of any shape, as it lies on the image: (height, width) float32.

    It is 0 where the network did not see the image, and lacks what lay on the border around it.
    """
    seen, within = place(width, height, image_input)
    left, upper, right, lower = map(round, seen)
    rows, columns = heat.shape
    cells = np.array(within) / image_input.image_size * [columns, rows, columns, rows]
    part = Image.fromarray(heat).resize(
        (right - left, lower - upper), Image.Resampling.BILINEAR, box=tuple(cells.tolist())
    )
    placed = np.zeros((height, width), "float32")
    placed[upper:lower, left:right] = part
    return placed


def overlay(pixels: np.ndarray, heat: np.ndarray, side: int = SIDE) -> str:
    """Return `pixels`, (height, width, 3) uint8 RGB, under `heat`, (height, width) from 0 to 1."""
    colors = 255 * COLORS(heat)[..., :3]
    mixed = pixels + OPACITY * heat[..., np.newaxis] * (colors - pixels)
    return as_uri(Image.fromarray(np.rint(mixed).astype("uint8")), side)


def as_uri(image: Image.Image, side: int = SIDE) -> str:
    """Return `image`, in mode RGB, as a JPEG of at most `side` × `side` pixels."""
    image.thumbnail((side, side))
    image.info.clear()  # a comment would be saved with it
    buffer = BytesIO()
    image.save(buffer, format="JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
