"""How sure a metric of a test split is, and whether two models differ by more than chance."""

from collections.abc import Iterator
from math import sqrt
from statistics import NormalDist

import numpy as np

RESAMPLES = 1000
AT_A_TIME = 20  # resamples, so that memory stays small with many images
SEED = 0


def wilson(correct: int, images: int) -> list[float]:
    """Return the 95 % interval of an accuracy. Source: Wilson, Probable Inference (1927)."""
    share, squared = correct / images, NormalDist().inv_cdf(0.975) ** 2 / images
    middle, half = share + squared / 2, sqrt(squared * (share * (1 - share) + squared / 4))
    return [max(0.0, (middle - half) / (1 + squared)), min(1.0, (middle + half) / (1 + squared))]


def mcnemar(before: np.ndarray, after: np.ndarray) -> dict:
    """Compare two models by which of the same images each got right, (n,) bool.

    Returns how many images `after` corrected and spoiled, and the exact two-sided p value.
    Source: McNemar, Note on the Sampling Error of the Difference Between Correlated Proportions (1947).
    """
    corrected, spoiled = int((~before & after).sum()), int((before & ~after).sum())
    return {"corrected": corrected, "spoiled": spoiled, "p_value": even_chances(corrected, spoiled)}


def even_chances(one: int, other: int) -> float:
    """Return the exact probability that `one` + `other` tosses of a coin come out as unevenly, or more."""
    tosses, ways, term = one + other, 0, 1
    for heads in range(min(one, other) + 1):
        ways += term  # that many of the 2 ** tosses outcomes have `heads` heads
        term = term * (tosses - heads) // (heads + 1)
    return min(1.0, 2 * ways / 2**tosses)


def bootstrap(truth: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """Return 95 % intervals of roc_auc, (2,), and of each class's f1, (classes, 2).

    Percentiles over resamples of the images within each true class; metrics as `metrics.measure`
    defines them, of class indices `truth` and `predicted`, (n,), and `probabilities`, (n, classes).
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993).
    """
    classes = range(probabilities.shape[1])
    areas, f1 = [], []
    for counts in draw_counts(truth):
        by_class = [area(truth == index, probabilities[:, index], counts) for index in classes]
        areas.append(np.mean(by_class, axis=0))
        hits = [counts @ ((truth == index) & (predicted == index)) for index in classes]
        named = [counts @ ((truth == index).astype(int) + (predicted == index)) for index in classes]
        f1.append(2 * np.array(hits) / np.array(named))
    return {
        "roc_auc": np.quantile(np.concatenate(areas), [0.025, 0.975]),
        "f1": np.quantile(np.concatenate(f1, axis=1), [0.025, 0.975], axis=1).T,
    }


def draw_counts(truth: np.ndarray) -> Iterator[np.ndarray]:
    """Yield how often each image is in each of RESAMPLES resamples, (AT_A_TIME, n) int64."""
    rng = np.random.default_rng(SEED)
    for _ in range(0, RESAMPLES, AT_A_TIME):
        counts = np.empty((AT_A_TIME, len(truth)), dtype="int64")
        for index in np.unique(truth):
            images = truth == index
            counts[:, images] = rng.multinomial(images.sum(), [1 / images.sum()] * images.sum(), AT_A_TIME)
        yield counts


def area(positive: np.ndarray, score: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve in each resample, (resamples,).

    The share of pairs of a positive and a negative image that `score`, (n,), has in the right
    order, ties counted half.
    """
    order = np.argsort(score, kind="stable")
    starts = np.unique(score[order], return_index=True)[1]
    positives, negatives = (
        np.add.reduceat(counts[:, order] * chosen[order], starts, axis=1) for chosen in (positive, ~positive)
    )
    below = negatives.cumsum(axis=1) - negatives / 2
    return (positives * below).sum(axis=1) / (positives.sum(axis=1) * negatives.sum(axis=1))
