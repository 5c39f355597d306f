"""All that the conv base's result for an image depends on, to the last bit, besides the image."""

import ast
import json
from functools import cache
from hashlib import file_digest, sha256
from pathlib import Path

import keras

import stages
from stages.shared import arrays, conv_base, images, inference, machine


def describe(base: keras.Model, weights: Path, *parameters: str | int) -> bytes:
    """Return the SHA-256 over `base`'s name and weights file, `parameters`, our code, versions and machine."""
    with weights.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    code = [code_digest(module.__file__).hex() for module in (stages, arrays, conv_base, images, inference)]
    described = [base.name, digest, parameters, code, machine.describe()]
    return sha256(json.dumps(described, sort_keys=True).encode()).digest()


@cache
def code_digest(module: str) -> bytes:
    """Return the SHA-256 of a module's code, without its comments and line breaks."""
    return sha256(ast.dump(ast.parse(Path(module).read_bytes())).encode()).digest()
