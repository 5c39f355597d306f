"""Run images through a conv base and measure it: its features, its speed, its size."""

from collections.abc import Mapping
from pathlib import Path
from timeit import repeat
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd

from stages.fetch_weights.__main__ import fetch
from stages.shared.extraction.outputs import Extraction, store_outputs
from stages.shared.extraction.work import Compute, ExtractionParameters, OwnPrecision
from stages.shared.network import conv_base
from stages.shared.network.architectures import ARCHITECTURES
from stages.shared.network.inference import forward
from stages.shared.pipeline.arrays import dtype_for
from stages.shared.pipeline.averages import average_features
from tools.bases.cuts import choose_cuts, count_values, with_averages

TIMES = 4  # that a block is computed; the first time takes longer


class Features(NamedTuple):
    """What a layer of a base gives for the images."""

    layer: str
    averages: np.ndarray  # over space, (n, channels) float32
    megabytes: float  # of an image, as they are stored before they are averaged


class Measured(NamedTuple):
    """A base through which the images were run."""

    features: list[Features]  # at the end of the base, then at its cuts from the highest to the lowest
    milliseconds: float  # of an image's pass
    parameters: int


class Averaging(OwnPrecision):
    """The passes of `base`, which also give the averages that are one more layer of `extended`."""

    def __init__(self, base: keras.Model, extended: keras.Model) -> None:
        super().__init__(base)
        self.extended = extended

    def forward(self, layers: list[str]) -> Compute:
        return forward(self.extended, layers)


def measure(parameters: ExtractionParameters, splits: Mapping[str, pd.DataFrame], folder: Path) -> Measured:
    """Return what the conv base of `parameters` gives for the images of `splits`, train and validation.

    What extract_features computes of them is taken from the store, or goes there, and so are the averages at the
    cuts; nothing else is kept but in `folder`, a new one. Raises UserError as `build`, `fetch` and `store_outputs`
    do.
    """
    settings, weights = parameters.conv_base, folder / "conv_base.weights.h5"
    base = conv_base.build(
        settings.name, parameters.image_size, settings.preprocessing, settings.computes_in
    )  # first, as it may not take the images
    fetch(settings.name, settings.weights, weights)
    conv_base.load_weights(base, weights, settings.name)
    end, default = base.layers[-1].name, ARCHITECTURES[settings.name].freeze_through
    layers = choose_cuts(base, default)
    extended, averages = with_averages(base, layers)
    extractions = []
    for name, split in splits.items():
        kinds = {end: "features", averages: "cuts", default: "activations"}
        files = {layer: folder / kind / f"{name}.npy" for layer, kind in kinds.items()}
        extractions.append(Extraction(files, split, passes=Averaging(base, extended)))
    store_outputs(extended, weights, extractions, parameters)

    ends, of_cuts = (
        np.concatenate(list(average_features(folder / kind, splits).values()))
        for kind in ("features", "cuts")
    )
    channels = [base.get_layer(layer).output.shape[-1] for layer in layers]
    found = [ends, *np.split(of_cuts, np.cumsum(channels)[:-1], axis=1)]
    bytes_each = dtype_for(settings.computes_in).itemsize
    return Measured(
        [
            Features(layer, of_layer, count_values(base, layer) * bytes_each / 1e6)
            for layer, of_layer in zip([end, *layers], found, strict=True)
        ],
        time_pass(base),
        base.count_params(),
    )


def time_pass(base: keras.Model) -> float:
    """Return how many milliseconds the pass of an image takes in a block, without decoding: the least of TIMES."""
    passes = OwnPrecision(base)
    compute = passes.forward([base.layers[-1].name])
    pixels = np.random.default_rng(0).integers(0, 256, (passes.block, *base.input_shape[1:]), "uint8")
    seconds = repeat(lambda: np.asarray(compute(pixels)[0]), number=1, repeat=TIMES)
    return min(seconds) * 1000 / passes.block
