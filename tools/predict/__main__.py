"""Predict the class of images with a trained model: a row an image, in the order given.

    python -m tools.predict PATH ...    a file, a folder, a quoted glob, or - for a list on standard input

Of each image it gives the class, the probabilities, a remark, the typicality and the training images that it is most
like. The remark is "unlike" of an image that is unlike all that the model learnt from, and "unsure" where the answer
would be wrong too often for calibration.abstain_below. With --drift it says of all of them together whether they are
like the images that the model learnt from.

Of a folder it takes every file below it, hidden ones excepted, as an image. A file that is named twice
is predicted twice. One that cannot be used is reported on standard error, and the exit status is then 1.

Images are decoded and resized as in the model's training: it carries its size, fit and interpolation.

Rows are written as they come: no more than two blocks of images are in memory, and of the others
their paths.
"""

import argparse
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from stages.shared.images.decoding import decode
from stages.shared.images.fit import resize
from stages.shared.images.opening import MEGAPIXELS, fault_of, opened
from stages.shared.images.reading import block_for
from stages.shared.network import model_file
from stages.shared.network.inference import compiled
from stages.shared.network.model_file import Classifier
from stages.shared.network.prediction import per_class, with_features
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.image_input import ImageInput
from tools.predict.drift import describe
from tools.predict.formats import FORMATS, printable
from tools.predict.image_files import find
from tools.shared.answers import Answer, answers_of


def main(arguments: list[str], model: str, format: str, drift: bool = False) -> int:
    """Print the predictions, or how far they drift, and return how many files were bad."""
    started = time.monotonic()
    paths = [path for argument in arguments for path in find(argument)]
    if not paths:
        searched = ("standard input" if argument == "-" else printable(argument) for argument in arguments)
        raise UserError(f"no image to predict: there is no file in {', '.join(searched)}.")
    classifier = load(model)
    infer = compiled(with_features(classifier.network))
    write = None if drift else FORMATS[format](classifier, paths)
    bad, unlike, total = 0, 0, 0.0
    size = block_for(classifier.image_input.image_size)
    with tqdm(total=len(paths), unit="image", mininterval=1, disable=None) as progress:  # None: on terminals
        for block, images in read_blocks(paths, size, classifier.image_input):
            pixels = [image for image in images if isinstance(image, np.ndarray)]
            answers = iter(predict(classifier, infer, pixels, size) if pixels else [])
            with tqdm.external_write_mode():
                for path, image in zip(block, images, strict=True):
                    if isinstance(image, str):
                        print(f"{printable(path)}: {image}", file=sys.stderr)
                        continue
                    answer = next(answers)
                    total += answer.typicality
                    unlike += answer.remark == "unlike"
                    if write:
                        write(path, answer)
                sys.stdout.flush()
            bad += len(images) - len(pixels)
            progress.update(len(block))
    if drift and bad < len(paths):
        print(describe(total, unlike, len(paths) - bad, len(classifier.training_images.similarities)))
    taken = time.monotonic() - started
    print(f"predicted {len(paths) - bad} of {len(paths)} images in {taken:.1f} s", file=sys.stderr)
    return bad


def load(model: str) -> Classifier:
    """Return the model with that name or in that `.keras` file; raises UserError where there is none."""
    file = Path(model if model.endswith(".keras") else f"data/models/{model}.keras")
    if not file.is_file():
        raise UserError(
            f"{file} is missing: --model takes head, augmented, fine_tuned, which dvc repro trains, "
            "or the path of a .keras file."
        )
    try:
        return model_file.load(file)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}.") from None


def read_blocks(
    paths: list[str], size: int, image_input: ImageInput
) -> Iterator[tuple[list[str], list[np.ndarray | str]]]:
    """Yield up to `size` of `paths` and what `read` returns for each, in order.

    The next block is decoded while the caller works on this one.
    """
    pool = ThreadPoolExecutor()
    started: deque[tuple[list[str], Iterator[np.ndarray | str]]] = deque()
    try:
        for first in range(0, len(paths), size):
            block = paths[first : first + size]
            started.append((block, pool.map(partial(read, image_input=image_input), block)))
            if len(started) > 1:
                block, images = started.popleft()
                yield block, list(images)
        for block, images in started:
            yield block, list(images)
    finally:
        pool.shutdown(cancel_futures=True)  # where somebody stops it, none of the others is decoded first


def read(path: str, image_input: ImageInput) -> np.ndarray | str:
    """Return the image in `path` as a network takes it, (image_size, image_size, 3) uint8, or why there is none."""
    if os.path.exists(path) and not os.path.isfile(path):  # reading a pipe would wait for ever
        return "a folder that is a link or cannot be listed" if os.path.isdir(path) else "no regular file"
    try:
        with opened(Path(path).read_bytes(), MEGAPIXELS) as file:
            return resize(decode(file, image_input.white_16_bit), image_input)
    except Exception as error:  # Pillow's plugins raise many kinds on broken files
        return fault_of(error)


def predict(
    classifier: Classifier,
    infer: Callable[[np.ndarray], list[np.ndarray]],
    pixels: list[np.ndarray],
    size: int,
) -> list[Answer]:
    """Return the answer to each of `pixels`.

    The batch repeats its last image up to `size`, so that no result depends on how many others there are.
    """
    outputs, features = infer(np.stack(pixels + pixels[-1:] * (size - len(pixels))))
    return answers_of(classifier, per_class(outputs), features)[: len(pixels)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tools.predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths", metavar="PATH", nargs="+", help="a file, a folder, a quoted glob, or - for a list"
    )
    parser.add_argument(
        "--model",
        default="fine_tuned",
        help="head, augmented, fine_tuned (the default) or the path of a .keras file",
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="the default is table")
    parser.add_argument(
        "--drift", action="store_true", help="a sentence on all of them instead of a row each"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end quietly where the reader does, as in | head
    # File names are bytes. Standard output is a TextIOWrapper, which typeshed does not promise.
    sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # pyright: ignore[reportAttributeAccessIssue]
    sys.exit(1 if main(options.paths, options.model, options.format, options.drift) else 0)
