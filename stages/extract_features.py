"""Run every image once through the conv base and store what comes out, its features.

Writes {train,validation,test}.npy, each (n, height, width, channels), float16 from a bfloat16
base and float32 from a float32 one; row i belongs to row i of the split's CSV. VGG16 at 150
pixels: (n, 4, 4, 512).
"""

import sys
from pathlib import Path

from stages.shared import conv_base
from stages.shared.extraction import Extraction, store_outputs
from stages.shared.parameters import read_parameters
from stages.shared.splits import SPLITS, read_split


def main(images: Path, splits: Path, weights: Path, features: Path) -> None:
    parameters = read_parameters(Extraction)
    base = conv_base.load(parameters.conv_base, parameters.image_size, weights)
    for name in SPLITS:
        store_outputs(base, read_split(splits / f"{name}.csv"), images, parameters, features / f"{name}.npy")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
