"""What there is to tell of a run: metrics, predictions and curves of each model."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd


class Result(NamedTuple):
    """What there is to tell of one model."""

    metrics: dict  # as in metrics/evaluation.json
    images: pd.DataFrame  # see read_predictions
    probabilities: np.ndarray  # (n, classes) float32
    roc: pd.DataFrame  # as metrics.roc_curve gives it
    history: pd.DataFrame  # as history.write_epochs writes it


def read_results(metrics: Path, tables: Path, test: pd.DataFrame) -> tuple[dict[str, Result], list[dict]]:
    """Return a result for each model, and how two models each differ, as in metrics/evaluation.json."""
    measured = json.loads((metrics / "evaluation.json").read_text(encoding="utf-8"))
    differences = measured.pop("differences")
    results = {
        model: Result(
            found,
            *read_predictions(tables / f"{model}_predictions.csv", test),
            pd.read_csv(tables / f"{model}_roc.csv"),
            pd.read_csv(metrics / f"{model}_curves.csv", index_col="epoch"),
        )
        for model, found in measured.items()
    }
    return results, differences


def read_predictions(file: Path, test: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Return what a model predicts for the images of `test`, in their order.

    A table of path, label, class_index, sha256, predicted, predicted_index, confidence (the
    probability of the predicted class), of_label (that of the true one) and right; and
    probabilities, (n, classes) float32.
    """
    text = ["path", "label", "predicted"]
    table = pd.read_csv(file, dtype=dict.fromkeys(text, str), keep_default_na=False)
    probabilities = table.drop(columns=text).to_numpy("float32")
    index = dict(zip(test["label"], test["class_index"]))
    predicted = table["predicted"].map(index)
    images = test.assign(
        predicted=table["predicted"],
        predicted_index=predicted,
        confidence=probabilities[np.arange(len(test)), predicted].astype("float64"),
        of_label=probabilities[np.arange(len(test)), test["class_index"]],
        right=table["predicted"] == table["label"],
    )
    return images, probabilities
