"""Fine-tune the top of the conv base together with its head, from activations at the freeze point.

Starts from the augmented model and trains the layers after fine_tune.freeze_through: their weights
and updates are float32, their arithmetic is in the precision in which the base ran.
"""

from pathlib import Path

import keras

from stages.shared.calibration.threshold import check_aim
from stages.shared.network import environment, model_file
from stages.shared.network.conv_base import BaseName
from stages.shared.network.freeze_point import FreezePoint
from stages.shared.pipeline.command import run
from stages.shared.pipeline.parameters import read_parameters
from stages.shared.pipeline.splits import read_split
from stages.shared.training.classifier import Results, TrainingParameters, train_classifier
from stages.shared.training.fit import Examples, Training
from stages.shared.training.head import set_temperature


class FineTuning(FreezePoint, Training):
    """What is fine-tuned, and how. Of two configurations pydantic takes the last: no key is unknown."""


class Parameters(TrainingParameters):
    conv_base: BaseName
    fine_tune: FineTuning


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
    network, class_names, _, image_input, _ = model_file.load(augmented)
    set_temperature(network, 1)  # as it was trained
    training, results = parameters.fine_tune, Results(model, metrics, curves)
    check_aim(training.threshold_for, "fine_tune", class_names)
    through = training.layer(parameters.conv_base.name)
    train_classifier(network, image_input, through, train, validation, training, parameters, results)
    return [network]


if __name__ == "__main__":
    run(main, environment=environment.record)
