"""An image's features as one vector: their average over space."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from stages.shared.pipeline.arrays import StoredArray, open_array

READ = 32  # images whose features are in memory at a time


def average_features(features: Path, splits: Mapping[str, pd.DataFrame]) -> dict[str, np.ndarray]:
    """Return the averaged features of the images of each split, (n, channels) float32.

    They lie in features/NAME.npy, (n, height, width, channels). Raises UserError as StoredArray does, and where the
    splits' features are not of one shape.
    """
    averages, shape = {}, None
    for name, split in splits.items():
        shape = shape or open_array(features / f"{name}.npy").shape[1:]
        array = StoredArray(features / f"{name}.npy", len(split), shape)
        blocks = np.split(np.arange(len(split)), range(READ, len(split), READ))
        averages[name] = np.concatenate(
            [array.read(0, rows).mean(axis=(1, 2), dtype="float32") for rows in blocks]
        )
    return averages
