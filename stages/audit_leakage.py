"""Find near-duplicates between the splits: they make a model look better than it is.

Test images are looked for among training and validation images, and validation images among
training images. A row of the table is an image with the closest of its near-duplicates in one other
split: however often a photo was stored, each image that has a near-duplicate counts once.
"""

import json
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import BaseModel

from stages.shared.command import run
from stages.shared.files import keep, whole
from stages.shared.images import ImagesFolder, decode, read_unchanged
from stages.shared.near_duplicates import Images, Leakage, find_closest, read_directions
from stages.shared.parameters import read_parameters
from stages.shared.splits import SPLITS, read_split

COMPARED = (("test", "train"), ("test", "validation"), ("validation", "train"))
IMAGE = ["split", "path", "label", "sha256"]
SHOWN = 12  # pairs in the picture
PAIRS_A_LINE = 3
PIXELS = 300  # of an image there


class Parameters(BaseModel):
    data: ImagesFolder
    leakage: Leakage


def main(
    split_folder: Path, features: Path, near_duplicates: Path, metrics: Path, picture: Path, record: Path
) -> None:
    parameters = read_parameters(Parameters)
    folder = Path(parameters.data.images)
    splits = {name: read_split(split_folder / f"{name}.csv").assign(split=name)[IMAGE] for name in SPLITS}
    directions = read_directions(features, splits)
    images = {name: Images(splits[name], directions[name], folder) for name in SPLITS}
    tables, counts = [], {}
    for split, other in COMPARED:
        found = find_closest(images[split], images[other], parameters.leakage, f"{split} in {other}")
        tables.append(name_images(found, splits[split], splits[other]))
        counts[f"{split}_in_{other}"] = len(found)
    pairs = pd.concat(tables).sort_values(["cosine_similarity", "path"], ascending=[False, True])
    test_images = pairs.loc[pairs["split"] == "test", "path"].nunique()

    with whole(near_duplicates) as file:
        pairs.drop(columns=["sha256", "other_sha256"]).to_csv(file, index=False)
    report = {"near_duplicates": len(pairs), **counts, "test_images": test_images}
    with whole(metrics) as file:
        file.write_text(json.dumps(report, indent=2) + "\n")
    draw(pairs, folder, picture)
    keep(record, metrics)
    print(
        f"{near_duplicates}, {metrics}, {picture}: {len(pairs)} near-duplicates; {test_images} of "
        f"{len(splits['test'])} test images have one in train or validation"
    )


def name_images(found: pd.DataFrame, split: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Return `found`, by find_closest, with what is in IMAGE of both images in place of their rows."""
    images = split.iloc[found["row"]].reset_index(drop=True)
    others = other.iloc[found["other_row"]].reset_index(drop=True).add_prefix("other_")
    return pd.concat([images, others, found[["cosine_similarity", "differing_bits"]]], axis=1)


def draw(pairs: pd.DataFrame, folder: Path, picture: Path) -> None:
    """Draw `pairs`, the most similar first, side by side; of many the first and the last ones."""
    title, shown = f"Near-duplicates between the splits: {len(pairs)}", pairs
    if len(pairs) > SHOWN:
        half = SHOWN // 2
        title += f", of which the {half} most and the {half} least similar"
        shown = pd.concat([pairs.head(half), pairs.tail(half)])
    lines = max(1, -(-len(shown) // PAIRS_A_LINE))
    figure = Figure(figsize=(4.6 * PAIRS_A_LINE, 0.5 + 3 * lines), layout="constrained")
    figure.suptitle(title)
    places = figure.subfigures(lines, PAIRS_A_LINE, wspace=0.05, squeeze=False)
    for place, (_, pair) in zip(places.flat, shown.iterrows()):
        left, right = place.subplots(1, 2)
        other = pair.filter(like="other_").rename(lambda name: name.removeprefix("other_"))
        show(left, pair, folder, f"cosine similarity {pair['cosine_similarity']:.4f}")
        show(right, other, folder, f"{pair['differing_bits']} of 64 bits differ")
    with whole(picture) as file:
        figure.savefig(file, dpi=100)


def show(axes: Axes, image: pd.Series, folder: Path, note: str) -> None:
    """Draw `image`, with the columns IMAGE, under its split, label and name."""
    pixels = decode(read_unchanged(folder / image["path"], image["sha256"]))
    pixels.thumbnail((PIXELS, PIXELS))
    axes.imshow(pixels)
    axes.set_axis_off()
    label, name = (text if len(text) <= 30 else f"…{text[-29:]}" for text in (image["label"], image["path"]))
    title = f"{image['split']}: {label}\n{name}\n{note}"
    axes.set_title(title, fontsize=8, parse_math=False)  # names may have dollar signs


if __name__ == "__main__":
    run(main)
