"""A linear classifier of an image's features, averaged over space: multinomial logistic regression.

It answers questions about images, labels and bases in seconds, as it is trained in a fraction of one.
Source: Alain and Bengio, Understanding Intermediate Layers Using Linear Classifier Probes (2016).
"""

import warnings
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import ThreadpoolController

from stages.shared.probe.folds import draw_folds

STRENGTHS = 10.0 ** np.arange(-4, 1.5, 0.5)  # inverses of the penalty's, C in scikit-learn
INNER_FOLDS = 5
JUDGED = 300  # images on which a strength is chosen, or all where there are fewer
ITERATIONS = 1000
LEAST = 1e-7  # probability of the true class in a loss, as in Keras


Folds = list[tuple[np.ndarray, np.ndarray]]  # rows to learn from and those held out


class Probe(NamedTuple):
    """A trained probe of (n, channels) features."""

    mean: np.ndarray  # (channels,) float64
    deviation: np.ndarray
    model: LogisticRegression | DummyClassifier  # the latter where there is one class to learn from
    classes: int

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return the probability of each class for (n, channels) `features`, (n, classes) float64.

        It is 0 for a class of which no image was there to learn from.
        """
        probabilities = np.zeros((len(features), self.classes))
        with find_libraries().limit(limits=1):
            known = self.model.predict_proba((features - self.mean) / self.deviation)
        probabilities[:, self.model.classes_] = known
        return probabilities


@cache
def find_libraries() -> ThreadpoolController:
    """Return the libraries that compute on several cores, found once: to look for them takes as long as a small fit."""
    return ThreadpoolController()


def fit_probe(features: np.ndarray, split: pd.DataFrame, seed: int) -> Probe:
    """Return a probe trained on the (n, channels) `features` of the images of `split`.

    The features are standardized. The strength of the penalty is the one with the lowest loss on images held out of
    that choice, and the strongest one where no class has two images; then all are learnt from.
    On one core, so that the bytes depend on no number of cores.
    """
    labels, classes = split["class_index"].to_numpy(), int(split["class_index"].max()) + 1
    best = float(STRENGTHS[0])
    with find_libraries().limit(limits=1), warnings.catch_warnings():
        # A weak penalty that needs longer is none to choose.
        warnings.simplefilter("ignore", ConvergenceWarning)
        if np.bincount(labels).max() > 1:
            best = choose_strength(features, labels, classes, list(draw_folds(split, INNER_FOLDS, seed)))
        return fit_with(features, labels, classes, LogisticRegression(C=best, max_iter=ITERATIONS))


def choose_strength(features: np.ndarray, labels: np.ndarray, classes: int, folds: Folds) -> float:
    """Return of STRENGTHS the last one before the loss on held-out images rises.

    It is the mean of as many of `folds` as it takes to judge JUDGED images: of few images one fold has too few, and
    of many one is enough.
    """
    sizes = np.cumsum([len(held_out) for _, held_out in folds])
    folds = folds[: int(np.searchsorted(sizes, JUDGED)) + 1]
    models = [LogisticRegression(max_iter=ITERATIONS, warm_start=True) for _ in folds]
    best, lowest = STRENGTHS[0], np.inf
    for strength in STRENGTHS:
        losses = []
        for model, (learning, held_out) in zip(models, folds, strict=True):
            probe = fit_with(features[learning], labels[learning], classes, model.set_params(C=strength))
            losses.append(log_loss(probe.predict(features[held_out]), labels[held_out]))
        if np.mean(losses) >= lowest:
            break
        best, lowest = strength, np.mean(losses)
    return float(best)


def fit_with(features: np.ndarray, labels: np.ndarray, classes: int, model: LogisticRegression) -> Probe:
    """Return the probe that is `model`, trained on the standardized `features`."""
    mean, deviation = features.mean(axis=0, dtype="float64"), features.std(axis=0, dtype="float64")
    deviation[deviation == 0] = 1  # a filter that answers to none of the images
    kind = model if np.ptp(labels) else DummyClassifier()
    return Probe(mean, deviation, kind.fit((features - mean) / deviation, labels), classes)


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean cross-entropy of (n, classes) `probabilities`, where `labels`, (n,), are the true classes."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], LEAST)).mean())


def predict_out_of_fold(features: np.ndarray, split: pd.DataFrame, folds: int, seed: int) -> np.ndarray:
    """Return what a probe trained on the other folds says of each image, (n, classes) float64."""
    probabilities = np.zeros((len(split), int(split["class_index"].max()) + 1))
    for learning, held_out in draw_folds(split, folds, seed):
        probe = fit_probe(features[learning], split.iloc[learning], seed)
        probabilities[held_out, : probe.classes] = probe.predict(features[held_out])
    return probabilities
