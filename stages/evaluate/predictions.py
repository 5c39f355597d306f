"""What a model says of the test images, computed once for a model and the arrays that it sees."""

from hashlib import file_digest
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from stages.shared.network import freeze_point, inference, prediction
from stages.shared.network.prediction import predict_stored
from stages.shared.pipeline import arrays
from stages.shared.pipeline.arrays import StoredArray
from stages.shared.store.fingerprint import take_fingerprint
from stages.shared.store.results import Store

# Whose code decides about the last bit.
MODULES = (arrays, freeze_point, inference, prediction)


def predict_once(
    file: Path, network: keras.Model, through: str, split: pd.DataFrame, outputs: Path, store: Store
) -> tuple[np.ndarray, bool]:
    """Return what predict_stored gives for `network`, the model in `file`, and whether it came from `store`."""
    array = StoredArray(outputs, len(split), network.get_layer(through).output.shape[1:])
    with file.open("rb") as model:
        digest = file_digest(model, "sha256").hexdigest()
    modules = [__file__, *(used.__file__ for used in MODULES)]
    key = take_fingerprint(modules, ["predictions", digest, through, array.digest()])
    (stored,) = store.read([key])
    if stored is not None:
        store.mark_used([key])
        return np.frombuffer(stored, "float32").reshape(len(split), -1), True
    probabilities = predict_stored(network, through, split, outputs)
    store.write({key: probabilities.tobytes()})
    return probabilities, False


def tabulate(
    split: pd.DataFrame, predicted: np.ndarray, probabilities: np.ndarray, class_names: list[str]
) -> pd.DataFrame:
    """Return path, label, predicted and a probability per class, a row an image."""
    columns = {f"probability_{name}": probabilities[:, index] for index, name in enumerate(class_names)}
    return split[["path", "label"]].assign(predicted=np.array(class_names)[predicted], **columns)
