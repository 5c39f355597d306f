"""Compute where the fine-tuned model looks: heat maps of test images that it got wrong, and right."""

from pathlib import Path

import keras
import numpy as np
import pandas as pd

from stages.explain.grad_cam import grad_cam
from stages.shared.evaluation.predictions import read_predictions
from stages.shared.images.image_folder import ImagesFolder, open_folder
from stages.shared.images.reading import read_pixels
from stages.shared.network import environment, model_file
from stages.shared.pipeline.arrays import array_file
from stages.shared.pipeline.command import run
from stages.shared.pipeline.files import atomic_write
from stages.shared.pipeline.parameters import Sections, read_parameters
from stages.shared.pipeline.splits import read_split

SHOWN = 6  # images of each kind


class Parameters(Sections):
    data: ImagesFolder


def main(*, test_split: Path, predictions: Path, fine_tuned: Path, heat_maps: Path) -> list[keras.Model]:
    """Write the heat maps and return the network that ran.

    A map is of the class that the image is taken for and, where that is wrong, one of its true class.

    Reads:  the test split and what the model predicts for it (.csv), the images, the fine-tuned model (.keras)
    Writes: heat_maps/classes.csv, with image and class in a row a map, and heat_maps/maps.npy,
            (n, height, width) float32 from 0 to 1, in the cells of the last feature maps
    """
    folder = open_folder(read_parameters(Parameters).data.images)
    images, _ = read_predictions(predictions, read_split(test_split))
    classifier = model_file.load(fine_tuned)
    heat_map = grad_cam(classifier.network)
    classes, maps = [], []
    for _, image in choose(images).iterrows():
        pixels = read_pixels(folder, image, classifier.image_input)
        for name in dict.fromkeys((image["predicted"], image["label"])):
            classes.append({"path": image["path"], "class": name})
            maps.append(heat_map(pixels, classifier.class_names.index(name)))
    with atomic_write(heat_maps / "classes.csv") as file:
        pd.DataFrame(classes).to_csv(file, index=False)
    with array_file(heat_maps / "maps.npy", (len(maps),), maps[0].shape, "float32") as array:
        array.write(range(len(maps)), np.stack(maps))
    print(f"{heat_maps}: {len(maps)} heat maps")
    return [classifier.network]


def choose(images: pd.DataFrame) -> pd.DataFrame:
    """Return some wrong and then some right images, the surest of each true class in turn."""
    surest = images.sort_values(["confidence", "path"], ascending=[False, True])
    in_turn = surest.assign(turn=surest.groupby(["right", "class_index"]).cumcount())
    in_turn = in_turn.sort_values(["right", "turn"], kind="stable")
    return in_turn.groupby("right").head(SHOWN).drop(columns="turn")


if __name__ == "__main__":
    run(main, environment=environment.record)
