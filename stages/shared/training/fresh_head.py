"""Train a fresh head on what the frozen conv base gives: for each image, or for augmented views of it."""

from pathlib import Path

import keras

from stages.shared.calibration.threshold import check_aim
from stages.shared.network import conv_base
from stages.shared.network.conv_base import ConvBase
from stages.shared.network.freeze_point import base_output
from stages.shared.pipeline.image_input import ImageInput
from stages.shared.pipeline.splits import read_class_names
from stages.shared.training.classifier import Results, TrainingParameters, train_classifier
from stages.shared.training.fit import Examples, Training
from stages.shared.training.head import Head, add_head


class FreshHead(Head, Training):
    """A fresh head and how it is trained."""


class BaseParameters(TrainingParameters, ImageInput):
    """The parameters of what is below the head too."""

    conv_base: ConvBase


def train_fresh_head(
    parameters: BaseParameters,
    head: FreshHead,
    section: str,
    weights: Path,
    train: Examples,
    validation: Examples,
    results: Results,
) -> keras.Model:
    """Train `head`, the `section` of params.yaml, on a base with `weights`; return the network that ran.

    Raises UserError where the classes do not allow for its threshold_for. It computes in the precision in which the features of `train` were computed.
    """
    class_names = read_class_names(train.split)
    check_aim(head.threshold_for, section, class_names)
    settings = parameters.conv_base.in_precision_of(train.outputs)
    base = conv_base.load(settings, parameters.image_size, weights)
    network = add_head(base, head, len(class_names), head.seed)
    through = base_output(network)
    train_classifier(network, parameters, through, train, validation, head, parameters, results)
    return network
