"""Which passes the views take: in 8-bit integers where those are faster and near enough, or as all other images."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import keras
import pandas as pd

from stages.extract_views.int8 import LIBRARIES, QuantizedBase
from stages.shared.extraction.work import ExtractionParameters, OwnPrecision, Passes
from stages.shared.network import gpu
from stages.shared.network.precision import describe_processor, multiplies_int8_fast
from stages.shared.pipeline.command import UserError

MOST_OFF = 0.1  # of the root mean square


def is_installed() -> bool:
    return all(map(find_spec, LIBRARIES))


def check_installed(precision: str) -> None:
    """Raise UserError where `precision`, which is augmentation.precision, asks for libraries that are not there."""
    if precision == "int8" and not is_installed():
        raise UserError(
            "params.yaml: augmentation.precision is 'int8', but OpenVINO and NNCF are not installed, as make repro "
            "does on Linux on x86-64 alone: set it to auto or base."
        )


def choose_passes(
    precision: Literal["auto", "int8", "base"],
    layers: list[str],
    base: keras.Model,
    weights: Path,
    split: pd.DataFrame,
    parameters: ExtractionParameters,
) -> Passes:
    """Return how the passes for views of `split` are computed that give `layers`, and say by how much they are off.

    Raises UserError where `precision` asks for int8 and that is not installed or off by more than MOST_OFF.
    """
    check_installed(precision)
    fast = is_installed() and multiplies_int8_fast(describe_processor()) and not gpu.memory()
    if precision == "base" or (precision == "auto" and not fast):
        return OwnPrecision(base)
    quantized = QuantizedBase(base, weights, split, parameters)
    error = quantized.error(layers)
    off = f"off by {error:.3f} of the root mean square on images of the training split"
    if error <= MOST_OFF:
        print(f"passes in int8, {off}")
        return quantized
    if precision == "int8":
        raise UserError(
            f"params.yaml: augmentation.precision is 'int8', but {base.name} is {off} then, more than {MOST_OFF}: "
            "set it to base."
        )
    print(f"passes in the base's own precision: in int8 they are {off}")
    return OwnPrecision(base)
