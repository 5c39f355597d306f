"""Run every image once through the conv base and store what comes out, its features.

Writes {train,validation,test}.npy, each (n, height, width, channels), float16 from a bfloat16
base and float32 from a float32 one; row i belongs to row i of the split's CSV. VGG16 at 150
pixels: (n, 4, 4, 512).

The same pass stores the activations of validation and test images at the base's default freeze
point, for extract_views: (n, 9, 9, 512).
"""

from pathlib import Path

from stages.shared import conv_base, machine
from stages.shared.command import run
from stages.shared.conv_base import ARCHITECTURES
from stages.shared.extraction import Extraction, store_outputs
from stages.shared.parameters import read_parameters
from stages.shared.splits import SPLITS, read_split


def main(splits: Path, weights: Path, features: Path, activations: Path, circumstances: Path) -> None:
    parameters = read_parameters(Extraction)
    base = conv_base.load(parameters.conv_base, parameters.image_size, weights)
    output, default = base.layers[-1].name, ARCHITECTURES[parameters.conv_base.name].freeze_through
    for name in SPLITS:
        files = {output: features / f"{name}.npy"}
        if name != "train":
            files[default] = activations / f"{name}.npy"
        store_outputs(base, weights, files, read_split(splits / f"{name}.csv"), parameters)
    machine.record(base, circumstances)


if __name__ == "__main__":
    run(main)
