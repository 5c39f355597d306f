"""Which split an image falls into: train, validation or test, by its content alone.

Each image is ranked by a hash of split.seed and its bytes, so that adding images never moves an
old one (with fractions) and byte-identical images always stay together. With split.group_by it is
the name of its group that is hashed, in place of its bytes. With split.given an image keeps the split
that it brings along, and what is not given is drawn from the images given for training.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated

import pandas as pd
import regex
from pydantic import Field, field_validator, model_validator

from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.parameters import Section
from stages.shared.pipeline.splits import SPLITS
from stages.split_dataset.groups import COLUMN, place

Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Shares = Mapping[
    str, float | int | None
]  # of the splits that are drawn, in the order in which they are filled
SHARE = "a fraction of each class, above 0 and below 1, or a whole number of images per class"


class Split(Section):
    given: Annotated[str, Field(pattern=f"^(folders|{COLUMN}.+)$")] | None = Field(
        description="null, folders, or column:NAME of the CSV file with the labels"
    )
    seed: int = Field(ge=0, description="a whole number, 0 or more")
    train: Fraction | Count | None = Field(description=f"{SHARE}, or null for the rest")
    validation: Fraction | Count = Field(description=SHARE)
    test: Fraction | Count = Field(description=SHARE)
    group_by: str | None = Field(
        min_length=1, description="null, a regular expression, or column:NAME of the CSV file with the labels"
    )

    def shares(self, given: set[str]) -> Shares:
        """Return the shares of the splits that are drawn where those of `given` are there."""
        shares: Shares = {"test": self.test, "validation": self.validation, "train": self.train}
        return {name: share for name, share in shares.items() if name == "train" or name not in given}

    @model_validator(mode="after")
    def check_shares(self) -> "Split":
        given = {name: share for name, share in self.shares(set()).items() if share is not None}
        if len({type(share) for share in given.values()}) > 1:
            raise ValueError(f"{given} mixes fractions with counts: give either for all.")
        if are_fractions(given) and sum(given.values()) > 1 + (1e-9 if self.train else -1e-9):
            raise ValueError(f"the fractions {given} add up to too much: nothing is left for train.")
        return self

    @field_validator("group_by")
    @classmethod
    def check_pattern(cls, group_by: str | None) -> str | None:
        if group_by == COLUMN:
            raise ValueError(f"{group_by!r} names no column: a column is written column:NAME.")
        if group_by is not None and not group_by.startswith(COLUMN):
            try:
                regex.compile(group_by)
            except (regex.error, OverflowError, RecursionError) as error:
                raise ValueError(
                    f"{group_by[:100]!r} is no regular expression: {error}. A column is written column:NAME."
                ) from None
        return group_by


def are_fractions(shares: Shares) -> bool:
    return any(isinstance(share, float) for share in shares.values())


def assign(table: pd.DataFrame, split: Split) -> pd.Series:
    """Return each row's split: train, validation, test, or none where the shares leave it over.

    Rows with the column `given` keep it; what is not given is drawn from those given for training.
    Raises UserError where a class has too few images or none in a split.
    """
    shares = split.shares(given_splits(table))
    pool = draw_from(table)
    assigned = table["given"].copy() if "given" in table else pd.Series("none", index=table.index)
    assigned[pool.index] = draw(pool, shares, split.seed, split.group_by is not None)
    return assigned


def given_splits(table: pd.DataFrame) -> set[str]:
    return set(table["given"]) if "given" in table else set()


def draw_from(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `table` from which splits are drawn: of given splits those for training.

    Raises UserError where no image is given for training, or a given split is without a class.
    """
    if "given" not in table:
        return table
    pool = table[table["given"] == "train"]
    if pool.empty:
        raise UserError(
            "split.given finds no images for training: train, training or training_set names them."
        )
    counts = pd.crosstab(table["label"], table["given"])
    for name in filter(counts.columns.__contains__, SPLITS):
        without = counts.index[counts[name] == 0]
        if len(without):
            raise UserError(
                f"{name}, as split.given has it, is without the classes {', '.join(map(repr, without))}: every "
                "split needs images of every class. Add some, or remove these classes elsewhere too."
            )
    return pool


def draw(table: pd.DataFrame, shares: Shares, seed: int, grouped: bool) -> pd.Series:
    """Return a split of `shares`, or none, for each row.

    Rows of one `key`, the SHA-256 or the group, stay together. With fractions it is the interval into
    which a draw, keyed by seed and key, falls. With counts each split takes, in the order of those
    draws, contents as long as their images fit; groups are placed as near to the counts as they go.
    """
    draws = pd.Series([uniform(seed, key) for key in table["key"]], index=table.index, name="draw")
    assigned = pd.Series("none", index=table.index)
    if are_fractions(shares):
        top = 1.0
        for name, share in shares.items():
            bottom = 0.0 if share is None else top - share
            assigned[(bottom <= draws) & (draws < top)] = name
            top = bottom
        return assigned
    if grouped:
        asked = ask(table, shares)
        members = pd.crosstab([draws, table["key"]], table["label"])  # in the order of the draws
        rows = place(members.to_numpy(), asked.to_numpy(), len(shares))
        return table["key"].map(
            dict(zip(members.index.get_level_values("key"), asked.index[rows], strict=True))
        )
    for _, images in table.assign(draw=draws).groupby("label"):
        contents = [list(rows) for _, rows in images.groupby(["draw", "key"]).groups.items()]
        for name, share in shares.items():
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


def ask(table: pd.DataFrame, shares: Shares) -> pd.DataFrame:
    """Return the images that each of `shares`, a row each, asks for of each class, a column each.

    Where train does not take the rest, one more row, none, has the images to leave over. Raises
    UserError where a class has fewer images than the counts need.
    """
    available = table["label"].value_counts().sort_index()
    stated = {name: share for name, share in shares.items() if share is not None}
    if are_fractions(shares):
        asked = pd.DataFrame({name: share * available for name, share in stated.items()})
    else:
        asked = pd.DataFrame(stated, index=available.index)
        needed = sum(stated.values()) + (shares["train"] is None)
        if available.min() < needed:
            raise UserError(
                f"class {available.idxmin()!r} has {available.min()} images, too few for this split, which takes "
                f"{needed} or more. Add images or change the split."
            )
    asked["train" if shares["train"] is None else "none"] = available - asked.sum(axis=1)
    return asked.T


def count(table: pd.DataFrame) -> pd.DataFrame:
    """Return the number of images of each split, a column each, and class, a row each."""
    return pd.crosstab(table["label"], table["split"]).reindex(columns=SPLITS, fill_value=0)


def check_counts(table: pd.DataFrame, split: Split) -> None:
    """Raise UserError where a split has no image of a class, or not the count asked for, as groups may come out."""
    counts = count(table)
    shares, pool = split.shares(given_splits(table)), draw_from(table)
    available = pool.groupby("label")["key"].agg(["size", "nunique"])
    exact = not are_fractions(shares) and split.group_by is None
    for name in filter(shares.__contains__, SPLITS):
        asked = shares[name]
        for label, images in zip(available.index, counts[name].loc[available.index], strict=True):
            if images == 0 or (exact and asked not in (None, images)):
                size, groups = available.loc[label].to_numpy().tolist()
                raise UserError(
                    f"class {label!r} has {size} images{'' if split.group_by is None else f' in {groups} groups'}, "
                    f"too few for this split: {images} of them would go to {name} (split.{name}: "
                    f"{'the rest' if asked is None else asked}). Add images or change the split."
                )


def deviation(table: pd.DataFrame, split: Split) -> float:
    """Return how many images of a class a split has more or fewer than it asks for, at most."""
    shares, pool = split.shares(given_splits(table)), draw_from(table)
    counts = pd.crosstab(pool["split"], pool["label"])
    return float((counts - ask(pool, shares)).loc[list(shares)].abs().to_numpy().max())
