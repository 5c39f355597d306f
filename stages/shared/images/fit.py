"""Images as squares, as a network takes them."""

import numpy as np
from PIL import Image

from stages.shared.pipeline.image_input import ImageInput

Box = tuple[float, float, float, float]  # left, upper, right, lower


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
