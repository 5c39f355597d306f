"""Lay the images out on a plane, those that look alike to the conv base beside each other, and keep a small picture of each."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from stages.map_images.places import choose, lay_out
from stages.map_images.sheets import arrange, make_thumbnail, save
from stages.shared.images.image_folder import ImagesFolder, open_folder
from stages.shared.pipeline.averages import average_features
from stages.shared.pipeline.command import run
from stages.shared.pipeline.files import atomic_write
from stages.shared.pipeline.image_input import White16Bit
from stages.shared.pipeline.json_and_csv import MAP
from stages.shared.pipeline.parameters import Sections, read_parameters
from stages.shared.pipeline.splits import SPLITS, read_split


class Parameters(Sections):
    data: ImagesFolder
    white_16_bit: White16Bit


def main(*, splits: Path, features: Path, places: Path, thumbnails: Path) -> None:
    """Draw the map.

    Reads:  splits/{train,validation,test}.csv, the images that they name, and
            features/{train,validation,test}.npy, each (n, height, width, channels)
    Writes: places (.csv): where an image is on the map, x and y from 0 to 1, and its cell in the thumbnails;
            thumbnails/{0,1,…}.webp: sheets of square cells
    """
    parameters = read_parameters(Parameters)
    folder = open_folder(parameters.data.images)
    tables = {name: read_split(splits / f"{name}.csv").assign(split=name) for name in SPLITS}
    images = pd.concat(tables.values(), ignore_index=True)
    chosen = choose(images)
    vectors = np.concatenate(list(average_features(features, tables).values()))[chosen]
    shown = images.iloc[chosen].reset_index(drop=True)
    with ThreadPoolExecutor(folder.readers) as pool:  # decodes the images while one core lays them out
        pictures = pool.map(
            partial(make_thumbnail, folder, parameters.white_16_bit), shown.to_dict("records")
        )
        shown[["x", "y"]] = lay_out(vectors).round(4)
        shown[["sheet", "column", "row"]] = arrange(len(shown))
        save(pictures, shown, thumbnails)
    with atomic_write(places) as file:
        shown[list(MAP)].to_csv(file, index=False)
    print(f"{places}, {thumbnails}: {len(shown)} of {len(images)} images")


if __name__ == "__main__":
    run(main)
