"""Images to show on the page: samples, errors, and where the fine-tuned model looked."""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.shared.images.decoding import decode
from stages.shared.images.image_folder import ImageFolder
from stages.shared.images.opening import opened
from stages.shared.images.reading import read_unchanged
from stages.shared.pipeline.arrays import StoredArray, open_array
from stages.shared.pipeline.damage import damaged
from stages.shared.pipeline.image_input import ImageInput
from stages.shared.pipeline.json_and_csv import HEAT_MAPS, SUSPECTS, read_table
from stages.shared.pipeline.splits import SHARD_COLUMNS
from stages.shared.reporting.heat_maps import describe_place, on_image, overlay
from stages.shared.reporting.thumbnails import SIDE, as_uri, thumbnail

SAMPLES = 60  # sample images, over all classes
SHOWN = 6  # images of each kind
SUSPECTS_SHOWN = 12


def choose_samples(train: pd.DataFrame, folder: ImageFolder, white_16_bit: int) -> dict[str, list[dict]]:
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


def show(images: pd.DataFrame, folder: ImageFolder, white_16_bit: int) -> list[dict]:
    """Return the rows of `images` with their thumbnails."""
    return [{**image, "uri": thumbnail(image, folder, white_16_bit)} for _, image in images.iterrows()]


def show_suspects(suspects: Path, folder: ImageFolder, white_16_bit: int) -> list[dict]:
    """Return the images whose labels are likeliest wrong, with their thumbnails; raises as read_unchanged does."""
    return show(read_table(suspects, SUSPECTS, SHARD_COLUMNS).head(SUSPECTS_SHOWN), folder, white_16_bit)


def look(
    images: pd.DataFrame, heat_maps: Path, folder: ImageFolder, image_input: ImageInput
) -> tuple[dict[str, list[dict]], tuple[int, ...]]:
    """Return the wrong and right `images` that have heat maps, with them, and the size of the maps in cells."""
    table = read_table(heat_maps / "classes.csv", HEAT_MAPS)
    cells = open_array(heat_maps / "maps.npy").shape[1:]
    maps = StoredArray(heat_maps / "maps.npy", len(table), cells).read(0, range(len(table)))
    found = table.merge(images, on="path")
    if len(found) < len(table):
        raise damaged(heat_maps / "classes.csv", "its rows are not those of the test split")
    looks: dict[str, list[dict]] = {"wrong": [], "right": []}
    for _, rows in found.groupby("path", sort=False):
        image = rows.iloc[0]
        with opened(read_unchanged(folder, image)) as file:
            picture = decode(file, image_input.white_16_bit)
            picture.thumbnail((SIDE, SIDE))
            picture = picture.copy()
        heats = []
        for heat, name in zip(maps[rows.index], rows["class"], strict=True):
            placed = on_image(heat, *picture.size, image_input)
            place = describe_place(placed)
            heats.append({"name": name, "place": place, "uri": overlay(np.asarray(picture), placed)})
        looks["right" if image["right"] else "wrong"].append(
            {**image, "uri": as_uri(picture), "heats": heats}
        )
    return looks, cells
