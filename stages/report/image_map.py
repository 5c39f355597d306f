"""The map of the images as the page draws it: points by class, marks, names of classes, and what is said of an image."""

import base64
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy.spatial import KDTree

from stages.shared.pipeline.damage import damaged
from stages.shared.pipeline.json_and_csv import MAP, NEAR_DUPLICATES, SUSPECTS, read_table
from stages.shared.pipeline.splits import SHARD_COLUMNS
from stages.shared.reporting.image_map import describe_image, describe_map, name_marks

UNITS = 1000  # of the drawing, across and down
COLORS = 8
SHAPES = (  # each of about the same area
    "M-1.13 0a1.13 1.13 0 1 0 2.26 0a1.13 1.13 0 1 0-2.26 0z",  # a disc
    "M0-1.6l1.55 2.6h-3.1z",  # a triangle
    "M-1-1h2v2h-2z",  # a square
    "M-1.4-.55h.85v-.85h1.1v.85h.85v1.1h-.85v.85h-1.1v-.85h-.85z",  # a cross
    "M0-1.5l1.5 1.5l-1.5 1.5l-1.5-1.5z",  # a rhombus
)
CLASSES = 40  # that get a look of their own: as COLORS and len(SHAPES) have no common divisor, each gets another pair
LARGEST, SMALLEST = 7, 2.8  # units: half of a point's height
LETTERS, LETTER, LINE = 20, 16, 34  # of a class's name at most; units that one takes across and down
NEAR = 0.06  # of the width: as far around a place its class is counted
NEIGHBOURS = 5


def draw_map(
    image_map: Path,
    suspects: Path,
    near_duplicates: Path,
    errors: pd.DataFrame,
    class_names: list[str],
    images: int,
) -> dict[str, Any]:
    """Return what the page shows of the map: its sentences, points, marks, names and thumbnails.

    `errors` are the rows of read_predictions that are wrong, and `images` counts those of all splits. Raises UserError
    where a file is damaged.
    """
    points = read_places(image_map / "places.csv", class_names)
    likely_wrong = read_table(suspects, SUSPECTS, SHARD_COLUMNS).set_index("path")["suggested"]
    pairs = read_table(near_duplicates, NEAR_DUPLICATES)[["path", "other_path"]]
    mistaken = errors.set_index("path")["predicted"]
    both_ways = pd.concat([pairs, pairs.set_axis(["other_path", "path"], axis=1)])
    twins = both_ways.drop_duplicates("path").set_index("path")["other_path"]
    for column, found in (("suggested", likely_wrong), ("predicted", mistaken), ("twin", twins)):
        points[column] = points["path"].map(found.to_dict())
    points = points.replace({np.nan: None})
    points["said"] = [describe_image(point) for point in points.to_dict("records")]
    size = round(float(np.clip(150 / np.sqrt(len(points)), SMALLEST, LARGEST)), 2)
    points[["across", "down"]] = (points[["x", "y"]] * UNITS / size).round(1)
    lines = join(pairs, points)
    return {
        "said": describe_map(len(points), images, *count_neighbours(points, class_names)),
        "marks": name_marks(
            suspects=(int(points["suggested"].count()), len(likely_wrong)),
            errors=(int(points["predicted"].count()), len(mistaken)),
            near_duplicates=(len(lines), len(pairs)),
        ),
        "points": points.to_dict("records"),
        "spots": in_columns(points).to_dict("records"),
        "lines": lines.to_dict("records"),
        "classes": name_classes(points, class_names),
        "others": int((points["look"] < 0).sum()),
        "shapes": SHAPES,
        "colors": COLORS,
        "units": UNITS,
        "size": size,
        "sheets": read_sheets(image_map / "thumbnails", int(points["sheet"].max()) + 1),
    }


def read_places(file: Path, class_names: list[str]) -> pd.DataFrame:
    """Return the images on the map, with `look`, the index of their class, or -1 beyond the CLASSES largest."""
    points = read_table(file, MAP)
    places = points[["x", "y"]].to_numpy()
    if not len(points) or not ((places >= 0) & (places <= 1)).all():
        raise damaged(file, "it has a place that is not on the map")
    largest = points["label"].value_counts().reindex(class_names, fill_value=0)
    largest = largest.sort_values(ascending=False, kind="stable").index[:CLASSES]
    looks = {name: index for index, name in enumerate(name for name in class_names if name in largest)}
    points["look"] = points["label"].map(looks).fillna(-1).astype(int)
    return points


def read_sheets(folder: Path, number: int) -> list[str]:
    """Return the first `number` sheets of thumbnails as data URIs; raises UserError where one is no image."""
    uris = []
    for file in (folder / f"{sheet}.webp" for sheet in range(number)):
        try:
            with Image.open(file, formats=["WEBP"]) as sheet:
                sheet.load()
        except (OSError, ValueError) as error:
            raise damaged(file, f"it is no WebP image ({error})") from None
        uris.append(f"data:image/webp;base64,{base64.b64encode(file.read_bytes()).decode()}")
    return uris


def join(pairs: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """Return both ends of each of `pairs` of which both images are on the map: across, down, look, other_across etc."""
    ends = points[["path", "across", "down", "look"]]
    return pairs.merge(ends, on="path").merge(ends.add_prefix("other_"), on="other_path")


def in_columns(points: pd.DataFrame) -> pd.DataFrame:
    """Return `points` column by column of the map, each from its top, so that one leads to the next beside it."""
    return points.assign(strip=(points["x"] / NEAR).astype(int)).sort_values(["strip", "y", "path"])


def count_neighbours(points: pd.DataFrame, class_names: list[str]) -> tuple[float, float, str, float]:
    """Return what share of an image's neighbours on the map have its label, and would if all lay at random.

    And the class of whose images the share is least, with that share.
    """
    labels, places = points["label"].to_numpy(), points[["x", "y"]].to_numpy()
    number = min(NEIGHBOURS, len(points) - 1)
    nearest = KDTree(places).query(places, number + 1)[1]
    others = nearest != np.arange(len(points))[:, np.newaxis]
    others[:, -1] &= ~others.all(axis=1)  # of so many in one place that it is not among them itself
    own = ((labels[nearest] == labels[:, np.newaxis]) & others).sum(axis=1) / number
    sizes = points["label"].value_counts()
    chance = (sizes * (sizes - 1)).sum() / (len(points) * (len(points) - 1))
    of_class = pd.Series(own).groupby(labels).mean()
    of_class = of_class.reindex([name for name in class_names if name in of_class])
    return float(own.mean()), float(chance), str(of_class.idxmin()), float(of_class.min())


def name_classes(points: pd.DataFrame, class_names: list[str]) -> list[dict]:
    """Return name, look and size of each class that has a look; with x and y of its name on the map, if there is room.

    A name stands where most images around are of its class, and where no name of a larger class stands.
    """
    everything = KDTree(points[["x", "y"]].to_numpy())
    named, boxes = [], np.empty((0, 4))
    sizes = points.loc[points["look"] >= 0, "label"].value_counts()
    for name in sorted(sizes.index, key=lambda name: (-sizes[name], class_names.index(name))):
        own = points[points["label"] == name]
        places = own[["x", "y"]].to_numpy()
        around = KDTree(places).query_ball_point(places, NEAR, return_length=True)
        share = around / everything.query_ball_point(places, NEAR, return_length=True)
        best = np.argsort(-around * share, kind="stable")[: -(-len(own) // 2)]
        shown = name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…"
        half = np.array([len(shown) * LETTER, LINE]) / 2
        middles = np.clip(UNITS * places[best], half, UNITS - half)
        candidates = np.hstack([middles - half, middles + half])
        apart = [not overlaps(box, boxes) for box in candidates]
        class_ = {"name": name, "look": int(own["look"].iloc[0]), "images": len(own)}
        if any(apart):
            first = apart.index(True)
            boxes = np.vstack([boxes, candidates[first]])
            x, y = middles[first].round().astype(int).tolist()
            class_ |= {"shown": shown, "x": x, "y": y}
        named.append(class_)
    return sorted(named, key=itemgetter("look"))


def overlaps(box: np.ndarray, boxes: np.ndarray) -> bool:
    """Return whether `box`, (left, upper, right, lower), overlaps one of `boxes`, (n, 4)."""
    return bool(((box[:2] < boxes[:, 2:]) & (boxes[:, :2] < box[2:])).all(axis=1).any())
