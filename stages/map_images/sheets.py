"""Thumbnails of many images in few pictures, encoded anew so that nothing else of the user's files gets into it."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from stages.shared.images.decoding import decode
from stages.shared.images.image_folder import ImageFolder
from stages.shared.images.opening import opened
from stages.shared.images.reading import read_unchanged
from stages.shared.pipeline.files import atomic_write

SIDE = 64  # pixels of a cell, a multiple of WebP's blocks, so that a cell shows nothing of its neighbours
COLUMNS, ROWS = 16, 32  # of a sheet: some browsers take no data URI above 2 MB
AROUND = (128, 128, 128)  # an image that is no square
QUALITY = 50


def make_thumbnail(folder: ImageFolder, white_16_bit: int, image: dict) -> Image.Image:
    """Return an image of a split in SIDE × SIDE pixels at most, in mode RGB; raises UserError as read_unchanged does."""
    with opened(read_unchanged(folder, image)) as file:
        file.draft(None, (2 * SIDE, 2 * SIDE))  # of a JPEG an eighth of its size, where that is enough
        picture = decode(file, white_16_bit)
        picture.thumbnail((SIDE, SIDE))
        return picture.copy()


def arrange(images: int) -> np.ndarray:
    """Return sheet, column and row of the cell of each of so many images, (n, 3) int64."""
    rows, columns = np.divmod(np.arange(images), COLUMNS)
    sheets, rows = np.divmod(rows, ROWS)
    return np.stack([sheets, columns, rows], axis=1)


def save(pictures: Iterable[Image.Image], cells: pd.DataFrame, folder: Path) -> None:
    """Write `pictures` into sheets, folder/0.webp and so on, each into the middle of its cell, as `arrange` gives them."""
    remaining = iter(pictures)
    for sheet, of_sheet in cells.groupby("sheet"):
        whole = Image.new("RGB", (SIDE * COLUMNS, SIDE * (of_sheet["row"].max() + 1)), AROUND)
        for column, row in of_sheet[["column", "row"]].itertuples(index=False):
            picture = next(remaining)
            left, upper = ((SIDE - length) // 2 for length in picture.size)
            whole.paste(picture, (SIDE * column + left, SIDE * row + upper))
        with atomic_write(folder / f"{sheet}.webp") as file:
            whole.save(file, format="WEBP", quality=QUALITY)
