"""All that the conv base's result for an image depends on, to the last bit, besides the image."""

import ast
import json
import os
import platform
from functools import cache
from hashlib import file_digest, sha256
from pathlib import Path

import keras
import numpy as np
import PIL
import tensorflow as tf

from stages.shared import arrays, conv_base, images


def describe(base: keras.Model, weights: Path, *parameters: str | int) -> bytes:
    """Return the SHA-256 over `base`'s name and weights file, `parameters`, our code, versions and machine."""
    with weights.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    versions = [module.__version__ for module in (tf, keras, np, PIL)]
    settings = {
        name: value for name, value in os.environ.items() if name.startswith(("ONEDNN", "TF_", "XLA_"))
    }
    devices = [device.device_type for device in tf.config.list_physical_devices()]
    code = [code_digest(module.__file__).hex() for module in (arrays, conv_base, images)]
    described = [base.name, digest, parameters, code, versions, settings, devices, processor()]
    return sha256(json.dumps(described, sort_keys=True).encode()).digest()


@cache
def code_digest(module: str) -> bytes:
    """Return the SHA-256 of a module's code, without its comments and line breaks."""
    return sha256(ast.dump(ast.parse(Path(module).read_text())).encode()).digest()


def processor() -> list[str]:
    """Return what tells one kind of processor from another: libraries choose their arithmetic by it."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return [platform.processor()]
    lines = cpuinfo.read_text().splitlines()
    return sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
