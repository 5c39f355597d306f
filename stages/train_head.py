"""Train a dense head on the stored features of the training images."""

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
    head: FreshHead


def main(
    *,
    train_split: Path,
    validation_split: Path,
    weights: Path,
    train_features: Path,
    validation_features: Path,
    model: Path,
    metrics: Path,
    curves: Path,
) -> list[keras.Model]:
    """Train the head and return the network that ran.

    Reads:  two splits (.csv), weights (.weights.h5), and the features of their images (.npy),
            each (n, height, width, channels), float16 or float32
    Writes: model (.keras), metrics of the kept epoch (.json), curves (.csv): both after each epoch
    """
    parameters = read_parameters(Parameters)
    train = Examples(read_split(train_split), train_features)
    validation = Examples(read_split(validation_split), validation_features)
    results = Results(model, metrics, curves)
    return [train_fresh_head(parameters, parameters.head, "head", weights, train, validation, results)]


if __name__ == "__main__":
    run(main, environment=environment.record)
