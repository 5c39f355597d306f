"""Find near-duplicates between the splits: they make a model look better than it is.

Test images are looked for among training and validation images, and validation images among
training images. A row of the table is an image with the closest of its near-duplicates in one other
split: however often a photo was stored, each image that has a near-duplicate counts once.
"""

from pathlib import Path

import pandas as pd

from stages.audit_leakage.near_duplicates import Images, Leakage, find_closest, read_directions
from stages.audit_leakage.picture import draw
from stages.shared.images.image_folder import ImagesFolder, open_folder
from stages.shared.pipeline.command import run
from stages.shared.pipeline.files import atomic_write, write_json
from stages.shared.pipeline.image_input import White16Bit
from stages.shared.pipeline.json_and_csv import NEAR_DUPLICATES
from stages.shared.pipeline.parameters import Sections, read_parameters
from stages.shared.pipeline.splits import SPLITS, read_split

COMPARED = (("test", "train"), ("test", "validation"), ("validation", "train"))
SIMILAR = ["cosine_similarity", "differing_bits"]


class Parameters(Sections):
    data: ImagesFolder
    white_16_bit: White16Bit
    leakage: Leakage


def main(*, splits: Path, features: Path, near_duplicates: Path, metrics: Path, picture: Path) -> None:
    """Compare the splits.

    Reads:  splits/{train,validation,test}.csv, the images that they name, and
            features/{train,validation,test}.npy, each (n, height, width, channels)
    Writes: near_duplicates (.csv), metrics (.json), picture (.png)
    """
    parameters = read_parameters(Parameters)
    folder, white = open_folder(parameters.data.images), parameters.white_16_bit
    tables = {name: read_split(splits / f"{name}.csv").assign(split=name) for name in SPLITS}
    directions = read_directions(features, tables)
    images = {name: Images(tables[name], directions[name], folder, white) for name in SPLITS}
    found, counts = [], {}
    for split, other in COMPARED:
        closest = find_closest(images[split], images[other], parameters.leakage, f"{split} in {other}")
        found.append(name_images(closest, tables[split], tables[other]))
        counts[f"{split}_in_{other}"] = len(closest)
    pairs = pd.concat(found).sort_values(["cosine_similarity", "path"], ascending=[False, True])
    test_images = pairs.loc[pairs["split"] == "test", "path"].nunique()

    with atomic_write(near_duplicates) as file:
        pairs[[*NEAR_DUPLICATES, *SIMILAR]].to_csv(file, index=False)
    write_json(metrics, {"near_duplicates": len(pairs), **counts, "test_images": test_images})
    draw(pairs, folder, white, picture)
    print(
        f"{near_duplicates}, {metrics}, {picture}: {len(pairs)} near-duplicates; {test_images} of "
        f"{len(tables['test'])} test images have one in train or validation"
    )


def name_images(found: pd.DataFrame, split: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Return `found`, by find_closest, with both images as their splits have them in place of their rows."""
    images = split.iloc[found["row"]].reset_index(drop=True)
    others = other.iloc[found["other_row"]].reset_index(drop=True).add_prefix("other_")
    return pd.concat([images, others, found[SIMILAR]], axis=1)


if __name__ == "__main__":
    run(main)
