"""The fingerprint of all that the conv base's result for an image depends on besides the image."""

from collections.abc import Iterable
from hashlib import file_digest
from pathlib import Path

import keras

from stages.shared.images import decoding, fit, opening, reading
from stages.shared.network import architectures, conv_base, environment, inference, precision
from stages.shared.pipeline import arrays
from stages.shared.store.fingerprint import take_fingerprint

# Whose code decides about the last bit.
MODULES = (architectures, arrays, conv_base, decoding, fit, inference, opening, reading)


def fingerprint_base(base: keras.Model, weights: Path, module: str, parameters: Iterable[str | int]) -> bytes:
    """Return the fingerprint of `base` with the weights in the file `weights`, run as `parameters` say.

    `module` is the file of the one that computes, whose code counts too.
    """
    with weights.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    values = [base.name, digest, *parameters]
    fast = precision.multiplies_bfloat16_fast(precision.describe_processor())
    emulated = {"float16"} if fast else {"float16", "bfloat16"}
    if any(layer.compute_dtype in emulated for layer in base.layers):
        values.append(environment.describe()["cores"])  # on which sums depend there
    modules = [module, *(used.__file__ for used in MODULES)]
    return take_fingerprint(modules, values)
