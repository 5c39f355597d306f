"""What a model says of the test images, computed once for a model and the arrays that it sees."""

from hashlib import file_digest
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from stages.shared.network import environment, freeze_point, inference, model_file, prediction, typicality
from stages.shared.network.freeze_point import base_output
from stages.shared.network.prediction import predict_stored
from stages.shared.pipeline import arrays
from stages.shared.pipeline.arrays import StoredArray, open_array
from stages.shared.store.fingerprint import take_fingerprint
from stages.shared.store.results import Store

# Whose code decides about the last bit.
MODULES = (arrays, freeze_point, inference, prediction, typicality)


class Predictions(NamedTuple):
    """What a model says of images."""

    probabilities: np.ndarray  # (n, classes) float32
    typicality: np.ndarray  # of each among the images that it learnt from, (n,) float32
    from_store: bool


def predict_once(
    file: Path, through: str | None, split: pd.DataFrame, outputs: Path, store: Store
) -> Predictions:
    """Return what the model in `file` says of the images of `split`, computed or from `store`.

    The stored `outputs` are those of the layer `through`, or of the one below the head.
    """
    with file.open("rb") as model:
        digest = file_digest(model, "sha256").hexdigest()
    _, *row_shape = open_array(outputs).shape
    array = StoredArray(outputs, len(split), tuple(row_shape))
    modules = [__file__, *(used.__file__ for used in MODULES)]
    cores = environment.describe()["cores"]  # on which sums over features depend
    key = take_fingerprint(modules, ["predictions", digest, str(through), array.digest(), cores])
    (stored,) = store.read([key])
    if stored is not None:
        store.mark_used([key])
        table = np.frombuffer(stored, "float32").reshape(len(split), -1)
        return Predictions(table[:, :-1], table[:, -1], from_store=True)
    classifier = model_file.load(file)
    network = classifier.network
    probabilities, features = predict_stored(network, through or base_output(network), split, outputs)
    typical = classifier.training_images.typicality(features).astype("float32")
    store.write({key: np.column_stack([probabilities, typical]).tobytes()})
    return Predictions(probabilities, typical, from_store=False)


def tabulate(
    split: pd.DataFrame, predicted: np.ndarray, probabilities: np.ndarray, class_names: list[str]
) -> pd.DataFrame:
    """Return path, label, predicted and a probability per class, a row an image."""
    columns = {f"probability_{name}": probabilities[:, index] for index, name in enumerate(class_names)}
    return split[["path", "label"]].assign(predicted=np.array(class_names)[predicted], **columns)
