"""Small images for a page, encoded anew so that nothing else of the user's files gets into it."""

import base64
from io import BytesIO

import pandas as pd
from PIL import Image

from stages.shared.images.decoding import decode
from stages.shared.images.image_folder import ImageFolder
from stages.shared.images.opening import opened
from stages.shared.images.reading import read_unchanged

SIDE = 200  # pixels


def thumbnail(image: pd.Series, folder: ImageFolder, white_16_bit: int) -> str:
    """Return the `image` of a split as a data URI; raises UserError as read_unchanged does."""
    with opened(read_unchanged(folder, image)) as file:
        return as_uri(decode(file, white_16_bit))


def as_uri(image: Image.Image, side: int = SIDE) -> str:
    """Return `image`, in mode RGB, as a JPEG of at most `side` × `side` pixels."""
    image.thumbnail((side, side))
    image.info.clear()  # a comment would be saved with it
    buffer = BytesIO()
    image.save(buffer, format="JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
