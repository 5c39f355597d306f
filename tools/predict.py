"""Predict the class of images with a trained model: a row an image, in the order given.

    python -m tools.predict PATH ...    a file, a folder, a quoted glob, or - for a list on standard input

Of a folder it takes every file below it, hidden ones excepted, as an image. A file that is named twice
is predicted twice. One that cannot be used is reported on standard error, and the exit status is then 1.

Images are decoded as in training, and resized to what the model takes. How they are interpolated a
model does not say: that is `interpolation` in params.yaml, which has to be as it was in training.

Rows are written as they come: no more than two blocks of images are in memory, and of the others
their paths.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

import keras
import numpy as np
from PIL import Image
from pydantic import BaseModel, Field
from tqdm import tqdm

from stages.shared import models
from stages.shared.command import UserError
from stages.shared.images import BLOCK, Interpolation, decode
from stages.shared.inference import compiled
from stages.shared.parameters import read_parameters
from stages.shared.prediction import per_class, predict_classes
from tools.image_files import find
from tools.prediction_formats import FORMATS, printable


class Parameters(BaseModel):
    interpolation: Interpolation = Field(description="bilinear or nearest")


def main(arguments: list[str], model: str, format: str) -> int:
    """Print the predictions and return how many files were bad."""
    started = time.monotonic()
    interpolation = read_parameters(Parameters).interpolation
    paths = [path for argument in arguments for path in find(argument)]
    if not paths:
        searched = ("standard input" if argument == "-" else printable(argument) for argument in arguments)
        raise UserError(f"no image to predict: there is no file in {', '.join(searched)}.")
    classifier, names, threshold = load(model)
    infer, size = compiled(classifier), classifier.input_shape[1]
    write, bad = FORMATS[format](names, paths), 0
    with tqdm(total=len(paths), unit="image", mininterval=1, disable=None) as progress:  # None: on terminals
        for block, images in read_blocks(paths, size, interpolation):
            pixels = [image for image in images if isinstance(image, np.ndarray)]
            probabilities = predict(infer, pixels) if pixels else np.empty((0, len(names)))
            rows = zip(predict_classes(probabilities, threshold), probabilities)
            with tqdm.external_write_mode():
                for path, image in zip(block, images):
                    if isinstance(image, str):
                        print(f"{printable(path)}: {image}", file=sys.stderr)
                        continue
                    predicted, row = next(rows)
                    # The shortest decimals that are these float32 numbers, as in evaluate's tables.
                    write(path, names[predicted], [float(str(probability)) for probability in row])
                sys.stdout.flush()
            bad += len(images) - len(pixels)
            progress.update(len(block))
    taken = time.monotonic() - started
    print(f"predicted {len(paths) - bad} of {len(paths)} images in {taken:.1f} s", file=sys.stderr)
    return bad


def load(model: str) -> tuple[keras.Model, list[str], float | None]:
    """Return the model with that name or in that `.keras` file, its class names and its threshold."""
    file = Path(model if model.endswith(".keras") else f"data/models/{model}.keras")
    if not file.is_file():
        raise UserError(
            f"{file} is missing: --model takes head, augmented, fine_tuned, which dvc repro trains, "
            "or the path of a .keras file."
        )
    try:
        return models.load(file)
    except Exception as error:  # zipfile, json and Keras raise many kinds on foreign files
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{file} is no model that this pipeline saved: {reason}") from None


def read_blocks(
    paths: list[str], size: int, interpolation: Interpolation
) -> Iterator[tuple[list[str], list[np.ndarray | str]]]:
    """Yield up to BLOCK of `paths` and what `read` returns for each, in order.

    The next block is decoded while the caller works on this one.
    """
    with ThreadPoolExecutor() as pool:
        blocks = (paths[first : first + BLOCK] for first in range(0, len(paths), BLOCK))
        started = (
            (block, pool.map(partial(read, size=size, interpolation=interpolation), block))
            for block in blocks
        )
        block, images = next(started)
        for following in chain(started, [(None, None)]):
            yield block, list(images)
            block, images = following


def read(path: str, size: int, interpolation: Interpolation) -> np.ndarray | str:
    """Return the image in `path` as stages.shared.images.read_pixels does, or why there is none."""
    if os.path.exists(path) and not os.path.isfile(path):  # reading a pipe would wait for ever
        return "a folder that is a link or cannot be listed" if os.path.isdir(path) else "no regular file"
    try:
        return resized(decode(Path(path).read_bytes()), size, interpolation)
    except Exception as error:  # Pillow's plugins raise many kinds on broken files
        return fault_of(error)


def resized(image: Image.Image, size: int, interpolation: Interpolation) -> np.ndarray:
    """Return `image`, in mode RGB, as a model takes it: (size, size, 3) uint8."""
    return np.asarray(image.resize((size, size), Image.Resampling[interpolation.upper()]))


def fault_of(error: Exception) -> str:
    """Return in a few words why a file is no usable image, given what reading it raised."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels"
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def predict(infer: Callable[[np.ndarray], list[np.ndarray]], pixels: list[np.ndarray]) -> np.ndarray:
    """Return (len(pixels), classes) float32 probabilities.

    The batch repeats its last image up to BLOCK, so that no result depends on how many others there are.
    """
    batch = np.stack(pixels + pixels[-1:] * (BLOCK - len(pixels)))
    return per_class(infer(batch)[0][: len(pixels)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.predict", description=__doc__.split("\n")[0])
    parser.add_argument(
        "paths", metavar="PATH", nargs="+", help="a file, a folder, a quoted glob, or - for a list"
    )
    parser.add_argument(
        "--model",
        default="fine_tuned",
        help="head, augmented, fine_tuned (the default) or the path of a .keras file",
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="the default is table")
    options = parser.parse_args()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end quietly where the reader does, as in | head
    sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # file names are bytes
    try:
        sys.exit(1 if main(options.paths, options.model, options.format) else 0)
    except KeyboardInterrupt:
        raise UserError("stopped before it was done.") from None
    except OSError as error:
        sys.stdout = None  # or Python would try again to write what is left
        raise UserError(f"the predictions cannot be written: {error.strerror}.") from None
