"""Store what augmented training and fine-tuning need of the frozen part of the network.

Each training image is drawn in augmentation.views versions, and one pass of the base gives both its
output and its activations at fine_tune.freeze_through. Validation and test images are never
augmented, nor is with augmentation.include_original the first version: what extract_features has stored
of them already is copied.
"""

from pathlib import Path

import keras

from stages.extract_views.augmentation import Augmentation, AugmentedView
from stages.extract_views.passes import choose_passes
from stages.shared.extraction.outputs import Extraction, store_outputs
from stages.shared.extraction.work import AsItIs, ExtractionParameters, Passes, View
from stages.shared.network import conv_base, environment
from stages.shared.network.architectures import ARCHITECTURES
from stages.shared.network.freeze_point import FreezePoint, check_cut
from stages.shared.pipeline.arrays import copy_array
from stages.shared.pipeline.command import run
from stages.shared.pipeline.parameters import read_parameters
from stages.shared.pipeline.splits import read_split


class Parameters(ExtractionParameters):
    augmentation: Augmentation
    fine_tune: FreezePoint


def main(
    *,
    splits: Path,
    weights: Path,
    train_features: Path,
    default_activations: Path,
    views: Path,
    test_activations: Path,
) -> tuple[keras.Model, Passes]:
    """Extract and return the network that ran, and how it did for the views.

    Reads:  splits/{train,validation,test}.csv, the images that they name, weights (.weights.h5),
            train_features (.npy) and default_activations/{train,validation,test}.npy, each (n, height,
            width, channels)
    Writes: views/features.npy, (views, n, height, width, channels), VGG16 at 224 pixels: (views, n,
            7, 7, 512); views/activations.npy, the same at the freeze point, there (views, n, 14, 14, 512);
            views/validation_activations.npy and test_activations (.npy), there (n, 14, 14, 512): a file of
            its own, which is small enough to share. Rows and dtype as in extract_features.
            The views are computed as augmentation.precision says, all else in the base's own precision.
    """
    parameters = read_parameters(Parameters)
    settings = parameters.conv_base.in_precision_of(default_activations / "validation.npy")
    parameters = parameters.model_copy(update={"conv_base": settings})
    base = conv_base.load(settings, parameters.image_size, weights)
    output, through = base.layers[-1].name, parameters.fine_tune.layer(settings.name)
    check_cut(base, through, settings.name)
    at_default = through == ARCHITECTURES[settings.name].freeze_through
    augmentation, train = parameters.augmentation, read_split(splits / "train.csv")
    versions: list[View] = [AugmentedView(augmentation, number) for number in range(augmentation.views)]
    first_view = {}
    if augmentation.include_original:
        versions[0], first_view[output] = AsItIs(), train_features
        if at_default:
            first_view[through] = default_activations / "train.npy"
    files = {output: views / "features.npy", through: views / "activations.npy"}
    passes = choose_passes(augmentation.precision, list(files), base, weights, train, parameters)
    extractions = [Extraction(files, train, versions, passes, first_view)]

    unaugmented = {"validation": views / "validation_activations.npy", "test": test_activations}
    for name, file in unaugmented.items():
        if at_default:
            copy_array(default_activations / f"{name}.npy", file)
        else:
            extractions.append(Extraction({through: file}, read_split(splits / f"{name}.csv")))
    store_outputs(base, weights, extractions, parameters)
    return base, passes


def record(ran: tuple[keras.Model, Passes], file: Path) -> None:
    """Write what this ran on as JSON."""
    base, passes = ran
    environment.record([base], file, views=passes.name)


if __name__ == "__main__":
    run(main, environment=record)
