"""How fast images come to the base and their features go away: extraction around a base that costs next to nothing.

    python -m bench.around      in a folder with params.yaml and data/splits

Prints, as JSON, the images of the split a second: extracted with MobileNet at 32 pixels, the store off; and
decoded and resized by Pillow alone, a thread for each core, to as many pixels. And the milliseconds of processor
time that an image takes, which other work on the machine disturbs less.
"""

import stages  # noqa: F401  isort: skip (its settings, before TensorFlow is loaded)

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from stages.shared.extraction.outputs import Extraction, store_outputs
from stages.shared.extraction.work import ExtractionParameters, OwnPrecision
from stages.shared.network import conv_base
from stages.shared.pipeline.parameters import read_parameters
from stages.shared.pipeline.splits import SPLITS, read_split

SIZE, ROUNDS = 32, 3


def decode(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(ImageOps.fit(image.convert("RGB"), (SIZE, SIZE), Image.Resampling.BILINEAR))


def main() -> dict[str, float]:
    parameters = read_parameters(ExtractionParameters)
    store = parameters.store.model_copy(update={"gigabytes": 0})
    parameters = parameters.model_copy(update={"image_size": SIZE, "fit": "crop", "store": store})
    split = pd.concat([read_split(Path("data/splits", f"{name}.csv")) for name in SPLITS], ignore_index=True)
    base = conv_base.build("mobilenet", SIZE)
    weights = Path("data/splits/train.csv")  # any file, as it is only hashed
    passes = OwnPrecision(base)
    compute = passes.forward([base.layers[-1].name])
    passes.forward = lambda layers: compute  # so that it is compiled once
    files = [Path(parameters.data.images, path) for path in split["path"]]
    with TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        features = Extraction({base.layers[-1].name: Path(folder, "features.npy")}, split, passes=passes)
        work: dict[str, Callable[[], object]] = {
            "extracted": lambda: store_outputs(base, weights, [features], parameters),
            "decoded": lambda: list(pool.map(decode, files)),
        }
        taken = {name: [] for name in work}
        for _ in range(ROUNDS + 1):
            for name, call in work.items():
                started = time.perf_counter(), time.process_time()
                call()
                taken[name].append((time.perf_counter() - started[0], time.process_time() - started[1]))
    found = {}
    for name, rounds in taken.items():
        seconds, busy = (median(measured) for measured in zip(*rounds[1:], strict=True))
        found |= {name: len(split) / seconds, f"{name} milliseconds": busy / len(split) * 1000}
    return found


if __name__ == "__main__":
    print(json.dumps(main()))
