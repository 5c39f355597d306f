"""Run a split's images through a model, once each, and store what comes out."""

from collections.abc import Callable
from contextlib import ExitStack
from math import prod
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from pydantic import BaseModel, Field
from tqdm import tqdm

from stages.shared import conv_base
from stages.shared.arrays import array_file
from stages.shared.conv_base import ConvBase, ImageSize
from stages.shared.images import Interpolation, read_blocks


class Extraction(BaseModel):
    """The parameters that say what goes into a conv base, and how it computes."""

    image_size: ImageSize
    interpolation: Interpolation = Field(description="bilinear or nearest")
    conv_base: ConvBase


View = Callable[[np.ndarray, list[str]], np.ndarray]
"""Pixels (n, size, size, 3) uint8 and the images' SHA-256s to as many augmented images, float32."""


def as_it_is(pixels: np.ndarray, digests: list[str]) -> np.ndarray:
    return pixels


def store_outputs(
    model: keras.Model,
    split: pd.DataFrame,
    images: Path,
    parameters: Extraction,
    files: list[Path],
    views: list[View] | None = None,
) -> None:
    """Write each of `model`'s outputs for every image of `split` to one of `files`.

    The arrays are (n, …) in the split's order, or (views, n, …) where `views` are given.
    """
    dtype = parameters.conv_base.stores_in
    run = conv_base.forward(model)
    leading = (len(split),) if views is None else (len(views), len(split))
    with ExitStack() as stack:
        shapes = [(*leading, *output.shape[1:]) for output in model.outputs]
        arrays = [stack.enter_context(array_file(file, shape, dtype)) for file, shape in zip(files, shapes)]
        name = files[0].relative_to(files[0].parents[1]).with_suffix("")
        progress = stack.enter_context(tqdm(total=prod(leading), unit="image", desc=str(name), mininterval=1))
        for rows, pixels in read_blocks(split, images, parameters.image_size, parameters.interpolation):
            digests = split["sha256"].iloc[rows].tolist()
            padded = digests + digests[-1:] * (len(pixels) - len(digests))
            for index, view in enumerate(views or [as_it_is]):
                for array, output in zip(arrays, run(view(pixels, padded))):
                    array[(index, rows) if views else rows] = output[: len(digests)].numpy()
                progress.update(len(digests))
    for file, shape in zip(files, shapes):
        print(f"{file}: {shape} {dtype}")
