"""Run a split's images through a model, once each, and store what comes out."""

from pathlib import Path

import keras
import pandas as pd
from pydantic import BaseModel
from tqdm import tqdm

from stages.shared import conv_base
from stages.shared.arrays import array_file
from stages.shared.conv_base import ConvBase, ImageSize
from stages.shared.images import Interpolation, read_blocks


class Extraction(BaseModel):
    """The parameters that say what goes into a conv base, and how it computes."""

    image_size: ImageSize
    interpolation: Interpolation
    conv_base: ConvBase


def store_outputs(
    model: keras.Model, split: pd.DataFrame, images: Path, parameters: Extraction, file: Path
) -> None:
    """Write `model`'s output for each image of `split` to `file`, an array (n, …) in the split's order."""
    shape = (len(split), *model.output.shape[1:])
    run = conv_base.forward(model)
    with (
        tqdm(total=len(split), unit="image", desc=file.stem) as progress,
        array_file(file, shape, parameters.conv_base.stores_in) as stored,
    ):
        for rows, pixels in read_blocks(split, images, parameters.image_size, parameters.interpolation):
            count = rows.stop - rows.start
            stored[rows] = run(pixels)[:count].numpy()
            progress.update(count)
    print(f"{file}: {shape} {parameters.conv_base.stores_in}")
