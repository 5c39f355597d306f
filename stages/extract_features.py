"""Run every image once through the conv base and store what comes out, its features.

The same pass stores the activations at the base's default freeze point, for extract_views.
"""

from pathlib import Path

import keras

from stages.shared.extraction.outputs import Extraction, store_outputs
from stages.shared.extraction.work import ExtractionParameters
from stages.shared.images.image_folder import ImageFolder, open_folder, some
from stages.shared.network import conv_base, environment
from stages.shared.network.architectures import ARCHITECTURES
from stages.shared.pipeline.command import UserError, run
from stages.shared.pipeline.json_and_csv import read_table
from stages.shared.pipeline.parameters import read_parameters
from stages.shared.pipeline.splits import SPLITS, read_split


def main(
    *, splits: Path, unused: Path, weights: Path, features: Path, activations: Path
) -> list[keras.Model]:
    """Extract and return the network that ran.

    Reads:  splits/{train,validation,test}.csv, unused (.csv), the images that they name, weights
            (.weights.h5)
    Writes: features/{train,validation,test}.npy, each (n, height, width, channels), VGG16 at 224
            pixels: (n, 7, 7, 512); activations/{train,validation,test}.npy, there (n, 14, 14, 512). All
            float16 from a base in bfloat16 or float16 and float32 from a float32 one; row i belongs
            to row i of the split's CSV.
    """
    parameters = read_parameters(ExtractionParameters)
    check_complete(splits, unused, open_folder(parameters.data.images))
    base = conv_base.load(parameters.conv_base, parameters.image_size, weights)
    output, default = base.layers[-1].name, ARCHITECTURES[parameters.conv_base.name].freeze_through
    extractions = []
    for name in SPLITS:
        files = {output: features / f"{name}.npy", default: activations / f"{name}.npy"}
        extractions.append(Extraction(files, read_split(splits / f"{name}.csv")))
    store_outputs(base, weights, extractions, parameters)
    return [base]


def check_complete(splits: Path, unused: Path, folder: ImageFolder) -> None:
    """Raise UserError where `folder` has files that are neither in one of `splits` nor in the table `unused`.

    They came while split_dataset ran: DVC, which looks at the folder at its end, takes it for up to date.
    """
    tables = [read_split(splits / f"{name}.csv") for name in SPLITS]
    tables.append(read_table(unused, {"path": str, "reason": str}))
    new = sorted(set(folder.list_files()).difference(*(table["path"] for table in tables)))
    if new:
        raise UserError(
            f"{len(new)} files came into {folder} while it was split: {some(new)}. "
            "Run dvc repro --force --single-item split_dataset, then dvc repro."
        )


if __name__ == "__main__":
    run(main, environment=environment.record)
