"""Fine-tune the top of the conv base together with its head, from activations at the freeze point.

Starts from the augmented model and trains the layers after fine_tune.freeze_through: their weights
and updates are float32, their arithmetic is in the precision in which the base ran.
"""

from pathlib import Path

import keras

from stages.shared.network import environment, model_file
from stages.shared.network.conv_base import BaseName
from stages.shared.network.freeze_point import FreezePoint
from stages.shared.pipeline.command import run
from stages.shared.pipeline.parameters import Sections, read_parameters
from stages.shared.pipeline.splits import read_split
from stages.shared.store.results import Store
from stages.shared.training.classifier import Results, train_classifier
from stages.shared.training.fit import Examples, Training


class FineTuning(FreezePoint, Training):
    """What is fine-tuned, and how. Of two configurations pydantic takes the last: no key is unknown."""


class Parameters(Sections):
    conv_base: BaseName
    fine_tune: FineTuning
    store: Store


def main(
    *,
    train_split: Path,
    validation_split: Path,
    augmented: Path,
    view_activations: Path,
    validation_activations: Path,
    model: Path,
    metrics: Path,
    curves: Path,
) -> list[keras.Model]:
    """Train the layers above the freeze point and return the network that ran.

    Reads:  two splits (.csv), the augmented model (.keras), and activations (.npy), float16 or float32:
            of views of the training images, (views, n, height, width, channels), and of the
            validation images as they are, (n, height, width, channels)
    Writes: model (.keras), metrics of the kept epoch (.json), curves (.csv): both after each epoch
    """
    parameters = read_parameters(Parameters)
    train = Examples(read_split(train_split), view_activations)
    validation = Examples(read_split(validation_split), validation_activations)
    classifier = model_file.load(augmented)
    training, results = parameters.fine_tune, Results(model, metrics, curves)
    through = training.layer(parameters.conv_base.name)
    store = parameters.store
    train_classifier(classifier, through, train, validation, training, store, "fine_tune", results)
    return [classifier.network]


if __name__ == "__main__":
    run(main, environment=environment.record)
