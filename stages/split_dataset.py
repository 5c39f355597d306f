"""Assign every image to train, validation or test, by its content alone.

Each image is ranked by a hash of split.seed and its bytes, so that adding images never moves an
old one (with fractions) and byte-identical images always stay together.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import BaseModel, Field, model_validator
from tqdm import tqdm

from stages.shared.errors import UserError
from stages.shared.images import fault
from stages.shared.labels import list_images
from stages.shared.parameters import Section, read_parameters
from stages.shared.splits import SPLITS

Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
SHARE = "a fraction of each class, above 0 and below 1, or a whole number of images per class"


class Data(Section):
    images: str = Field(min_length=1, description="the path of a folder of images")
    labels_from: str = Field(min_length=1, description="folder, filename or the path of a CSV file")
    on_bad_image: Literal["fail", "exclude"] = Field(description="fail or exclude")


class Split(Section):
    seed: int = Field(ge=0, description="a whole number, 0 or more")
    train: Fraction | Count | None = Field(description=f"{SHARE}, or null for the rest")
    validation: Fraction | Count = Field(description=SHARE)
    test: Fraction | Count = Field(description=SHARE)

    @property
    def shares(self) -> dict[str, float | int | None]:
        """The splits in the order in which they are filled."""
        return {"test": self.test, "validation": self.validation, "train": self.train}

    @model_validator(mode="after")
    def check_shares(self) -> "Split":
        given = {name: share for name, share in self.shares.items() if share is not None}
        if len({type(share) for share in given.values()}) > 1:
            raise ValueError(f"{given} mixes fractions with counts: give either for all.")
        if self.has_fractions and sum(given.values()) > 1 + (1e-9 if self.train else -1e-9):
            raise ValueError(f"the fractions {given} add up to too much: nothing is left for train.")
        return self

    @property
    def has_fractions(self) -> bool:
        return isinstance(self.test, float)


class Parameters(BaseModel):
    data: Data
    split: Split


def main(images: Path, splits: Path, metrics: Path) -> None:
    parameters = read_parameters(Parameters)
    table = list_images(images, parameters.data.labels_from)
    table, excluded = check_images(table, images, parameters.data.on_bad_image)
    check_labels(table, images)
    table["class_index"] = pd.factorize(table["label"], sort=True)[0]
    table["split"] = assign(table, parameters.split)
    counts = count(table, parameters.split)

    splits.mkdir(parents=True, exist_ok=True)
    for name in SPLITS:
        rows = table[table["split"] == name]
        rows[["path", "label", "class_index", "sha256"]].to_csv(splits / f"{name}.csv", index=False)
    metrics.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "images": counts,
        "identical_images": int(table.duplicated("sha256").sum()),
        "excluded_images": excluded,
    }
    metrics.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    print(pd.DataFrame(counts).T.to_string())


def check_images(table: pd.DataFrame, folder: Path, on_bad_image: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return `table` with each file's SHA-256, and the reason for every bad image left out.

    Raises UserError, listing all bad images, where they are not to be left out.
    """

    def read(path: str) -> tuple[str, str | None]:
        data = (folder / path).read_bytes()
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
    return table[~table["path"].isin(bad)].reset_index(drop=True), bad


def check_labels(table: pd.DataFrame, folder: Path) -> None:
    """Raise UserError where there are fewer than two classes, or one image has two labels."""
    labels = table["label"].unique()
    if len(labels) < 2:
        raise UserError(
            f"{folder} has images of one class only ({', '.join(labels) or 'none'}): a classifier needs two or more."
        )
    conflicts = table[table.groupby("sha256")["label"].transform("nunique") > 1].sort_values(["sha256", "path"])
    if len(conflicts):
        listing = "\n".join(f"  {row.path}: {row.label} ({row.sha256[:8]})" for row in conflicts.itertuples())
        raise UserError(
            f"{len(conflicts)} byte-identical images have different labels: correct or remove them.\n{listing}"
        )


def assign(table: pd.DataFrame, split: Split) -> pd.Series:
    """Return each row's split: train, validation, test, or none where the shares leave it over.

    With fractions it is the interval into which a draw, keyed by seed and content, falls. With
    counts each split takes, in the order of those draws, contents as long as their images fit.
    """
    draw = table["sha256"].map(lambda digest: uniform(split.seed, digest))
    assigned = pd.Series("none", index=table.index)
    if split.has_fractions:
        top = 1.0
        for name, share in split.shares.items():
            bottom = 0.0 if share is None else top - share
            assigned[(bottom <= draw) & (draw < top)] = name
            top = bottom
        return assigned
    for _, images in table.assign(draw=draw).groupby("label"):
        contents = [list(rows) for _, rows in images.groupby(["draw", "sha256"]).groups.items()]
        for name, share in split.shares.items():
            room, left = len(images) if share is None else share, []
            for rows in contents:
                if len(rows) <= room:
                    assigned[rows] = name
                    room -= len(rows)
                else:
                    left.append(rows)
            contents = left
    return assigned


def uniform(seed: int, digest: str) -> float:
    """Return the draw in [0, 1) of the content with SHA-256 `digest`."""
    return int(sha256(f"{seed} {digest}".encode()).hexdigest()[:12], 16) / 16**12


def count(table: pd.DataFrame, split: Split) -> dict[str, dict[str, int]]:
    """Return the number of images per split and class; raises UserError where it is not what was asked."""
    counts = pd.crosstab(table["split"], table["label"]).reindex(SPLITS, fill_value=0)
    available = table["label"].value_counts()
    for name in SPLITS:
        for label, images in counts.loc[name].items():
            asked = getattr(split, name)
            if images == 0 or (not split.has_fractions and asked not in (None, images)):
                raise UserError(
                    f"class {label!r} has {available[label]} images, too few for this split: {images} of them would "
                    f"go to {name} (split.{name}: {'the rest' if asked is None else asked}). Add images or change the split."
                )
    return {name: {label: int(images) for label, images in row.items()} for name, row in counts.iterrows()}


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
