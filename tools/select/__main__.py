"""Select photos to label next: those that would teach most, of a folder without labels.

    python -m tools.select FOLDER --number 100

Trains a linear probe on the labelled images, training and validation, and takes photos of which it is unsure, from as
many groups of alike ones. Near-duplicates of labelled images and of one another are left out. Writes select.csv, the
most uncertain photo first, and select.png, which shows them. The photos' features go into the store: labelled, they
are not computed again.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from stages.audit_leakage.near_duplicates import Images, Leakage, find_closest, read_directions
from stages.shared.extraction.outputs import Extraction, store_outputs
from stages.shared.extraction.work import ExtractionParameters
from stages.shared.images.image_folder import open_folder
from stages.shared.network import conv_base
from stages.shared.network.architectures import ARCHITECTURES
from stages.shared.pipeline.averages import average_features
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.files import atomic_write
from stages.shared.pipeline.parameters import PartOfSection, Sections, read_parameters
from stages.shared.pipeline.splits import SPLITS, read_class_names, read_split
from stages.shared.probe.linear_probe import fit_probe
from tools.check.leftovers import TEMPORARY
from tools.select.choosing import CANDIDATES, choose, margins
from tools.select.photos import distinct, find_new
from tools.select.sheet import draw
from tools.shared.scratch import left_behind, scratch_folder

SPLITS_FOLDER, WEIGHTS = Path("data/splits"), Path("data/weights/conv_base.weights.h5")
TABLE, PICTURE = Path("select.csv"), Path("select.png")
SCRATCH = "select-"  # with which the name of its temporary folder begins
NEW = "new"  # the photos, beside the splits


class Largest(PartOfSection):
    max_megapixels: float = Field(gt=0, description="a number of megapixels above 0")


class Wanted(Sections):
    """What a photo has to be like, besides being an image."""

    data: Largest
    leakage: Leakage


def main(folder: str, number: int) -> None:
    """Write TABLE and PICTURE of `number` photos of `folder`, or of fewer where there are no more that are new.

    TABLE has path (below `folder`), predicted (a class), probability (of it) and margin (its lead over the next one).
    Raises UserError where that cannot be done for want of photos, of a split, or of weights.
    """
    if number < 1:
        raise UserError(f"--number is {number}, but it takes 1 or more.")
    if not folder.startswith("s3://") and not Path(folder).is_dir():
        raise UserError(f"{folder} is no folder.")
    parameters, wanted = read_parameters(ExtractionParameters), read_parameters(Wanted)
    photos = open_folder(folder)
    labelled = read_splits()
    known = pd.concat(labelled.values())["sha256"]
    new = find_new(photos, known, wanted.data.max_megapixels, parameters.white_16_bit, parameters.store)
    TEMPORARY.mkdir(parents=True, exist_ok=True)
    for killed in left_behind(SCRATCH, TEMPORARY):
        shutil.rmtree(killed)
    with scratch_folder(SCRATCH, TEMPORARY) as scratch:
        extract(parameters, labelled, folder, new, scratch)
        splits = {**labelled, NEW: new}
        averages = average_features(scratch / "features", splits)
        directions = read_directions(scratch / "features", splits)
    learning = pd.concat([labelled["train"], labelled["validation"]], ignore_index=True)
    features = np.concatenate([averages["train"], averages["validation"]])
    probabilities = fit_probe(features, learning, seed=0).predict(averages[NEW])
    margin = margins(probabilities)

    white = parameters.white_16_bit
    of_splits = [
        Images(labelled[name], directions[name], open_folder(parameters.data.images), white)
        for name in SPLITS
    ]
    images = Images(new, directions[NEW], photos, white)
    near = [
        find_closest(images, others, wanted.leakage, "compared with labelled ones") for others in of_splits
    ]
    order = np.argsort(margin, kind="stable")
    order = order[~np.isin(order, pd.concat(near)["row"])]
    if not len(order):
        raise UserError(
            f"all {len(new)} new photos in {folder} are near-duplicates of labelled images, as the section leakage in "
            "params.yaml has it: set it stricter, or name other photos."
        )
    candidates = distinct(images, order, wanted.leakage, CANDIDATES * number)
    chosen = candidates[choose(images.directions[candidates], margin[candidates], number)]

    names = np.array(read_class_names(labelled["train"]))
    table = new.iloc[chosen].assign(
        predicted=names[probabilities[chosen].argmax(axis=1)],
        probability=probabilities[chosen].max(axis=1).round(4),
        margin=margin[chosen].round(4),
    )
    draw(table, photos, white, PICTURE)
    with atomic_write(TABLE) as file:
        table.drop(columns="sha256").to_csv(file, index=False)
    print(
        f"{TABLE}, {PICTURE}: {len(table)} of {len(new)} new photos; {len(new) - len(order)} are near-duplicates of "
        "labelled images"
    )


def read_splits() -> dict[str, pd.DataFrame]:
    """Return all splits; raises UserError where there are none yet."""
    try:
        return {name: read_split(SPLITS_FOLDER / f"{name}.csv") for name in SPLITS}
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing: run dvc repro extract_features.") from None


def extract(
    parameters: ExtractionParameters,
    labelled: dict[str, pd.DataFrame],
    folder: str,
    new: pd.DataFrame,
    scratch: Path,
) -> None:
    """Write the features of the `labelled` images and of the `new` ones of `folder` below `scratch`/features.

    Of the new ones the store also gets the activations for which extract_features would ask.
    """
    base = conv_base.load(parameters.conv_base, parameters.image_size, WEIGHTS)
    end, default = base.layers[-1].name, ARCHITECTURES[parameters.conv_base.name].freeze_through
    files = {name: {end: scratch / "features" / f"{name}.npy"} for name in (*labelled, NEW)}
    files[NEW][default] = scratch / "activations" / f"{NEW}.npy"
    of_labelled = [Extraction(files[name], split) for name, split in labelled.items()]
    store_outputs(base, WEIGHTS, of_labelled, parameters)
    elsewhere = parameters.data.model_copy(update={"images": folder})
    store_outputs(
        base, WEIGHTS, [Extraction(files[NEW], new)], parameters.model_copy(update={"data": elsewhere})
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tools.select",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="FOLDER", help="with the photos, in folders of any depth")
    parser.add_argument("--number", type=int, default=100, help="of photos to select; the default is 100")
    options = parser.parse_args()
    main(options.folder, options.number)
