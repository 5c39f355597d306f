"""What there is to tell of a run: metrics, predictions and curves of each model."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from stages.report.examples import SHOWN, show
from stages.shared.evaluation.curves import reliability
from stages.shared.evaluation.predictions import read_predictions
from stages.shared.images.image_folder import ImageFolder
from stages.shared.pipeline.json_and_csv import CURVES, ROC, read_json, read_table
from stages.shared.reporting.model_quality import (
    describe_answers,
    describe_calibration,
    describe_confusions,
    describe_curves,
)


class Result(NamedTuple):
    """What there is to tell of one model."""

    metrics: dict  # as in metrics/evaluation.json
    images: pd.DataFrame  # see read_predictions
    probabilities: np.ndarray  # (n, classes) float32
    roc: pd.DataFrame  # as metrics.roc_curve gives it
    history: pd.DataFrame  # as history.write_epochs writes it


def read_results(metrics: Path, tables: Path, test: pd.DataFrame) -> tuple[dict[str, Result], list[dict]]:
    """Return a result for each model, and how two models each differ, as in metrics/evaluation.json."""
    measured = read_json(metrics / "evaluation.json")
    differences = measured.pop("differences")
    results = {
        model: Result(
            found,
            *read_predictions(tables / f"{model}_predictions.csv", test),
            read_table(tables / f"{model}_roc.csv", ROC),
            read_table(metrics / f"{model}_curves.csv", CURVES).set_index("epoch"),
        )
        for model, found in measured.items()
    }
    return results, differences


def describe(
    model: str, result: Result, class_names: list[str], folder: ImageFolder, white_16_bit: int
) -> dict:
    """Return the sentences on a model, its confusion matrix and its images."""
    threshold = result.metrics.get("threshold")
    sureness = (
        result.images["confidence"] if threshold is None else abs(result.probabilities[:, 1] - threshold)
    )
    least_sure = result.images.assign(sureness=sureness).sort_values(["sureness", "path"])
    surest = result.images.sort_values(["confidence", "path"], ascending=[False, True])
    matrix = np.array(result.metrics["confusion_matrix"])
    return {
        "curves": describe_curves(model, result.history),
        "confusions": describe_confusions(model, matrix, class_names),
        "f1": float(np.mean([found["f1"] for found in result.metrics["per_class"]])),
        "matrix": [
            {"name": name, "cells": [{"images": n, "share": n / row.sum()} for n in row.tolist()]}
            for name, row in zip(class_names, matrix, strict=True)
        ],
        "calibration": describe_calibration(
            model, result.metrics, reliability(result.images["class_index"].to_numpy(), result.probabilities)
        ),
        "answers": describe_answers(model, result.metrics),
        "wrong": show(surest[~surest["right"]].head(SHOWN), folder, white_16_bit),
        "uncertain": show(least_sure.head(SHOWN), folder, white_16_bit),
    }
