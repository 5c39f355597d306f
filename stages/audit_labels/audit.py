"""What is said of labels by those that have not learnt from them: linear probes, and the images' nearest neighbours.

Together they find more wrong labels than either alone: docs/results.md has the figures.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from stages.audit_labels.confident_learning import choose_thresholds, find_suspects
from stages.audit_labels.neighbours import ask_neighbours
from stages.shared.probe.folds import draw_folds
from stages.shared.probe.linear_probe import fit_probe

FOLDS = 5
INNER_FOLDS = 2
SEED = 0  # of the draw of the folds


class Judgement(NamedTuple):
    """What is said of n images that are labelled."""

    probabilities: np.ndarray  # (n, classes)
    thresholds: np.ndarray  # from which on an image is counted to a class, (classes,)
    suggested: np.ndarray  # the class that a suspect is counted to, the label of all others, (n,) int64


def judge(features: np.ndarray, split: pd.DataFrame, settled: np.ndarray, folds: int = FOLDS) -> Judgement:
    """Return what is said of the images of `split`, with (n, channels) `features`, by those of the other folds.

    They are asked twice, the second time without those that are suspects after the first. Those that are `settled`,
    (n,) bool, are none.
    """
    first = judge_by(np.ones(len(split), bool), features, split, settled, folds)
    return judge_by(first.suggested == split["class_index"].to_numpy(), features, split, settled, folds)


def judge_by(
    trusted: np.ndarray, features: np.ndarray, split: pd.DataFrame, settled: np.ndarray, folds: int
) -> Judgement:
    """Return what is said of all by those of the other folds that are `trusted`, (n,) bool."""
    labels = split["class_index"].to_numpy()
    probabilities = np.zeros((len(split), labels.max() + 1))
    for learning, held_out in draw_folds(split, folds, SEED):
        known = choose_known(learning, trusted)
        probabilities[held_out] = ask(
            features[known], split.iloc[known], features[held_out], labels.max() + 1
        )
    thresholds = choose_thresholds(probabilities, labels)
    suggested = np.where(settled, labels, find_suspects(probabilities, labels, thresholds))
    return Judgement(probabilities, thresholds, suggested)


def choose_known(rows: np.ndarray, trusted: np.ndarray) -> np.ndarray:
    """Return those of `rows` that are `trusted`, (n,) bool, or all where none is: somebody has to be asked."""
    kept = rows[trusted[rows]]
    return kept if len(kept) else rows


def ask(features: np.ndarray, split: pd.DataFrame, others: np.ndarray, classes: int) -> np.ndarray:
    """Return what is said of `others`, (m, channels) features, by the images of `split`, (m, classes) float64.

    It is the mean of the probabilities of a probe and of the shares among the nearest neighbours.
    """
    probe = fit_probe(features, split, SEED)
    probabilities = ask_neighbours(features, split["class_index"].to_numpy(), classes, others)
    probabilities[:, : probe.classes] += probe.predict(others)
    return probabilities / 2


def judge_without_suspects(features: np.ndarray, split: pd.DataFrame, settled: np.ndarray) -> np.ndarray:
    """Return what probes that learn from no suspects say of each image, suspects too, (n, classes) float64.

    In each fold the suspects are found anew among the images to learn from: suspects found among all were chosen
    with the labels that are held out, and without them probes foretell even labels drawn by lot.
    """
    labels = split["class_index"].to_numpy()
    probabilities = np.zeros((len(split), int(labels.max()) + 1))
    for learning, held_out in draw_folds(split, FOLDS, SEED):
        images = split.iloc[learning].reset_index(drop=True)
        found = judge(features[learning], images, settled[learning], INNER_FOLDS)
        known = learning[choose_known(np.arange(len(learning)), found.suggested == labels[learning])]
        probe = fit_probe(features[known], split.iloc[known], SEED)
        probabilities[held_out, : probe.classes] = probe.predict(features[held_out])
    return probabilities


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of `labels`, (n,), that are the most probable of the (n, classes) `probabilities`."""
    return float((probabilities.argmax(axis=1) == labels).mean())
