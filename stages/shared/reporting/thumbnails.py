"""Small images for a page, encoded anew so that nothing else of the user's files gets into it."""

import base64
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from PIL import Image

from stages.shared.images import decode, read_unchanged

SIDE = 200  # pixels
COLORS = matplotlib.colormaps["inferno"]
OPACITY = 0.7  # of the heat map where it is 1; where it is 0 the image shows as it is


def thumbnail(image: pd.Series, folder: Path) -> str:
    """Return the `image` of a split as a data URI; raises UserError as read_unchanged does."""
    return as_uri(decode(read_unchanged(folder / image["path"], image["sha256"])))


def overlay(pixels: np.ndarray, heat: np.ndarray, side: int = SIDE) -> str:
    """Return `pixels`, (height, width, 3) uint8 RGB, under a heat map of any shape, from 0 to 1."""
    height, width = pixels.shape[:2]
    enlarged = Image.fromarray(heat).resize((width, height), Image.Resampling.BILINEAR)
    enlarged = np.asarray(enlarged)[..., np.newaxis]
    colors = 255 * COLORS(enlarged[..., 0])[..., :3]
    mixed = pixels + OPACITY * enlarged * (colors - pixels)
    return as_uri(Image.fromarray(np.rint(mixed).astype("uint8")), side)


def as_uri(image: Image.Image, side: int = SIDE) -> str:
    """Return `image`, in mode RGB, as a JPEG of at most `side` × `side` pixels."""
    image.thumbnail((side, side))
    image.info.clear()  # a comment would be saved with it
    buffer = BytesIO()
    image.save(buffer, format="JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
