"""Store what augmented training and fine-tuning need of the frozen part of the network.

Each training image is drawn in augmentation.views versions, and one pass of the base gives both

    features.npy     (views, n, height, width, channels), the conv-base output: VGG16 at 150
                     pixels (views, n, 4, 4, 512)
    activations.npy  the same at fine_tune.freeze_through: (views, n, 9, 9, 512)

Validation and test images are never augmented: validation_activations.npy, and for evaluate a file
of its own, which is small enough to share, (n, 9, 9, 512). At the default freeze point
extract_features has stored them already. Rows and dtype as there.
"""

import shutil
from pathlib import Path

from stages.shared import conv_base, machine
from stages.shared.augmentation import Augmentation, AugmentedView
from stages.shared.command import run
from stages.shared.conv_base import ARCHITECTURES
from stages.shared.extraction import Extraction, store_outputs
from stages.shared.files import whole
from stages.shared.freeze_point import FreezePoint, check_cut
from stages.shared.parameters import read_parameters
from stages.shared.splits import read_split


class Parameters(Extraction):
    augmentation: Augmentation
    fine_tune: FreezePoint


def main(
    splits: Path, weights: Path, at_default: Path, views: Path, test_activations: Path, circumstances: Path
) -> None:
    parameters = read_parameters(Parameters)
    settings = parameters.conv_base.matching(at_default / "validation.npy")
    parameters = parameters.model_copy(update={"conv_base": settings})
    base = conv_base.load(parameters.conv_base, parameters.image_size, weights)
    through = parameters.fine_tune.layer(parameters.conv_base.name)
    check_cut(base, through, parameters.conv_base.name)
    augmentation = parameters.augmentation
    augmented = [AugmentedView(augmentation, number) for number in range(augmentation.views)]
    files = {base.layers[-1].name: views / "features.npy", through: views / "activations.npy"}
    store_outputs(base, weights, files, read_split(splits / "train.csv"), parameters, augmented)

    unaugmented = {"validation": views / "validation_activations.npy", "test": test_activations}
    for name, file in unaugmented.items():
        if through == ARCHITECTURES[parameters.conv_base.name].freeze_through:
            with whole(file) as copy:
                shutil.copyfile(at_default / f"{name}.npy", copy)
        else:
            store_outputs(base, weights, {through: file}, read_split(splits / f"{name}.csv"), parameters)
    machine.record(base, circumstances)


if __name__ == "__main__":
    run(main)
