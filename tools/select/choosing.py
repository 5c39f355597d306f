"""Choose images whose labels would teach most: those of which a model is unsure, and no two alike.

A batch is chosen at once, so that the most uncertain images alone would often be one hard case many times. Method and
the weights of the clusters: Zhdanov, Diverse Mini-Batch Active Learning (2019); margins: Scheffer, Decomain and
Wrobel, Active Hidden Markov Models for Information Extraction (2001).
"""

import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

CANDIDATES = 5  # for each image to choose, so many of the most uncertain ones


def margins(probabilities: np.ndarray) -> np.ndarray:
    """Return by how much the likeliest class leads the next one in (n, classes) `probabilities`, (n,) from 0 to 1."""
    *_, second, first = np.sort(probabilities, axis=1).T
    return first - second


def choose(candidates: np.ndarray, margin: np.ndarray, number: int) -> np.ndarray:
    """Return the rows of `number` of the `candidates`, int64, the most uncertain first.

    `candidates`, (m, channels), are unit vectors of images that are alike where they point in one direction, and
    `margin`, (m,), says how sure a model is of each. They are put into as many clusters, to which an uncertain one
    counts more, and each cluster gives the one that is nearest to its centre: fewer than `number` where fewer differ.
    """
    if len(candidates) <= number:
        return np.argsort(margin, kind="stable")
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of identical images there are fewer clusters
        clusters = KMeans(number, n_init=1, random_state=0).fit(candidates, sample_weight=1 - margin)
    distances = np.linalg.norm(candidates - clusters.cluster_centers_[clusters.labels_], axis=1)
    nearest = np.lexsort((margin, distances))
    _, first = np.unique(clusters.labels_[nearest], return_index=True)
    chosen = nearest[first]
    return chosen[np.argsort(margin[chosen], kind="stable")]
