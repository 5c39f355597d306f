"""What linear probes say of labels that they have not learnt from."""

import numpy as np
import pandas as pd

from stages.audit_labels.confident_learning import find_suspects, mean_confidence
from stages.shared.probe.folds import draw_folds
from stages.shared.probe.linear_probe import fit_probe, predict_out_of_fold

FOLDS = 5
INNER_FOLDS = 3
SEEDS = (0, 1, 2)  # a draw of the folds for each


def judge(features: np.ndarray, split: pd.DataFrame) -> np.ndarray:
    """Return what probes that have not seen an image say of it, (draws, n, classes) float64.

    `features` are (n, channels), of the images of `split`.
    """
    return np.stack([predict_out_of_fold(features, split, FOLDS, seed) for seed in SEEDS])


def judge_without_suspects(features: np.ndarray, split: pd.DataFrame) -> np.ndarray:
    """Return what probes that learn from no suspects say of each image, suspects too, (n, classes) float64.

    In each fold the suspects are found anew among the images to learn from: suspects found among all were chosen
    with the labels that are held out, and without them probes foretell even labels drawn by lot.
    """
    probabilities = np.zeros((len(split), int(split["class_index"].max()) + 1))
    for learning, held_out in draw_folds(split, FOLDS, SEEDS[0]):
        images = split.iloc[learning].reset_index(drop=True)
        labels = images["class_index"].to_numpy()
        said = predict_out_of_fold(features[learning], images, INNER_FOLDS, SEEDS[0])
        trusted = find_suspects(said, labels, mean_confidence(said, labels)) == labels
        probe = fit_probe(features[learning][trusted], images[trusted], SEEDS[0])
        probabilities[held_out, : probe.classes] = probe.predict(features[held_out])
    return probabilities


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of `labels`, (n,), that are the most probable of the (…, n, classes) `probabilities`."""
    return float((probabilities.argmax(axis=-1) == labels).mean())
