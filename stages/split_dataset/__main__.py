"""Write which images are for training, validation and test, each with its label and SHA-256."""

from pathlib import Path

import pandas as pd

from stages.shared.images.image_folder import open_folder
from stages.shared.pipeline.command import run
from stages.shared.pipeline.files import atomic_write, write_json
from stages.shared.pipeline.image_input import White16Bit
from stages.shared.pipeline.parameters import Sections, check_sections, read_parameters
from stages.shared.pipeline.splits import COLUMNS, GROUP_COLUMN, SHARD_COLUMNS, SPLITS
from stages.shared.store.results import Store
from stages.split_dataset.assignment import Split, assign, check_counts, count, deviation
from stages.split_dataset.checks import check_images, check_labels
from stages.split_dataset.corrections import correct
from stages.split_dataset.given import across_splits
from stages.split_dataset.groups import join
from stages.split_dataset.labels import Data, list_images

# The sections of params.yaml: this stage alone minds those that nobody knows.
SECTIONS = (
    "data split image_size fit interpolation white_16_bit conv_base leakage cross_validation augmentation head "
    "augmented fine_tune calibration store engine ray gate"
).split()


class Parameters(Sections):
    data: Data
    split: Split
    white_16_bit: White16Bit
    store: Store


def main(*, splits: Path, unused: Path, metrics: Path) -> None:
    """Split the images.

    Reads:  the images in data.images, the CSV file of labels if there is one, and the decisions on labels
    Writes: splits/{train,validation,test}.csv, with path, label, class_index (int64) and sha256, a row
            an image, sorted by path, with split.group_by also group, and where there are shards shard, offset
            and length; unused (.csv), with path and reason of every other file; metrics (.json): images per
            split and class, and what is left out, corrected or repeated
    """
    parameters = read_parameters(Parameters)
    check_sections(SECTIONS)
    data, split = parameters.data, parameters.split
    images, white = open_folder(data.images), parameters.white_16_bit
    table, others = list_images(images, data, split, parameters.store)
    table, bad, odd = check_images(table, images, data, white, parameters.store)
    check_labels(table, images)
    table["key"] = table["sha256"] if split.group_by is None else join(table)
    table["split"] = assign(table, split)
    check_counts(table, split)
    off = deviation(table, split) if split.group_by is not None else 0
    table, left_out, decided = correct(table, Path(data.labels_corrected))
    table["class_index"] = pd.factorize(table["label"], sort=True)[0]
    counts = count(table)
    left_over = table["path"][table["split"] == "none"]
    reasons = {
        **others,
        **bad,
        **dict.fromkeys(left_out, f"of no class, as {data.labels_corrected} says"),
        **dict.fromkeys(left_over, "left over by the split"),
    }

    written = table if split.group_by is None else table.assign(group=table["key"])
    columns = [name for name in (*COLUMNS, *GROUP_COLUMN, *SHARD_COLUMNS) if name in written]
    for name in SPLITS:
        with atomic_write(splits / f"{name}.csv") as file:
            written.loc[table["split"] == name, columns].to_csv(file, index=False)
    with atomic_write(unused) as file:
        pd.DataFrame(sorted(reasons.items()), columns=["path", "reason"]).to_csv(file, index=False)
    report = {
        "images": {name: int(counts[name].sum()) for name in SPLITS},
        "per_class": [{"class": label, **of_class} for label, of_class in counts.to_dict("index").items()],
        "identical_images": int(table.duplicated("sha256").sum()),
        "excluded_images": [{"path": path, "reason": reason} for path, reason in bad.items()],
        **odd,
    }
    if decided:
        report |= {"labels_corrected": decided}
    if split.group_by is not None:
        groups = {name: table["key"][table["split"] == name].nunique() for name in SPLITS}
        report |= {"groups": groups, "joined_groups": table["group"].nunique() - table["key"].nunique()}
    if split.given is not None:
        report |= {"across_splits": across_splits(table)}
    write_json(metrics, report)
    print(counts.to_string(max_rows=40))
    if reasons:
        print(f"{unused}: {len(reasons)} files that are in no split, {len(bad)} of them bad")
    if split.group_by is not None:
        said = ", ".join(f"{number} in {name}" for name, number in report["groups"].items())
        print(f"groups: {said}; images per class differ by up to {off:.0f} from what split asks for")
    for kind, found in report.get("across_splits", {}).items():
        if found:
            print(f"{metrics}: {len(found)} {kind} lie in more than one of the given splits, and stay there")


if __name__ == "__main__":
    run(main)
