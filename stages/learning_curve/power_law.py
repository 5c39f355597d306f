"""An inverse power law through what subsets of images gave, and how sure it is beyond them.

Sources: Cortes et al., Learning Curves: Asymptotic Values and Rate of Convergence (1993), for the law; Viering and Loog,
The Shape of Learning Curves: a Review (2022), for how well it fits. All sizes weigh the same: the smallest subsets,
after which a probe names the largest class, scatter least, and by their scatter would weigh most.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

EXPONENTS = np.geomspace(0.05, 2, 200)
RESAMPLES = 400
SEED = 0


class Curves(NamedTuple):
    """Laws of the form limit - scale · images ** -exponent, each (m,): the one that fits best, then resamples'.

    `noise`, (m,), is how far single draws lay from the mean of their size: one for the images that are there, and one
    for those to come.
    """

    limit: np.ndarray
    scale: np.ndarray
    exponent: np.ndarray
    noise: np.ndarray

    def at(self, images: float) -> np.ndarray:
        """Return the share that each law gives for `images` to learn from, (m,)."""
        return self.limit - self.scale * images**-self.exponent

    def band(self, images: float) -> list[float]:
        """Return between what 95 % of measurements with so many `images` are to be expected, on the same images."""
        return np.quantile((self.at(images) + self.noise)[1:], [0.025, 0.975]).clip(0, 1).tolist()

    def images_for(self, share: float) -> np.ndarray:
        """Return how many images each law takes for `share`, (m,); infinite where it does not get there."""
        above = self.limit - share
        with np.errstate(over="ignore"):
            takes = (self.scale / np.where(above > 0, above, 1)) ** (1 / self.exponent)
        return np.where(above > 0, takes, np.inf)


def fit(images: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return limit, scale and exponent of the best laws through each row of `shares`, (m, sizes); each (m,).

    Least squares for each of EXPONENTS; the limit is at most 1, and no law falls.
    """
    best, laws = np.full(len(shares), np.inf), np.zeros((3, len(shares)))
    for exponent in EXPONENTS:
        x = images**-exponent
        centred, mean = x - x.mean(), shares.mean(axis=1)
        scale = np.maximum(-(shares @ centred) / (centred @ centred), 0)
        limit = mean + scale * x.mean()
        scale = np.where(limit > 1, (1 - shares) @ x / (x @ x), scale)
        limit = np.minimum(limit, 1)
        errors = ((shares - (limit[:, np.newaxis] - scale[:, np.newaxis] * x)) ** 2).sum(axis=1)
        better = errors < best
        best[better] = errors[better]
        laws[:, better] = np.array([limit, scale, np.full(len(shares), exponent)])[:, better]
    return laws[0], laws[1], laws[2]


def fit_curves(measured: pd.DataFrame, column: str | int) -> Curves:
    """Return the laws for `column` of `measured`, as measure_subsets gives it.

    Subsets of one set are more alike than those of all images that there might be. So a resample of a size has no more
    draws than are disjoint, its scatter is corrected as that of any sample of a finite set, and all images, which are
    drawn once, are taken to vary as half of them do.
    """
    drawn = measured.pivot(index="draw", columns="images", values=column)
    images, means = drawn.columns.to_numpy("float64"), drawn.mean().to_numpy()
    parts, whole = drawn.iloc[:, :-1], images[-1]
    residuals = (parts - parts.mean()).to_numpy()
    scatter = np.column_stack([residuals / np.sqrt(1 - images[:-1] / whole), residuals[:, -1]])
    disjoint = np.minimum(len(drawn), np.round(whole / images).astype(int))
    rng = np.random.default_rng(SEED)
    chosen = rng.integers(len(drawn), size=(RESAMPLES, len(drawn)))
    shifts = [
        of_size[chosen[:, :count]].mean(axis=1) for of_size, count in zip(scatter.T, disjoint, strict=True)
    ]
    laws = fit(images, np.vstack([means, means + np.transpose(shifts)]))
    return Curves(*laws, rng.choice(residuals[:, -1], (2, RESAMPLES + 1)).sum(axis=0))
