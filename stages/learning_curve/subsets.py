"""Nested subsets of a set of images, and what a probe that learns from each gets right."""

import numpy as np
import pandas as pd
from tqdm import tqdm

from stages.shared.probe.linear_probe import fit_probe

DRAWS = 10
SMALLEST = 20  # images in a subset
HALVINGS = 6  # at most: what so much fewer images do says little of more


def halve(split: pd.DataFrame) -> list[np.ndarray]:
    """Return how many images of each class there are in the whole of `split`, in half of it, and so on, (classes,)."""
    counts = np.bincount(split["class_index"])
    halves = [-(-counts // 2**times) for times in range(HALVINGS + 1)]
    return [half for times, half in enumerate(halves) if times == 0 or half.sum() >= SMALLEST]


def order(split: pd.DataFrame, draw: int) -> np.ndarray:
    """Return the rows of `split` in an order drawn from `draw` and the images' bytes, groups one after the other."""
    groups = pd.factorize(split["group" if "group" in split else "sha256"], sort=True)[0]
    ranks = np.random.default_rng(draw).permutation(groups.max() + 1)[groups]
    return np.lexsort((split["sha256"], ranks))


def take(split: pd.DataFrame, ordered: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return of the rows in `ordered` the first `counts` of each class."""
    labels = split["class_index"].iloc[ordered]
    place = labels.groupby(labels).cumcount().to_numpy()
    return ordered[place < counts[labels]]


def measure_subsets(
    features: np.ndarray, split: pd.DataFrame, judged: np.ndarray, judged_labels: np.ndarray
) -> pd.DataFrame:
    """Return draw, images, accuracy and the recall of each class, of which the columns are the class indices.

    A row is a probe that has learnt from a subset of the images of `split`, (n, channels) `features`, the smallest
    subsets first. It is measured on the `judged` features, whose classes are `judged_labels`. There is one draw of
    the whole.
    """
    steps = [(draw, counts) for counts in halve(split)[:0:-1] for draw in range(DRAWS)]
    orders = [order(split, draw) for draw in range(DRAWS)]
    rows = []
    for draw, counts in tqdm([*steps, (0, halve(split)[0])], unit="probe"):
        chosen = take(split, orders[draw], counts)
        probe = fit_probe(features[chosen], split.iloc[chosen], draw)
        right = probe.predict(judged).argmax(axis=1) == judged_labels
        recalls = pd.Series(right).groupby(judged_labels).mean()
        rows.append({"draw": draw, "images": len(chosen), "accuracy": right.mean(), **recalls})
    return pd.DataFrame(rows)
