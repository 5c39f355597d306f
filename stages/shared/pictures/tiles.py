"""One image of a picture that holds many, under what is said of it."""

import pandas as pd
from matplotlib.axes import Axes
from PIL import Image

from stages.shared.images.decoding import decode
from stages.shared.images.image_folder import ImageFolder
from stages.shared.images.opening import opened
from stages.shared.images.reading import read_unchanged

PIXELS = 300  # of an image


def read(image: pd.Series, folder: ImageFolder, white_16_bit: int) -> Image.Image:
    """Return `image`, a row of a split, in PIXELS at most; raises as read_unchanged does."""
    with opened(read_unchanged(folder, image)) as file:
        pixels = decode(file, white_16_bit)
        pixels.thumbnail((PIXELS, PIXELS))
        return pixels.copy()


def show(axes: Axes, image: pd.Series, pixels: Image.Image, note: str) -> None:
    """Draw the `pixels` of `image` under its split, label and name, and a `note`."""
    axes.imshow(pixels)
    axes.set_axis_off()
    title = f"{image['split']}: {shortened(image['label'])}\n{shortened(image['path'])}\n{note}"
    axes.set_title(title, fontsize=8, parse_math=False)  # names may have dollar signs


def shortened(text: str) -> str:
    """Return the end of `text`, as long as there is room for over an image."""
    return text if len(text) <= 30 else f"…{text[-29:]}"
