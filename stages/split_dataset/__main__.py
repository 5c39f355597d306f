"""Write which images are for training, validation and test, each with its label and SHA-256."""

from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel, Field

from stages.shared.pipeline.command import run
from stages.shared.pipeline.files import atomic_write, write_json
from stages.shared.pipeline.image_input import White16Bit
from stages.shared.pipeline.parameters import Section, check_sections, read_parameters
from stages.shared.pipeline.splits import SPLITS
from stages.split_dataset.assignment import Split, assign, count, deviation
from stages.split_dataset.checks import check_images, check_labels
from stages.split_dataset.groups import join
from stages.split_dataset.labels import list_images

# The sections of params.yaml: this stage alone minds those that nobody knows.
SECTIONS = (
    "data split image_size fit interpolation white_16_bit conv_base leakage augmentation head augmented "
    "fine_tune store gate"
).split()


class Data(Section):
    images: str = Field(min_length=1, description="the path of a folder of images")
    labels_from: str = Field(min_length=1, description="folder, filename or the path of a CSV file")
    on_bad_image: Literal["fail", "exclude"] = Field(description="fail or exclude")
    max_megapixels: float = Field(gt=0, allow_inf_nan=False, description="a number of megapixels above 0")


class Parameters(BaseModel):
    data: Data
    split: Split
    white_16_bit: White16Bit


def main(*, splits: Path, metrics: Path) -> None:
    """Split the images.

    Reads:  the images in data.images, and the CSV file of labels if there is one
    Writes: splits/{train,validation,test}.csv, with path, label, class_index (int64) and sha256, a row
            an image, sorted by path; metrics (.json): images per class, and what was left out
    """
    parameters = read_parameters(Parameters)
    check_sections(SECTIONS)
    data, split = parameters.data, parameters.split
    images, white = Path(data.images), parameters.white_16_bit
    table = list_images(images, data.labels_from, split.group_by)
    table, excluded, odd = check_images(table, images, data.on_bad_image, data.max_megapixels, white)
    check_labels(table, images)
    table["class_index"] = pd.factorize(table["label"], sort=True)[0]
    table["key"] = table["sha256"] if split.group_by is None else join(table)
    table["split"] = assign(table, split)
    counts = count(table, split)

    for name in SPLITS:
        rows = table[table["split"] == name]
        with atomic_write(splits / f"{name}.csv") as file:
            rows[["path", "label", "class_index", "sha256"]].to_csv(file, index=False)
    report = {
        "images": counts,
        "identical_images": int(table.duplicated("sha256").sum()),
        "excluded_images": excluded,
        **odd,
    }
    groups = {}
    if split.group_by is not None:
        groups = {name: table["key"][table["split"] == name].nunique() for name in SPLITS}
        joined = table["group"].nunique() - table["key"].nunique()
        report |= {"groups": groups, "joined_groups": joined}
    write_json(metrics, report)
    if excluded:
        print(f"left out, for the reasons in {metrics}: {len(excluded)} bad files")
    print(pd.DataFrame(counts).T.to_string())
    if groups:
        said = ", ".join(f"{number} in {name}" for name, number in groups.items())
        off = deviation(table, split)
        print(f"groups: {said}; images per class differ by up to {off:.0f} from what split asks for")


if __name__ == "__main__":
    run(main)
