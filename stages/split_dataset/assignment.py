"""Which split an image falls into: train, validation or test, by its content alone.

Each image is ranked by a hash of split.seed and its bytes, so that adding images never moves an
old one (with fractions) and byte-identical images always stay together. With split.group_by it is
the name of its group that is hashed, in place of its bytes.
"""

import re
from hashlib import sha256
from typing import Annotated

import pandas as pd
from pydantic import Field, field_validator, model_validator

from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.parameters import Section
from stages.shared.pipeline.splits import SPLITS
from stages.split_dataset.groups import place
from stages.split_dataset.labels import COLUMN

Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
SHARE = "a fraction of each class, above 0 and below 1, or a whole number of images per class"


class Split(Section):
    seed: int = Field(ge=0, description="a whole number, 0 or more")
    train: Fraction | Count | None = Field(description=f"{SHARE}, or null for the rest")
    validation: Fraction | Count = Field(description=SHARE)
    test: Fraction | Count = Field(description=SHARE)
    group_by: str | None = Field(
        min_length=1, description="null, a regular expression, or column:NAME of the CSV file with the labels"
    )

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

    @field_validator("group_by")
    @classmethod
    def check_pattern(cls, group_by: str | None) -> str | None:
        if group_by is not None and not group_by.startswith(COLUMN):
            try:
                re.compile(group_by)
            except (re.error, OverflowError) as error:
                raise ValueError(
                    f"{group_by!r} is no regular expression: {error}. A column is written column:NAME."
                ) from None
        return group_by

    @property
    def has_fractions(self) -> bool:
        return isinstance(self.test, float)


def assign(table: pd.DataFrame, split: Split) -> pd.Series:
    """Return each row's split: train, validation, test, or none where the shares leave it over.

    Rows of one `key`, the SHA-256 or the group, stay together. With fractions it is the interval into
    which a draw, keyed by seed and key, falls. With counts each split takes, in the order of those
    draws, contents as long as their images fit; groups are placed as near to the counts as they go.
    """
    draw = pd.Series([uniform(split.seed, key) for key in table["key"]], index=table.index, name="draw")
    assigned = pd.Series("none", index=table.index)
    if split.has_fractions:
        top = 1.0
        for name, share in split.shares.items():
            bottom = 0.0 if share is None else top - share
            assigned[(bottom <= draw) & (draw < top)] = name
            top = bottom
        return assigned
    if split.group_by is not None:
        asked = ask(table, split)
        members = pd.crosstab([draw, table["key"]], table["label"])  # in the order of the draws
        rows = place(members.to_numpy(), asked.to_numpy())
        return table["key"].map(
            dict(zip(members.index.get_level_values("key"), asked.index[rows], strict=True))
        )
    for _, images in table.assign(draw=draw).groupby("label"):
        contents = [list(rows) for _, rows in images.groupby(["draw", "key"]).groups.items()]
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


def uniform(seed: int, key: str) -> float:
    """Return the draw in [0, 1) of the content with SHA-256 `key`, or of the group of that name."""
    return int(sha256(f"{seed} {key}".encode()).hexdigest()[:12], 16) / 16**12


def ask(table: pd.DataFrame, split: Split) -> pd.DataFrame:
    """Return the images that test, validation and train, a row each, ask for of each class, a column each.

    Where train does not take the rest, a fourth row, none, has the images to leave over. Raises
    UserError where a class has fewer images than the counts need.
    """
    available = table["label"].value_counts().sort_index()
    given = {name: share for name, share in split.shares.items() if share is not None}
    if split.has_fractions:
        asked = pd.DataFrame({name: share * available for name, share in given.items()})
    else:
        asked = pd.DataFrame(given, index=available.index)
        needed = sum(given.values()) + (split.train is None)
        if available.min() < needed:
            raise UserError(
                f"class {available.idxmin()!r} has {available.min()} images, too few for this split, which takes "
                f"{needed} or more. Add images or change the split."
            )
    asked["train" if split.train is None else "none"] = available - asked.sum(axis=1)
    return asked.T


def count(table: pd.DataFrame, split: Split) -> dict[str, dict[str, int]]:
    """Return the number of images per split and class.

    Raises UserError where there is none, or it is not the count asked for, which groups cannot always give.
    """
    found = pd.crosstab(table["split"], table["label"]).reindex(SPLITS, fill_value=0)
    labels = [str(label) for label in found.columns]
    rows = zip(SPLITS, found.to_numpy("int64"), strict=True)
    counts = {name: dict(zip(labels, map(int, row), strict=True)) for name, row in rows}
    available = table.groupby("label")["key"].agg(["size", "nunique"])
    exact = not split.has_fractions and split.group_by is None
    for name, of_class in counts.items():
        asked = getattr(split, name)
        for label, images in of_class.items():
            if images == 0 or (exact and asked not in (None, images)):
                size, groups = available.loc[label].to_numpy().tolist()
                raise UserError(
                    f"class {label!r} has {size} images{'' if split.group_by is None else f' in {groups} groups'}, "
                    f"too few for this split: {images} of them would go to {name} (split.{name}: "
                    f"{'the rest' if asked is None else asked}). Add images or change the split."
                )
    return counts


def deviation(table: pd.DataFrame, split: Split) -> float:
    """Return how many images of a class a split has more or fewer than it asks for, at most."""
    counts = pd.crosstab(table["split"], table["label"])
    return float((counts - ask(table, split)).loc[list(SPLITS)].abs().to_numpy().max())
