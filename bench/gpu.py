"""How fast a GPU is here, beside what it could do and what the decoders allow.

    make GPU=1 bench-gpu

Prints, as JSON: what machine it is; of each base, image size and precision the images a second of its passes, from
pixels in memory, and which share of the device's own peak that is; and of generated photos how many a second are
decoded, and how many the whole extraction does.
"""

import stages  # noqa: F401  isort: skip (its settings, before TensorFlow is loaded)

import json
import time
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image

from bench.pipeline import PROJECT
from stages.shared.extraction.outputs import Extraction, store_outputs
from stages.shared.extraction.work import ExtractionParameters, OwnPrecision
from stages.shared.images.image_folder import open_folder
from stages.shared.images.reading import read_blocks
from stages.shared.network import conv_base, environment
from stages.shared.pipeline.parameters import read_parameters
from stages.split_dataset.checks import look_at

BASES, SIZES, PRECISIONS = ("vgg16", "xception"), (150, 224), ("bfloat16", "float32")
PHOTOS, PHOTO = 2000, (375, 500, 3)
SECONDS, SIDE = 3.0, 8192


def rate(call: Callable[[], object]) -> float:
    """Return how often a second `call` is done, after it was once."""
    call()
    calls, started = 0, time.perf_counter()
    while time.perf_counter() < started + SECONDS:
        call()
        calls += 1
    return calls / (time.perf_counter() - started)


def peak(precision: str) -> float:
    """Return the operations a second of large matrix products."""
    matrix = tf.cast(tf.random.normal((SIDE, SIDE)), precision)
    product = tf.function(lambda: tf.reduce_sum(tf.cast(matrix @ matrix, "float32")))
    return rate(lambda: product().numpy()) * 2 * SIDE**3


def operations(base: keras.Model) -> int:
    """Return the operations of an image's pass, those of convolutions."""
    kernels = [
        (weight.shape, layer.output.shape[1:3])
        for layer in base.layers
        for weight in layer.weights
        if len(weight.shape) == 4
    ]
    return sum(2 * prod(kernel) * prod(places) for kernel, places in kernels)


def passes(peaks: dict[str, float]) -> Iterator[dict[str, object]]:
    """Yield for each base, size and precision its images a second, and the share of the peak."""
    for name in BASES:
        for size in SIZES:
            for precision in PRECISIONS:
                base = conv_base.build(name, size, computes_in=precision)
                own = OwnPrecision(base)
                compute = own.forward([base.layers[-1].name])
                pixels = np.random.default_rng(0).integers(0, 256, (own.block, size, size, 3), "uint8")
                images = (
                    rate(lambda compute=compute, pixels=pixels: np.asarray(compute(pixels)[0])) * own.block
                )
                share = images * operations(base) / peaks[precision]
                yield {
                    "base": name,
                    "size": size,
                    "precision": precision,
                    "images a second": images,
                    "share of peak": share,
                }


def whole(folder: Path) -> dict[str, float]:
    """Return how many generated photos a second are decoded, and extracted, as params.yaml has it."""
    rng = np.random.default_rng(0)
    names = [f"{number}.jpg" for number in range(PHOTOS)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, PHOTO, "uint8")).save(folder / name, quality=60)
    parameters = read_parameters(ExtractionParameters, PROJECT / "params.yaml")
    parameters = parameters.model_copy(
        update={
            "data": parameters.data.model_copy(update={"images": str(folder)}),
            "store": parameters.store.model_copy(update={"gigabytes": 0}),
        }
    )
    images = open_folder(str(folder))
    split = pd.DataFrame({"path": names})
    looked_at = look_at(split, images, 100, 65535, parameters.store)
    split["sha256"] = [checked.digest for checked in looked_at]
    started = time.perf_counter()
    for _ in read_blocks(split, images, parameters):
        pass
    decoded = time.perf_counter() - started
    settings = parameters.conv_base
    base = conv_base.build(settings.name, parameters.image_size, computes_in=settings.computes_in)
    weights = folder / names[0]  # any file, as it is only hashed
    files = {base.layers[-1].name: folder / "features.npy"}
    started = time.perf_counter()
    store_outputs(base, weights, [Extraction(files, split)], parameters)
    return {"decoded": PHOTOS / decoded, "extracted": PHOTOS / (time.perf_counter() - started)}


def main() -> dict[str, object]:
    peaks = {precision: peak(precision) for precision in PRECISIONS}
    with TemporaryDirectory() as folder:
        photos = whole(Path(folder))
    return {
        "machine": environment.describe(),
        "peak": peaks,
        "passes": list(passes(peaks)),
        "photos a second": photos,
    }


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
