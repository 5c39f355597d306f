"""Groups of images that stay whole in one split: those of one patient, one animal or one video."""

import time

import numpy as np
import pandas as pd
import regex
from tqdm import tqdm

from stages.shared.images.image_folder import some
from stages.shared.pipeline.command import UserError

COLUMN = "column:"  # the beginning of a parameter's value that names a column of the CSV file with the labels
SECONDS = 10  # for all paths, which take parts of one as a rule: nested repetitions may take years
PARTNERS = 1000  # groups that another may change places with: near enough, and quick where there are many


def find(paths: pd.Series, pattern: str) -> list[str]:
    """Return what `pattern` finds in each path: its first capturing group, or the whole match.

    Raises UserError where it finds nothing or takes too long.
    """
    search, end = regex.compile(pattern).search, time.monotonic() + SECONDS
    try:
        matches = [search(path, timeout=max(end - time.monotonic(), 0.001)) for path in paths]
    except TimeoutError:
        raise UserError(
            f"split.group_by, {pattern!r}, takes more than {SECONDS} s for these paths: write it without "
            "repetitions within repetitions."
        ) from None
    groups = [match and match[min(1, match.re.groups)] for match in matches]
    without = [path for path, group in zip(paths, groups, strict=True) if not group]
    if without:
        raise UserError(
            f"{len(without)} of {len(paths)} images have no group, as split.group_by, {pattern!r}, finds none in "
            f"their paths: {some(sorted(without))}. (A column of a CSV file is written {COLUMN}NAME.)"
        )
    return [str(group) for group in groups]


def join(table: pd.DataFrame) -> pd.Series:
    """Return each row's group; groups with a byte-identical image become one, under the name that sorts first."""
    group = table["group"]
    while True:
        wider = group.groupby(table["sha256"]).transform("min").groupby(table["group"]).transform("min")
        if wider.equals(group):
            return group
        group = wider


def place(members: np.ndarray, wanted: np.ndarray, splits: int) -> np.ndarray:
    """Return the row of `wanted` to which each group goes, (groups,) int64, by a local search.

    `members` are a group's images of each class, (groups, classes) int64; `wanted` those that each of
    `splits` asks for and, in one row more if there is one, those to leave over, (rows, classes) int64. All
    groups begin in the last row. Each in turn moves to another row, or changes places with another
    group, where that lowers the number of classes that a split lacks or, at the same number, the sum of
    squared differences to `wanted`; it ends when none can.
    """
    rows = np.arange(len(wanted))
    row = np.full(len(members), rows[-1])
    counts = np.zeros_like(wanted)
    counts[-1] = members.sum(axis=0)
    missing = np.zeros_like(wanted)
    missing[:splits] = len(wanted) * members.sum() ** 2  # more than all differences together

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
