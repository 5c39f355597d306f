"""Train a fresh head on what the frozen conv base gives: for each image, or for augmented views of it."""

from pathlib import Path

import keras

from stages.shared.network import conv_base
from stages.shared.network.conv_base import ConvBase
from stages.shared.network.freeze_point import base_output
from stages.shared.network.model_file import Classifier
from stages.shared.pipeline.image_input import ImageInput
from stages.shared.pipeline.splits import read_class_names
from stages.shared.store.results import Store
from stages.shared.training.classifier import Results, train_classifier
from stages.shared.training.fit import Examples, Training
from stages.shared.training.head import Head, add_head


class FreshHead(Head, Training):
    """A fresh head and how it is trained."""


class BaseParameters(ImageInput):
    """The parameters of what is below the head."""

    conv_base: ConvBase
    store: Store


def train_fresh_head(
    parameters: BaseParameters,
    head: FreshHead,
    section: str,
    weights: Path,
    train: Examples,
    validation: Examples,
    results: Results,
) -> keras.Model:
    """Train `head`, a section of params.yaml, on a base with `weights`; return the network that ran.

    It computes in the precision in which the features of `train` were computed.
    """
    class_names = read_class_names(train.split)
    settings = parameters.conv_base.in_precision_of(train.outputs)
    base = conv_base.load(settings, parameters.image_size, weights)
    network = add_head(base, head, len(class_names), head.seed)
    classifier = Classifier(network, class_names, None, parameters)
    through, store = base_output(network), parameters.store
    train_classifier(classifier, through, train, validation, head, store, section, results)
    return network
