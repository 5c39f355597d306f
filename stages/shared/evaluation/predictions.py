"""What a model predicts for the test images, as evaluate leaves it to other stages."""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.shared.pipeline.damage import damaged
from stages.shared.pipeline.json_and_csv import PREDICTIONS, read_table


def read_predictions(file: Path, test: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Return what a model predicts for the images of `test`, in their order.

    A table of path, label, class_index, sha256, predicted, confidence (the
    probability of the predicted class), of_label (that of the true one) and right; and
    probabilities, (n, classes) float32. Raises UserError where the table is not that of these images.
    """
    table = read_table(file, PREDICTIONS)
    probabilities = table.drop(columns=list(PREDICTIONS)).to_numpy("float32")
    index = dict(zip(test["label"], test["class_index"], strict=True))
    predicted = table["predicted"].map(index)
    if predicted.isna().any() or not table[["path", "label"]].equals(test[["path", "label"]]):
        raise damaged(file, "its rows are not those of the test split")
    images = test.assign(
        predicted=table["predicted"],
        confidence=probabilities[np.arange(len(test)), predicted].astype("float64"),
        of_label=probabilities[np.arange(len(test)), test["class_index"]],
        right=table["predicted"] == table["label"],
    )
    return images, probabilities
