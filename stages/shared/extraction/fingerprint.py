"""The fingerprint: a digest of all that the conv base's result for an image depends on besides the image."""

import ast
import json
from collections.abc import Iterable
from functools import cache
from hashlib import file_digest, sha256
from pathlib import Path

import keras

import stages
from stages.shared.images import decoding, fit, opening, reading
from stages.shared.network import conv_base, environment, inference
from stages.shared.pipeline import arrays

# Whose code decides about the last bit.
MODULES = (arrays, conv_base, decoding, fit, inference, opening, reading)


def take_fingerprint(base: keras.Model, weights: Path, module: str, parameters: Iterable[str | int]) -> bytes:
    """Return the SHA-256 over `base`'s name and weights file, `parameters`, our code, versions and machine.

    `module` is the file of the one that computes, whose code counts too.
    """
    with weights.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    files = [module, *(used.__file__ for used in MODULES)]
    code = [code_digest(file).hex() for file in files]
    described = [base.name, digest, *parameters, code, stages.ENVIRONMENT, environment.describe()]
    return sha256(json.dumps(described, sort_keys=True).encode()).digest()


@cache
def code_digest(module: str) -> bytes:
    """Return the SHA-256 of a module's code, without its comments and line breaks."""
    return sha256(ast.dump(ast.parse(Path(module).read_bytes())).encode()).digest()
