"""Fine-tune the top of the conv base together with its head, from activations at the freeze point.

Starts from the augmented model and trains the layers after fine_tune.freeze_through: their weights
and updates are float32, their arithmetic is in the precision in which the base ran.
"""

from pathlib import Path

from pydantic import BaseModel

from stages.shared import models, technique
from stages.shared.command import run
from stages.shared.conv_base import BaseName
from stages.shared.freeze_point import FreezePoint
from stages.shared.parameters import read_parameters
from stages.shared.splits import read_split
from stages.shared.training import Training


class FineTuning(FreezePoint, Training):
    """What is fine-tuned, and how. Of two configurations pydantic takes the last: no key is unknown."""


class Parameters(BaseModel):
    conv_base: BaseName
    fine_tune: FineTuning


def main(
    train_split: Path,
    validation_split: Path,
    augmented: Path,
    view_activations: Path,
    validation_activations: Path,
    model: Path,
    metrics: Path,
    curves: Path,
    picture: Path,
    circumstances: Path,
    record: Path,
) -> None:
    parameters = read_parameters(Parameters)
    train, validation = read_split(train_split), read_split(validation_split)
    classifier, names, _ = models.load(augmented)
    through = parameters.fine_tune.layer(parameters.conv_base.name)
    technique.apply(
        classifier,
        names,
        through,
        (train, view_activations),
        (validation, validation_activations),
        parameters.fine_tune,
        "fine_tune",
        technique.Results(model, metrics, curves, picture, circumstances, record),
    )


if __name__ == "__main__":
    run(main)
