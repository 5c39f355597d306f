"""Write which images are for training, validation and test, each with its label and SHA-256."""

import json
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel, Field
from tqdm import tqdm

from stages.shared.assignment import Split, assign, count, deviation
from stages.shared.command import UserError, run
from stages.shared.files import keep, whole
from stages.shared.groups import join
from stages.shared.images import fault
from stages.shared.labels import list_images
from stages.shared.parameters import Section, read_parameters
from stages.shared.splits import SPLITS


class Data(Section):
    images: str = Field(min_length=1, description="the path of a folder of images")
    labels_from: str = Field(min_length=1, description="folder, filename or the path of a CSV file")
    on_bad_image: Literal["fail", "exclude"] = Field(description="fail or exclude")


class Parameters(BaseModel):
    data: Data
    split: Split


def main(splits: Path, metrics: Path, record: Path) -> None:
    parameters = read_parameters(Parameters)
    images, split = Path(parameters.data.images), parameters.split
    table = list_images(images, parameters.data.labels_from, split.group_by)
    table, excluded = check_images(table, images, parameters.data.on_bad_image)
    check_labels(table, images)
    table["class_index"] = pd.factorize(table["label"], sort=True)[0]
    table["key"] = table["sha256"] if split.group_by is None else join(table)
    table["split"] = assign(table, split)
    counts = count(table, split)

    for name in SPLITS:
        rows = table[table["split"] == name]
        with whole(splits / f"{name}.csv") as file:
            rows[["path", "label", "class_index", "sha256"]].to_csv(file, index=False)
    report = {
        "images": counts,
        "identical_images": int(table.duplicated("sha256").sum()),
        "excluded_images": excluded,
    }
    if split.group_by is not None:
        report["groups"] = {name: table["key"][table["split"] == name].nunique() for name in SPLITS}
        report["joined_groups"] = table["group"].nunique() - table["key"].nunique()
    with whole(metrics) as file:
        file.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    keep(record, metrics)
    if excluded:
        print(f"left out, for the reasons in {metrics}: {len(excluded)} bad files")
    print(pd.DataFrame(counts).T.to_string())
    if split.group_by is not None:
        groups = ", ".join(f"{number} in {name}" for name, number in report["groups"].items())
        off = deviation(table, split)
        print(f"groups: {groups}; images per class differ by up to {off:.0f} from what split asks for")


def check_images(table: pd.DataFrame, folder: Path, on_bad_image: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return `table` with each file's SHA-256, and the reason for every bad image left out.

    Raises UserError, listing all bad images, where they are not to be left out.
    """

    def read(path: str) -> tuple[str, str | None]:
        try:
            data = (folder / path).read_bytes()
        except OSError as error:
            return "", error.strerror
        return sha256(data).hexdigest(), fault(data)

    with ThreadPoolExecutor() as pool:
        results = list(tqdm(pool.map(read, table["path"]), total=len(table), unit="image", desc="checking"))
    table["sha256"] = [digest for digest, _ in results]
    bad = {path: reason for path, (_, reason) in zip(table["path"], results) if reason is not None}
    if bad and on_bad_image == "fail":
        listing = "\n".join(f"  {folder / path}: {reason}" for path, reason in bad.items())
        raise UserError(
            f"{len(bad)} of {len(table)} files are no usable images: remove them, or leave them out "
            f"with data.on_bad_image: exclude.\n{listing}"
        )
    usable = table[~table["path"].isin(bad)].reset_index(drop=True)
    lost = table[~table["label"].isin(usable["label"])]
    if len(lost):
        label, path = lost["label"].iloc[0], lost["path"].iloc[0]
        raise UserError(f"no image of class {label} is usable: {folder / path}, for one: {bad[path]}.")
    return usable, bad


def check_labels(table: pd.DataFrame, folder: Path) -> None:
    """Raise UserError where there are fewer than two classes, or one image has two labels."""
    labels = table["label"].unique()
    if len(labels) < 2:
        raise UserError(
            f"{folder} has images of one class only ({', '.join(labels) or 'none'}): a classifier needs two or more."
        )
    conflicts = table[table.groupby("sha256")["label"].transform("nunique") > 1].sort_values(
        ["sha256", "path"]
    )
    if len(conflicts):
        listing = "\n".join(f"  {row.path}: {row.label} ({row.sha256[:8]})" for row in conflicts.itertuples())
        raise UserError(
            f"{len(conflicts)} byte-identical images have different labels: correct or remove them.\n{listing}"
        )


if __name__ == "__main__":
    run(main)
