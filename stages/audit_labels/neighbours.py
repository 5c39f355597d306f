"""What the labels of the most similar images say of an image: its nearest neighbours by their features' cosine."""

import numpy as np
from threadpoolctl import threadpool_limits

NEIGHBOURS = 20
BLOCK = 256  # images whose similarities to all others are in memory at a time


def ask_neighbours(known: np.ndarray, labels: np.ndarray, classes: int, features: np.ndarray) -> np.ndarray:
    """Return the share of each class among the neighbours of each of the (n, channels) `features`, (n, classes).

    Neighbours are of the images with the features `known`, (m, channels), and `labels`, (m,); of few images fewer.
    Square roots are compared, as few strong features would decide otherwise, less their mean over `known`.
    """
    roots = np.sign(known) * np.sqrt(np.abs(known))
    mean, number = roots.mean(axis=0), min(NEIGHBOURS, round(len(known) ** 0.5))
    directions, shares = to_unit(roots - mean), []
    with threadpool_limits(1):
        for block in np.array_split(features, -(-len(features) // BLOCK)):
            similarities = to_unit(np.sign(block) * np.sqrt(np.abs(block)) - mean) @ directions.T
            nearest = np.argpartition(-similarities, number - 1, axis=1)[:, :number]
            shares.append(np.eye(classes)[labels[nearest]].mean(axis=1))
    return np.concatenate(shares)


def to_unit(vectors: np.ndarray) -> np.ndarray:
    """Return (n, channels) `vectors` of length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
