"""Folds of a set of images: each image is held out once, by a part that has every class in the whole's shares."""

import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold


def draw_folds(split: pd.DataFrame, folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows of `split` to learn from and those held out, int64, for each of `folds`.

    Images of one group, or with the same bytes, are in one fold. The draw depends on `seed` and on the images'
    bytes, not on their names. There are fewer folds where no class has so many images, or there are fewer groups.
    """
    rows = np.argsort(split["sha256"].to_numpy(), kind="stable")
    labels = split["class_index"].to_numpy()[rows]
    groups = split["group" if "group" in split else "sha256"].iloc[rows]
    number = groups.nunique()
    together = 1 < number < len(split)  # of a single group nothing could be held out as a whole
    kind, given = (StratifiedGroupKFold, groups) if together else (StratifiedKFold, None)
    most = min(int(np.bincount(labels).max()), number if together else len(split))
    drawn = kind(min(folds, most), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "The least populated class", UserWarning
        )  # it is in some folds alone
        for learning, held_out in drawn.split(rows, labels, given):
            yield np.sort(rows[learning]), np.sort(rows[held_out])
