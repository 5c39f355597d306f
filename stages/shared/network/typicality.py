"""How much an image is like those that a classifier was trained on, and which of them it is most like.

Source: Sun et al., Out-of-Distribution Detection with Deep Nearest Neighbors (2022).
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

MOST = 5000  # training images that a model carries
NEIGHBOURS = 10
SHOWN = 3  # of them


class TrainingImages(NamedTuple):
    """Training images as their classifier sees them: their features, averaged over space and of length 1."""

    paths: list[str]
    features: np.ndarray  # (n, channels) float16
    similarities: np.ndarray  # of the validation images to these, (m,) float64, ascending

    def typicality(self, features: np.ndarray) -> np.ndarray:
        """Return which share of the validation images is no more like the training images, (k,) float64."""
        less = np.searchsorted(self.similarities, similarity(features, self.features), "right")
        return less / len(self.similarities)

    def nearest(self, features: np.ndarray) -> list[list[str]]:
        """Return the paths of the training images that each of `features` is most like, the nearest first."""
        cosines = normalized(features) @ self.features.T.astype("float32")
        return [
            [self.paths[index] for index in row] for row in np.argsort(-cosines, kind="stable")[:, :SHOWN]
        ]


def similarity(features: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the mean cosine similarity of (k, channels) `features` to the nearest of (n, channels) `others`, (k,).

    It is rounded to what does not depend on the order in which a machine adds up.
    """
    cosines = normalized(features) @ others.T.astype("float32")
    count = min(NEIGHBOURS, len(others))
    return np.sort(cosines, axis=1)[:, -count:].mean(axis=1, dtype="float64").round(5)


def normalized(features: np.ndarray) -> np.ndarray:
    """Return (n, channels) `features` of length 1, float32; of no length where none answers."""
    length = np.linalg.norm(features.astype("float32"), axis=1, keepdims=True)
    return features / np.maximum(length, np.finfo("float32").tiny)


def choose_rows(split: pd.DataFrame) -> np.ndarray:
    """Return the rows of the images of `split` that a model carries: all or, drawn by content, MOST."""
    return np.sort(np.argsort(split["sha256"].to_numpy(), kind="stable")[:MOST])
