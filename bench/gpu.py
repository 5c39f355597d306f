"""How fast a GPU is here, beside what it could do, what the decoders allow, and a PyTorch loop.

    make GPU=1 bench-gpu
    python -m bench.gpu --tiny     as little of all that as shows that it runs, on a processor too

Runs the fast tests, then the three techniques on generated photos. Prints, as JSON: how the tests ended; what machine
it is; the seconds of each stage, and those of a PyTorch loop for the same work, where .venv-peers is; of each base,
image size and precision the images a second of its passes, from pixels in memory, and which share of the device's own
peak that is; and how many photos a second are decoded, and how many the whole extraction does.
"""

import stages  # noqa: F401  isort: skip (its settings, before TensorFlow is loaded)

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from math import ceil, prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image

from bench.__main__ import SECTIONS, lay_out, run_module, settings_for
from bench.peers import PEERS_PYTHON
from bench.pipeline import PROJECT, run_pipeline
from stages.shared.extraction.outputs import Extraction, store_outputs
from stages.shared.extraction.work import ExtractionParameters, OwnPrecision
from stages.shared.images.image_folder import open_folder
from stages.shared.images.reading import read_blocks
from stages.shared.network import conv_base, environment, gpu
from stages.shared.network.precision import choose, describe_processor
from stages.shared.pipeline.parameters import read_parameters
from stages.shared.pipeline.splits import SPLITS, read_split

PHOTO, CLASSES, BATCH = (375, 500, 3), ("dark", "light"), 20
WEIGHTS = "data/weights/conv_base.weights.h5"
TECHNIQUES = {"train_augmented": "augmented", "fine_tune": "fine_tuning"}  # as bench.pytorch names them


class Extent(NamedTuple):
    """How much is tried and measured."""

    tests: tuple[str, ...]  # arguments of pytest
    photos: int
    epochs: int  # of each technique, and views
    bases: tuple[str, ...]
    sizes: tuple[int, ...]  # pixels; the first one is the techniques'
    precisions: tuple[str, ...]
    seconds: float  # that each rate is measured
    side: int  # of the matrices of the peak


FULL = Extent(
    ("-n", "2", "-m", "not slow"),
    5000,
    10,
    ("vgg16", "xception"),
    (150, 224),
    ("bfloat16", "float16", "float32"),
    3.0,
    8192,
)
TINY = Extent(
    ("tests/test_conv_base.py", "-k", "processors"), 40, 1, ("mobilenet",), (32,), ("float32",), 0.01, 64
)


def test(arguments: tuple[str, ...]) -> str:
    """Return the last line of pytest, which counts what passed and failed."""
    shared = {**os.environ, "TF_FORCE_GPU_ALLOW_GROWTH": "true"}  # the GPU, by two processes
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    ended = subprocess.run(command, cwd=PROJECT, env=shared, stdout=subprocess.PIPE, text=True)
    return ended.stdout.splitlines()[-1]


def draw_photos(folder: Path, count: int) -> None:
    """Write noise, in each class of another brightness, into class folders."""

    def draw(number: int) -> None:
        bright = number % len(CLASSES)
        pixels = np.random.default_rng(number).integers(40 * bright, 200 + 40 * bright, PHOTO, "uint8")
        Image.fromarray(pixels).save(folder / CLASSES[bright] / f"{number}.jpg", quality=60)

    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(draw, range(count)))


def techniques(folder: Path, photos: Path, extent: Extent) -> dict[str, dict]:
    """Run the pipeline in `folder`; return the seconds of its stages, and of a PyTorch loop for the same work."""
    epochs = dict.fromkeys(("augmentation.views", *(f"{name}.epochs" for name in SECTIONS)), extent.epochs)
    shares = {"split.train": None, "split.validation": 0.45, "split.test": 0.1}
    others = {"image_size": extent.sizes[0], "augmentation.precision": "base"}  # as auto is on a GPU
    measured = run_pipeline(folder, {**settings_for(photos, "folder"), **shares, **others, **epochs})
    seconds = {"stages": {stage: found["seconds"] for stage, found in measured.items()}}
    if not PEERS_PYTHON.exists():
        print("no .venv-peers: without PyTorch", file=sys.stderr)
        return seconds
    lay_out(folder, photos)
    precision = choose(describe_processor(), gpu.compute_capabilities())
    step = run_module(folder, "bench.pytorch", "notebook", precision, python=str(PEERS_PYTHON))
    images = [len(read_split(folder / f"data/splits/{name}.csv")) for name in SPLITS]
    train, validation, _ = (ceil(count / BATCH) for count in images)
    loop = {"extract_features": step["extraction"] * sum(images) / BATCH}
    loop["train_head"] = extent.epochs * train * step["head"]
    for stage, name in TECHNIQUES.items():
        loop[stage] = extent.epochs * (train * step[name] + validation * step[f"{name}_validation"])
    return {**seconds, "PyTorch": loop, "PyTorch's versions": step["versions"]}


def rate(call: Callable[[], object], seconds: float) -> float:
    """Return how often a second `call` is done, after it was once."""
    call()
    calls, started = 0, time.perf_counter()
    while time.perf_counter() < started + seconds:
        call()
        calls += 1
    return calls / (time.perf_counter() - started)


def peak(precision: str, extent: Extent) -> float:
    """Return the operations a second of large matrix products."""
    matrix = tf.cast(tf.random.normal((extent.side, extent.side)), precision)
    multiply = tf.function(lambda: tf.reduce_sum(tf.cast(matrix @ matrix, "float32")))
    return rate(lambda: multiply().numpy(), extent.seconds) * 2 * extent.side**3


def operations(base: keras.Model) -> int:
    """Return the operations of an image's pass, those of convolutions."""
    kernels = [
        (weight.shape, layer.output.shape[1:3])
        for layer in base.layers
        for weight in layer.weights
        if len(weight.shape) == 4
    ]
    return sum(2 * prod(kernel) * prod(places) for kernel, places in kernels)


def passes(extent: Extent, peaks: dict[str, float]) -> Iterator[dict[str, object]]:
    """Yield for each base, size and precision its images a second, and the share of the peak."""
    for name, size, precision in product(extent.bases, extent.sizes, extent.precisions):
        base = conv_base.build(name, size, computes_in=precision)
        own = OwnPrecision(base)
        compute = own.forward([base.layers[-1].name])
        pixels = np.random.default_rng(0).integers(0, 256, (own.block, size, size, 3), "uint8")
        images = rate(lambda compute=compute, pixels=pixels: np.asarray(compute(pixels)[0]), extent.seconds)
        images *= own.block
        yield {
            "base": name,
            "size": size,
            "precision": precision,
            "images a second": images,
            "share of peak": images * operations(base) / peaks[precision],
        }


def whole(folder: Path) -> dict[str, float]:
    """Return how many of the photos in `folder` a second are decoded, and extracted, as its params.yaml has it."""
    parameters = read_parameters(ExtractionParameters, folder / "params.yaml")
    images, settings = open_folder(parameters.data.images), parameters.conv_base
    split = pd.concat([read_split(folder / f"data/splits/{name}.csv") for name in SPLITS], ignore_index=True)
    started = time.perf_counter()
    for _ in read_blocks(split, images, parameters):
        pass
    decoded = time.perf_counter() - started
    base = conv_base.load(settings, parameters.image_size, weights := folder / WEIGHTS)
    files = {base.layers[-1].name: folder / "features.npy"}
    started = time.perf_counter()
    store_outputs(base, weights, [Extraction(files, split)], parameters)
    return {"decoded": len(split) / decoded, "extracted": len(split) / (time.perf_counter() - started)}


def main(extent: Extent) -> dict[str, Any]:
    """First what runs in other processes: TensorFlow takes all memory of a GPU."""
    tested = test(extent.tests)
    with TemporaryDirectory() as scratch:
        photos, folder = Path(scratch, "photos"), Path(scratch, "project")
        draw_photos(photos, extent.photos)
        taken = techniques(folder, photos, extent)
        photos_a_second = whole(folder)
    peaks = {precision: peak(precision, extent) for precision in extent.precisions}
    return {
        "tests": tested,
        "machine": environment.describe(),
        "seconds": taken,
        "peak": peaks,
        "passes": list(passes(extent, peaks)),
        "photos a second": photos_a_second,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="as little as shows that it runs")
    print(json.dumps(main(TINY if parser.parse_args().tiny else FULL), indent=2))
