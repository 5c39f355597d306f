"""Groups of images that stay whole in one split: those of one patient, one animal or one video."""

import numpy as np
import pandas as pd
from tqdm import tqdm

from stages.shared.pipeline.splits import SPLITS

PARTNERS = 1000  # groups that another may change places with: near enough, and quick where there are many


def join(table: pd.DataFrame) -> pd.Series:
    """Return each row's group; groups with a byte-identical image become one, under the name that sorts first."""
    group = table["group"]
    while True:
        wider = group.groupby(table["sha256"]).transform("min").groupby(table["group"]).transform("min")
        if wider.equals(group):
            return group
        group = wider


def place(members: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the row of `wanted` to which each group goes, (groups,) int64, by a local search.

    `members` are a group's images of each class, (groups, classes) int64; `wanted` those that each
    split asks for and, in a fourth row if there is one, those to leave over, (3 or 4, classes) int64. All
    groups begin in the last row. Each in turn moves to another row, or changes places with another
    group, where that lowers the number of classes that a split lacks or, at the same number, the sum of
    squared differences to `wanted`; it ends when none can.
    """
    rows = np.arange(len(wanted))
    row = np.full(len(members), rows[-1])
    counts = np.zeros_like(wanted)
    counts[-1] = members.sum(axis=0)
    missing = np.zeros_like(wanted)
    missing[: len(SPLITS)] = len(wanted) * members.sum() ** 2  # more than all differences together

    def cost(row: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return ((counts - wanted[row]) ** 2 + missing[row] * (counts == 0)).sum(axis=-1)

    partners = members[:PARTNERS]
    improved = True
    while improved:
        improved = False
        for group, images in enumerate(tqdm(members, unit="group", desc="placing", leave=False)):
            here, there = row[group], np.concatenate([rows, row[:PARTNERS]])
            given = images - np.concatenate([np.zeros_like(wanted), partners])
            before = cost(rows, counts)
            after = cost(here, counts[here] - given) + cost(there, counts[there] + given)
            change = after - before[here] - before[there]
            best = change.argmin()
            if change[best] < 0:
                counts[here] -= given[best]
                counts[there[best]] += given[best]
                if best >= len(rows):
                    row[best - len(rows)] = here
                row[group] = there[best]
                improved = True
    return row
