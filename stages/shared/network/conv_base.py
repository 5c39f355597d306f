"""A pretrained conv base with its preprocessing: built, and with its weights."""

import warnings
from pathlib import Path
from typing import Annotated, Literal

import keras
import numpy as np
from pydantic import Field

from stages.shared.network import gpu
from stages.shared.network.architectures import ARCHITECTURES
from stages.shared.network.precision import Precision, choose, describe_processor
from stages.shared.pipeline.arrays import read_precision
from stages.shared.pipeline.checksums import check_seal
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.parameters import PartOfSection, Section

Name = Annotated[
    str, Field(pattern=f"^({'|'.join(ARCHITECTURES)})$", description=f"one of {', '.join(ARCHITECTURES)}")
]
Weights = Annotated[
    str, Field(min_length=1, description="imagenet, random, or the path of a Keras weights file")
]


class BaseName(PartOfSection):
    """Which conv base it is, for stages that need no more."""

    name: Name


class ConvBase(Section):
    name: Name
    weights: Weights
    preprocessing: Literal["imagenet", "rescale"] = Field(description="imagenet or rescale")
    precision: Literal["auto", Precision] = Field(description="auto, float32, bfloat16 or float16")

    @property
    def computes_in(self) -> Precision:
        """`precision`, with auto resolved by what this machine is."""
        if self.precision != "auto":
            return self.precision
        return choose(describe_processor(), gpu.compute_capabilities())

    def in_precision_of(self, array: Path) -> "ConvBase":
        """Return these settings in the precision in which `array`, a `.npy` file, was computed.

        Where precision is auto and a colleague computed it, that may be another than this machine's.
        """
        return self.model_copy(update={"precision": read_precision(array)})


def build(
    name: str, image_size: int, preprocessing: str = "imagenet", computes_in: str = "float32"
) -> keras.Model:
    """Return the base with its preprocessing, and with random weights.

    RGB pixels 0 to 255, (n, image_size, image_size, 3) float32, to the conv-base output, as one
    flat graph whose layers keep their names in keras.applications. With bfloat16 or float16 only
    the arithmetic of the base is: weights and preprocessing stay float32.

    Raises UserError where the image is too small for the architecture.
    """
    architecture = ARCHITECTURES[name]
    if image_size < architecture.smallest_image:
        raise UserError(
            f"params.yaml: image_size is {image_size}, but {name} takes "
            f"{architecture.smallest_image} pixels or more."
        )
    keras.backend.clear_session()  # automatic names like add_10 count from here
    pixels = keras.Input((image_size, image_size, 3), name="pixels")
    if preprocessing == "imagenet":
        preprocessed = architecture.preprocess(pixels)
    else:
        preprocessed = keras.layers.Rescaling(1 / 255, name="rescale")(pixels)
    keras.config.set_dtype_policy("float32" if computes_in == "float32" else f"mixed_{computes_in}")
    try:
        base = architecture.build(include_top=False, weights=None, input_tensor=preprocessed)
    finally:
        keras.config.set_dtype_policy("float32")
    for number, layer in enumerate(base.layers):
        if isinstance(layer, keras.layers.Dropout):
            layer.seed = number  # a saved model keeps none that Keras drew
    return keras.Model(pixels, base.output, name=name)


def load(conv_base: ConvBase, image_size: int, weights: Path) -> keras.Model:
    """Return the base as params.yaml describes it, with the weights in the file `weights`.

    Raises UserError as `build`, `check_seal` and `load_weights` do.
    """
    check_seal(weights)
    base = build(conv_base.name, image_size, conv_base.preprocessing, conv_base.computes_in)
    load_weights(base, weights, conv_base.name)
    return base


def load_weights(base: keras.Model, weights: Path, name: str) -> None:
    """Load `weights` into `base`; raises UserError where they do not fit or cannot be read."""
    if not weights.is_file():
        raise UserError(
            f"{weights} is no file: conv_base.weights takes imagenet, random, or the path of a Keras weights file. "
            "In a clone and in a queued experiment it is there if dvc add tracks it."
        )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Skipping")  # that Keras leaves out some
            base.load_weights(weights)
    except Exception as error:  # h5py and Keras raise many kinds on foreign files
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{weights} does not hold the weights of {name} without its top: {reason}") from None
    if not all(np.isfinite(array).all() for array in base.get_weights()):
        raise UserError(f"{weights} holds weights that are no finite numbers.")
