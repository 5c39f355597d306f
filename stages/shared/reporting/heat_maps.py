"""Where a heat map lies on its image, as a picture and in words."""

import matplotlib
import numpy as np
from PIL import Image

from stages.shared.images.fit import place
from stages.shared.pipeline.image_input import ImageInput
from stages.shared.reporting.thumbnails import SIDE, as_uri

COLORS = matplotlib.colormaps["inferno"]
OPACITY = 0.7  # of the heat map where it is 1; where it is 0 the image shows as it is


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


def describe_place(heat: np.ndarray) -> str:
    """Return where in an image a heat map is strongest."""
    if not heat.any():
        return "nothing in the image speaks for it"
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    vertical = ("upper", "middle", "lower")[int(3 * (row + 0.5) / heat.shape[0])]
    horizontal = ("left", "centre", "right")[int(3 * (column + 0.5) / heat.shape[1])]
    place = f"{vertical} {horizontal}" if (vertical, horizontal) != ("middle", "centre") else horizontal
    return f"strongest at the {place}"
