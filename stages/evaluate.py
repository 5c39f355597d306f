"""Judge the three models on the test split: metrics, each image's prediction, and pictures.

The models see what is stored for the test images: their features for head and augmented, their
activations at the freeze point for fine_tuned.
"""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel

from stages.shared import machine, models
from stages.shared.command import run
from stages.shared.conv_base import BaseName
from stages.shared.files import keep, whole
from stages.shared.freeze_point import FreezePoint
from stages.shared.head import base_output
from stages.shared.intervals import mcnemar
from stages.shared.metrics import accuracy_without, judge, roc_curve
from stages.shared.parameters import read_parameters
from stages.shared.pictures import draw_confusion_matrices, draw_roc_curves
from stages.shared.prediction import predict_classes, predict_stored
from stages.shared.splits import read_split


class Parameters(BaseModel):
    conv_base: BaseName
    fine_tune: FreezePoint


def main(
    test_split: Path,
    features: Path,
    activations: Path,
    near_duplicates: Path,
    head: Path,
    augmented: Path,
    fine_tuned: Path,
    metrics: Path,
    tables: Path,
    confusion_picture: Path,
    roc_picture: Path,
    circumstances: Path,
    record: Path,
) -> None:
    parameters = read_parameters(Parameters)
    test = read_split(test_split)
    truth = test["class_index"].to_numpy()
    duplicated = test["path"].isin(pd.read_csv(near_duplicates, dtype=str, keep_default_na=False)["path"])
    measured, curves, right = {}, {}, {}
    through = parameters.fine_tune.layer(parameters.conv_base.name)
    for file, stored in ((head, features), (augmented, features), (fine_tuned, activations)):
        model, names, threshold = models.load(file)
        layer = through if stored == activations else base_output(model)
        probabilities = predict_stored(model, layer, test, stored)
        predicted = predict_classes(probabilities, threshold)
        measured[file.stem] = judge(truth, probabilities, names, threshold)
        curves[file.stem] = roc_curve(truth, probabilities)
        right[file.stem] = predicted == truth
        measured[file.stem]["accuracy_without_near_duplicates"] = accuracy_without(
            duplicated.to_numpy(), right[file.stem]
        )
        write_predictions(test, predicted, probabilities, names, tables / f"{file.stem}_predictions.csv")
        with whole(tables / f"{file.stem}_roc.csv") as table:
            curves[file.stem].to_csv(table, index=False)

    differences = [
        {"after": after, "before": before, **mcnemar(right[before], right[after])}
        for before, after in combinations(measured, 2)
    ]
    with whole(metrics) as table:
        table.write_text(
            json.dumps({**measured, "differences": differences}, indent=2, ensure_ascii=False) + "\n",
            encoding="utf-8",
        )
    draw_confusion_matrices(measured, names, confusion_picture)
    draw_roc_curves(curves, measured, roc_picture)
    machine.record(model, circumstances)
    keep(record, metrics, confusion_picture, roc_picture)
    print(f"{metrics}, {tables}, {confusion_picture}, {roc_picture}: {len(test)} test images")


def write_predictions(
    split: pd.DataFrame, predicted: np.ndarray, probabilities: np.ndarray, names: list[str], file: Path
) -> None:
    """Write path, label, predicted and a probability per class, a row an image."""
    columns = {f"probability_{name}": probabilities[:, index] for index, name in enumerate(names)}
    table = split[["path", "label"]].assign(predicted=np.array(names)[predicted], **columns)
    with whole(file) as unfinished:
        table.to_csv(unfinished, index=False)


if __name__ == "__main__":
    run(main)
