"""Train a dense head on the stored features of the training images."""

from pathlib import Path

from pydantic import BaseModel

from stages.shared import conv_base, technique
from stages.shared.command import run
from stages.shared.conv_base import ConvBase, ImageSize
from stages.shared.head import Head, add_head, base_output
from stages.shared.parameters import read_parameters
from stages.shared.splits import class_names, read_split
from stages.shared.training import Training


class HeadTraining(Head, Training):
    """A fresh head and how it is trained."""


class Parameters(BaseModel):
    image_size: ImageSize
    conv_base: ConvBase
    head: HeadTraining


def main(
    train_split: Path,
    validation_split: Path,
    weights: Path,
    train_features: Path,
    validation_features: Path,
    model: Path,
    metrics: Path,
    curves: Path,
    picture: Path,
    circumstances: Path,
    record: Path,
) -> None:
    parameters = read_parameters(Parameters)
    train, validation = read_split(train_split), read_split(validation_split)
    names = class_names(train)
    base = conv_base.load(parameters.conv_base.matching(train_features), parameters.image_size, weights)
    classifier = add_head(base, parameters.head, len(names), parameters.head.seed)
    technique.apply(
        classifier,
        names,
        base_output(classifier),
        (train, train_features),
        (validation, validation_features),
        parameters.head,
        "head",
        technique.Results(model, metrics, curves, picture, circumstances, record),
    )


if __name__ == "__main__":
    run(main)
