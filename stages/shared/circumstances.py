"""All that the conv base's result for an image depends on, to the last bit, besides the image."""

import ast
import json
import os
from functools import cache
from hashlib import file_digest, sha256
from pathlib import Path

import keras
import numpy as np
import PIL
import tensorflow as tf

from stages.shared import arrays, conv_base, images, inference, processor


def describe(base: keras.Model, weights: Path, *parameters: str | int) -> bytes:
    """Return the SHA-256 over `base`'s name and weights file, `parameters`, our code, versions and machine."""
    with weights.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    versions = [module.__version__ for module in (tf, keras, np, PIL)]
    libraries = ("ONEDNN", "TF_", "XLA_")
    settings = {name: value for name, value in os.environ.items() if name.startswith(libraries)}
    settings.pop("TF_CPP_MIN_LOG_LEVEL")  # set in stages/__init__.py; it changes no result
    devices = [device.device_type for device in tf.config.list_physical_devices()]
    code = [code_digest(module.__file__).hex() for module in (arrays, conv_base, images, inference)]
    described = [base.name, digest, parameters, code, versions, settings, devices, processor.description()]
    return sha256(json.dumps(described, sort_keys=True).encode()).digest()


@cache
def code_digest(module: str) -> bytes:
    """Return the SHA-256 of a module's code, without its comments and line breaks."""
    return sha256(ast.dump(ast.parse(Path(module).read_text())).encode()).digest()
