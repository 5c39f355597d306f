"""Store what augmented training and fine-tuning need of the frozen part of the network.

Each training image is drawn in augmentation.views versions, and one pass of the base gives both

    features.npy     (views, n, height, width, channels), the conv-base output: VGG16 at 150
                     pixels (views, n, 4, 4, 512)
    activations.npy  the same at fine_tune.freeze_through: (views, n, 9, 9, 512)

Validation and test images are never augmented: {validation,test}_activations.npy, (n, 9, 9, 512).
Rows and dtype as in extract_features.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from stages.shared import conv_base
from stages.shared.arrays import array_file
from stages.shared.augmentation import Augmentation, draw_warp, warp_images
from stages.shared.extraction import Extraction, store_outputs
from stages.shared.freeze_point import FreezePoint, check_cut
from stages.shared.images import read_blocks
from stages.shared.parameters import read_parameters
from stages.shared.splits import read_split


class Parameters(Extraction):
    augmentation: Augmentation
    fine_tune: FreezePoint


def main(images: Path, splits: Path, weights: Path, views: Path) -> None:
    parameters = read_parameters(Parameters)
    base = conv_base.load(parameters.conv_base, parameters.image_size, weights)
    through = parameters.fine_tune.layer(parameters.conv_base.name)
    check_cut(base, through, parameters.conv_base.name)
    below = keras.Model(base.inputs, base.get_layer(through).output)

    model = keras.Model(base.inputs, [below.output, base.output])
    files = [views / "activations.npy", views / "features.npy"]
    store_views(model, read_split(splits / "train.csv"), images, parameters, files)
    for name in ("validation", "test"):
        file = views / f"{name}_activations.npy"
        store_outputs(below, read_split(splits / f"{name}.csv"), images, parameters, file)


def store_views(
    model: keras.Model, split: pd.DataFrame, images: Path, parameters: Parameters, files: list[Path]
) -> None:
    """Write each of `model`'s two outputs, for every view of every image of `split`, to its file."""
    augmentation, dtype = parameters.augmentation, parameters.conv_base.stores_in
    shapes = [(augmentation.views, len(split), *output.shape[1:]) for output in model.outputs]
    run = conv_base.forward(model)
    with (
        tqdm(total=augmentation.views * len(split), unit="view", desc="views") as progress,
        array_file(files[0], shapes[0], dtype) as activations,
        array_file(files[1], shapes[1], dtype) as features,
    ):
        for rows, pixels in read_blocks(split, images, parameters.image_size, parameters.interpolation):
            digests = split["sha256"].iloc[rows].tolist()
            padded = digests + digests[-1:] * (len(pixels) - len(digests))
            for view in range(augmentation.views):
                warps = [draw_warp(augmentation, view, digest, parameters.image_size) for digest in padded]
                outputs = run(warp_images(pixels, np.stack(warps), augmentation.fill))
                activations[view, rows] = outputs[0][: len(digests)].numpy()
                features[view, rows] = outputs[1][: len(digests)].numpy()
                progress.update(len(digests))
    for file, shape in zip(files, shapes):
        print(f"{file}: {shape} {dtype}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
