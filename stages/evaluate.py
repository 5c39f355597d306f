"""Judge the three models on the test split: metrics, each image's prediction, and pictures.

The models see what is stored for the test images: their features for head and augmented, their
activations at the freeze point for fine_tuned.
"""

import json
from itertools import combinations
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from pydantic import BaseModel

from stages.shared import machine, models
from stages.shared.arrays import StoredArray
from stages.shared.command import run
from stages.shared.conv_base import BaseName
from stages.shared.files import keep, whole
from stages.shared.freeze_point import FreezePoint, above
from stages.shared.head import base_output
from stages.shared.inference import compiled
from stages.shared.intervals import mcnemar
from stages.shared.metrics import accuracy_without, measure, per_class, roc_curve, with_intervals
from stages.shared.parameters import read_parameters
from stages.shared.pictures import draw_confusion_matrices, draw_roc_curves
from stages.shared.splits import read_split

BATCH = 32


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
        model, names = models.load(file)
        layer = through if stored == activations else base_output(model)
        probabilities = predict(model, layer, stored, test)
        measured[file.stem] = with_intervals(measure(truth, probabilities, names), truth, probabilities)
        curves[file.stem] = roc_curve(truth, probabilities)
        right[file.stem] = probabilities.argmax(axis=1) == truth
        measured[file.stem]["accuracy_without_near_duplicates"] = accuracy_without(
            duplicated.to_numpy(), right[file.stem]
        )
        write_predictions(test, probabilities, names, tables / f"{file.stem}_predictions.csv")
        with whole(tables / f"{file.stem}_roc.csv") as table:
            curves[file.stem].to_csv(table, index=False)

    differences = {
        f"{after}_against_{before}": mcnemar(right[before], right[after])
        for before, after in combinations(measured, 2)
    }
    with whole(metrics) as table:
        table.write_text(
            json.dumps({**measured, "differences": differences}, indent=2, ensure_ascii=False) + "\n"
        )
    draw_confusion_matrices(measured, names, confusion_picture)
    draw_roc_curves(curves, measured, roc_picture)
    machine.record(model, circumstances)
    keep(record, metrics, confusion_picture, roc_picture)
    print(f"{metrics}, {tables}, {confusion_picture}, {roc_picture}: {len(test)} test images")


def predict(classifier: keras.Model, through: str, stored: Path, split: pd.DataFrame) -> np.ndarray:
    """Return (n, classes) float32 probabilities from what is stored for layer `through`."""
    model = above(classifier, through)
    array = StoredArray(stored, len(split), classifier.get_layer(through).output.shape[1:])
    batches = np.split(np.arange(len(split)), range(BATCH, len(split), BATCH))
    infer = compiled(model)
    outputs = [infer(array.read(0, rows).astype("float32"))[0] for rows in batches]
    return per_class(np.concatenate(outputs))


def write_predictions(split: pd.DataFrame, probabilities: np.ndarray, names: list[str], file: Path) -> None:
    """Write path, label, predicted and a probability per class, a row an image."""
    columns = {f"probability_{name}": probabilities[:, index] for index, name in enumerate(names)}
    predicted = np.array(names)[probabilities.argmax(axis=1)]
    with whole(file) as table:
        split[["path", "label"]].assign(predicted=predicted, **columns).to_csv(table, index=False)


if __name__ == "__main__":
    run(main)
