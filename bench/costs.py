"""What the parts of a run cost, one by one: what bench.simulation takes.

    python -m bench.costs      in a folder with params.yaml, data/splits and data/weights

Prints JSON, in seconds and bytes: of one core's time where the name says core, of the clock elsewhere.
"""

import stages  # noqa: F401  isort: skip (its settings, before TensorFlow is loaded)

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import pandas as pd

from bench.pipeline import PROJECT
from stages import fine_tune, train_head
from stages.shared.extraction.on_ray import connect
from stages.shared.extraction.work import Cluster, ExtractionParameters, OwnPrecision
from stages.shared.images.image_folder import open_folder
from stages.shared.images.reading import read_pixels
from stages.shared.network import conv_base, environment
from stages.shared.network.architectures import ARCHITECTURES
from stages.shared.pipeline.arrays import array_file, dtype_for
from stages.shared.pipeline.parameters import read_parameters
from stages.shared.pipeline.splits import Place, place_of, read_split
from stages.shared.store.results import Store
from stages.shared.training.fit import Examples, Training, train_above
from stages.shared.training.head import add_head
from tests.remotes import free_port, serving_s3

SIZE = 150  # pixels, in the plan; the folder may have another size
PHOTOS, ROWS, BLOCKS, TABLES = 200, 500, 4, 40
FILES, BYTES = 2000, 2**29
TRAIN, VALIDATION = {"head": 2000, "top": 40}, 20


def seconds(call: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    started = clock()
    call()
    return clock() - started


def core_seconds(call: Callable[[], object]) -> float:
    return seconds(call, time.process_time)


def passes(compute: Callable, block: int, size: int) -> float:
    """Return the core seconds of an image's pass."""
    pixels = np.random.default_rng(0).integers(0, 256, (block, size, size, 3), "uint8")
    compute(pixels)
    return core_seconds(lambda: [np.asarray(compute(pixels)[0]) for _ in range(BLOCKS)]) / BLOCKS / block


def write(folder: Path, count: int, row_shape: Sequence[int], precision: str) -> Path:
    """Write an array of generated rows."""
    values = np.random.default_rng(0).random((count, *row_shape), "float32")
    with array_file(folder / f"{count}.npy", (count,), tuple(row_shape), precision) as array:
        array.write(range(count), array.fit(values))
    return folder / f"{count}.npy"


def training(
    classifier: keras.Model, through: str, settings: Training, rows: int, precision: str, folder: Path
) -> float:
    """Return the seconds that an image takes in an epoch from what is stored for the layer `through`."""
    shape, ends = classifier.get_layer(through).output.shape[1:], []
    train, validation = (
        Examples(pd.DataFrame({"class_index": np.arange(count) % 2}), write(folder, count, shape, precision))
        for count in (rows, VALIDATION)
    )
    settings = settings.model_copy(update={"epochs": 3})
    store = Store(folder=str(folder), gigabytes=0)
    train_above(
        classifier, through, train, validation, settings, store, lambda *_: ends.append(time.perf_counter())
    )
    return (ends[2] - ends[1]) / (rows + VALIDATION)


def read_from_s3(folder: Path, photos: Path, names: list[str]) -> float:
    """Return the seconds of an image from a server on loopback, one after another."""
    (folder / "buckets/photos").mkdir(parents=True)
    for name in names:
        shutil.copyfile(photos / name, folder / "buckets/photos" / Path(name).name)
    port = free_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "id-for-tests",
        "AWS_SECRET_ACCESS_KEY": "secret-for-tests",
    }
    with serving_s3(folder, port):
        bucket = open_folder("s3://photos")
        bucket.list_files()
        return seconds(lambda: [bucket.read(Place(Path(name).name)) for name in names]) / len(names)


def hashing(folder: Path) -> dict[str, float]:
    """Return the seconds of dvc add for a file and for a byte more."""

    def add(name: str, files: int, size: int) -> float:
        (folder / name).mkdir()
        for number in range(files):
            (folder / name / str(number)).write_bytes(os.urandom(size))
        command = ["dvc", "add", "--quiet", name]
        return seconds(lambda: subprocess.run(command, cwd=folder, check=True))

    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run(["dvc", "init", "--quiet"], cwd=folder, check=True)
    shutil.copy(PROJECT / ".dvc/config", folder / ".dvc/config")
    one = add("one", 1, 1000)
    files, large = add("files", FILES, 1000), add("large", 1, BYTES)
    return {"seconds of a file": (files - one) / FILES, "seconds of a byte": (large - one) / BYTES}


def table() -> float:
    """Return the core seconds of the driver, which is one process, for a table on which there is nothing to do."""
    connect(Cluster(address=None, mixed_machines=False))
    from ray import data

    data.DataContext.get_current().enable_progress_bars = False

    def run(tables: int) -> int:
        rows = data.from_pandas([pd.DataFrame({"row": [number]}) for number in range(tables)])
        done = rows.map_batches(lambda rows: rows, batch_size=None, num_cpus=0.5)
        return sum(1 for _ in done.iter_batches(batch_size=None))

    run(TABLES)
    return core_seconds(lambda: run(TABLES)) / TABLES


def main() -> dict[str, object]:
    parameters, weights = read_parameters(ExtractionParameters), Path("data/weights/conv_base.weights.h5")
    settings = parameters.conv_base
    base = conv_base.load(settings, parameters.image_size, weights)
    own, output = OwnPrecision(base), base.layers[-1].name
    in_check = passes(own.forward([output]), own.block, parameters.image_size)
    actor = time.process_time() - in_check * own.block * BLOCKS  # the first pass, which compiles, included
    large = conv_base.build(settings.name, SIZE, computes_in=settings.computes_in)
    own, precision = OwnPrecision(large), settings.computes_in
    in_plan = passes(own.forward([output]), own.block, SIZE)

    through_default = ARCHITECTURES[settings.name].freeze_through

    split = read_split(Path("data/splits/train.csv"))
    folder, images = open_folder(parameters.data.images), split.head(PHOTOS).to_dict("records")
    decode = core_seconds(lambda: [read_pixels(folder, image, parameters) for image in images]) / len(images)
    paths, places = [image["path"] for image in images], [place_of(image) for image in images]
    found: dict[str, object] = {
        "machine": environment.describe(),
        "image bytes": sum(len(folder.read(place)) for place in places) / len(places),
        "row of a split": split.memory_usage(deep=True, index=False).sum() / len(split),
        "features": large.output.shape[1:],
        "activations": large.get_layer(through_default).output.shape[1:],
        "dtype": dtype_for(precision).name,
        "actor core": actor,
        "pass core": {parameters.image_size: in_check, SIZE: in_plan},
        "decode core": decode,
        "read": seconds(lambda: [folder.read(place) for place in places]) / len(places),
    }
    with TemporaryDirectory() as scratch:
        features = large.output.shape[1:]
        found["write core"] = core_seconds(lambda: write(Path(scratch), ROWS, features, precision)) / ROWS
        head = read_parameters(train_head.Parameters).head
        top = read_parameters(fine_tune.Parameters).fine_tune
        classifier = add_head(large, head, 2, head.seed)
        for name, through, how in (("head", output, head), ("top", through_default, top)):
            found[f"training {name}"] = training(
                classifier, through, how, TRAIN[name], precision, Path(scratch)
            )
        found["read from S3"] = read_from_s3(Path(scratch), Path(parameters.data.images), paths)
    with TemporaryDirectory() as scratch:
        found["dvc add"] = hashing(Path(scratch))
    return found | {"table": table()}


if __name__ == "__main__":
    print(json.dumps(main()))
