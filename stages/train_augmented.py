"""Train a fresh head on the frozen conv base with augmentation, from the features of stored views.

Epoch e trains on view e mod views. With as many views as epochs that is end-to-end training with
the frozen base inside the model, where every epoch sees fresh augmentation, to the same weights.
"""

from pathlib import Path

import keras

from stages.shared.network import environment
from stages.shared.pipeline.command import run
from stages.shared.pipeline.parameters import read_parameters
from stages.shared.pipeline.splits import read_split
from stages.shared.training.classifier import Results
from stages.shared.training.fit import Examples
from stages.shared.training.fresh_head import BaseParameters, FreshHead, train_fresh_head


class Parameters(BaseParameters):
    augmented: FreshHead


def main(
    *,
    train_split: Path,
    validation_split: Path,
    weights: Path,
    view_features: Path,
    validation_features: Path,
    model: Path,
    metrics: Path,
    curves: Path,
) -> list[keras.Model]:
    """Train the head and return the network that ran.

    Reads:  two splits (.csv), weights (.weights.h5), and features (.npy), float16 or float32:
            of views of the training images, (views, n, height, width, channels), and of the
            validation images as they are, (n, height, width, channels)
    Writes: model (.keras), metrics of the kept epoch (.json), curves (.csv): both after each epoch
    """
    parameters = read_parameters(Parameters)
    train = Examples(read_split(train_split), view_features)
    validation = Examples(read_split(validation_split), validation_features)
    results = Results(model, metrics, curves)
    head = parameters.augmented
    return [train_fresh_head(parameters, head, "augmented", weights, train, validation, results)]


if __name__ == "__main__":
    run(main, environment=environment.record)
