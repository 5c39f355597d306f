"""Which split an image falls into: train, validation or test, by its content alone.

Each image is ranked by a hash of split.seed and its bytes, so that adding images never moves an
old one (with fractions) and byte-identical images always stay together.
"""

from hashlib import sha256
from typing import Annotated

import pandas as pd
from pydantic import Field, model_validator

from stages.shared.command import UserError
from stages.shared.parameters import Section
from stages.shared.splits import SPLITS

Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
SHARE = "a fraction of each class, above 0 and below 1, or a whole number of images per class"


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
