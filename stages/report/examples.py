"""Images to show on the page: samples, errors, and where the fine-tuned model looked."""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.shared.images.decoding import decode
from stages.shared.images.fit import resize
from stages.shared.images.opening import opened
from stages.shared.images.reading import read_unchanged
from stages.shared.network.model_file import Classifier
from stages.shared.reporting import sentences
from stages.shared.reporting.grad_cam import grad_cam
from stages.shared.reporting.thumbnails import SIDE, as_uri, on_image, overlay, thumbnail

SAMPLES = 60  # sample images, over all classes
SHOWN = 6  # images of each kind


def choose_samples(train: pd.DataFrame, folder: Path, white_16_bit: int) -> dict[str, list[dict]]:
    """Return some images of each class, as many of each, in the order of their SHA-256: no one's choice."""
    classes = train["label"].nunique()
    each = min(max(SAMPLES // classes, 1), 5)
    chosen = train.sort_values(["sha256", "path"]).groupby("class_index").head(each)
    chosen = chosen.sort_values("class_index", kind="stable").head(SAMPLES)
    return {
        str(label): [
            {"path": image["path"], "uri": thumbnail(image, folder, white_16_bit)}
            for _, image in images.iterrows()
        ]
        for label, images in chosen.groupby("label", sort=False)
    }


def show(images: pd.DataFrame, folder: Path, white_16_bit: int) -> list[dict]:
    """Return the rows of `images` with their thumbnails."""
    return [{**image, "uri": thumbnail(image, folder, white_16_bit)} for _, image in images.iterrows()]


def look(
    classifier: Classifier, images: pd.DataFrame, folder: Path
) -> tuple[dict[str, list[dict]], tuple[int, ...]]:
    """Return wrong and right images with heat maps, and the size of the maps in cells.

    The surest of each true class in turn, with a map of the predicted class and, where that is
    wrong, one of the true class.
    """
    heat_map, cells = grad_cam(classifier.network), ()
    image_input = classifier.image_input
    looks: dict[str, list[dict]] = {"wrong": [], "right": []}
    for kind, chosen in (("wrong", ~images["right"]), ("right", images["right"])):
        surest = images[chosen].sort_values(["confidence", "path"], ascending=[False, True])
        in_turn = surest.groupby("class_index").cumcount().sort_values(kind="stable").index[:SHOWN]
        for _, image in surest.loc[in_turn].iterrows():
            with opened(read_unchanged(folder / image["path"], image["sha256"])) as file:
                picture = decode(file, image_input.white_16_bit)
                pixels = resize(picture, image_input)
                picture.thumbnail((SIDE, SIDE))
                picture = picture.copy()
            heats = []
            for name in dict.fromkeys((image["predicted"], image["label"])):
                heat = heat_map(pixels, classifier.class_names.index(name))
                cells = heat.shape
                placed = on_image(heat, *picture.size, image_input)
                place = sentences.describe_place(placed)
                heats.append({"name": name, "place": place, "uri": overlay(np.asarray(picture), placed)})
            looks[kind].append({**image, "uri": as_uri(picture), "heats": heats})
    return looks, cells
