"""The fingerprint of a training: a digest of all that an epoch depends on, besides the epochs before it."""

from collections.abc import Iterable, Mapping
from hashlib import sha256

import keras
import numpy as np

from stages.shared.network import environment, freeze_point
from stages.shared.network.model_file import renumber
from stages.shared.pipeline import arrays
from stages.shared.pipeline.arrays import StoredArray
from stages.shared.store.fingerprint import take_fingerprint
from stages.shared.training import checkpoints, devices, optimizer, weight_gradient
from stages.shared.training.checkpoints import take_state

# Whose code decides about the last bit.
MODULES = (arrays, checkpoints, devices, freeze_point, optimizer, weight_gradient)


def fingerprint_training(
    classifier: keras.Model,
    trained: keras.Model,
    sets: Iterable[tuple[StoredArray, np.ndarray]],
    parameters: Mapping[str, object],
    module: str,
) -> bytes:
    """Return the SHA-256 over the part of `classifier` that is `trained`, as it begins, the arrays and labels,
    (n,) int64, of `sets`, and `parameters`.

    `module` is the file of the one that trains, whose code counts too.
    """
    # The names in `trained` count how many models the process has made.
    values = [
        renumber(classifier.to_json()),
        trained.layers[1].name,
        _digest(take_state(trained)),
        dict(parameters),
        environment.describe()["cores"],  # on which sums over a batch depend
        len(devices.list_devices()),
    ]
    for stored, labels in sets:
        values += [stored.digest(), _digest([labels])]
    modules = [module, *(used.__file__ for used in MODULES)]
    return take_fingerprint(modules, values)


def _digest(arrays: Iterable[np.ndarray]) -> str:
    digest = sha256()
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()
