"""How sure a mean over folds is: their trainings share images, so that their spread alone says too little.

Source: Nadeau and Bengio, Inference for the Generalization Error (2003); for repeated folds Bouckaert and Frank,
Evaluating the Replicability of Significance Tests for Comparing Learning Algorithms (2004).
"""

import numpy as np
from scipy.special import stdtr, stdtrit

MODELS = ("probe", "head")  # whose figures cross_validate has of each fold
FIGURES = ("accuracy", "loss", "f1")


def standard_error(values: np.ndarray, learnt: np.ndarray, held_out: np.ndarray) -> float:
    """Return the corrected standard error of the mean of `values`, (folds,), one of each fold.

    `learnt` and `held_out` are the numbers of images that a fold was learnt from and measured on, (folds,).
    """
    share = held_out.sum() / learnt.sum()
    return float(np.sqrt((1 / len(values) + share) * values.var(ddof=1)))


def corrected_interval(values: np.ndarray, learnt: np.ndarray, held_out: np.ndarray) -> list[float]:
    """Return the 95 % interval of the mean of `values`, by Student's distribution; arguments as in standard_error."""
    half = stdtrit(len(values) - 1, 0.975) * standard_error(values, learnt, held_out)
    return [float(values.mean() - half), float(values.mean() + half)]


def corrected_p_value(differences: np.ndarray, learnt: np.ndarray, held_out: np.ndarray) -> float:
    """Return the two-sided p value of the mean of `differences` between two settings on the same folds."""
    mean, error = abs(differences.mean()), standard_error(differences, learnt, held_out)
    if error == 0:
        return float(mean == 0)
    return float(2 * stdtr(len(differences) - 1, -mean / error))
