"""Export a trained model for another runtime, and check there that it predicts the same.

    python -m tools.export --format keras|savedmodel|tflite|onnx [--model MODEL] [--to FOLDER]

FOLDER/MODEL_FORMAT then holds the model, with preprocessing inside, training_features.npy, and model.json: class
names, by which rule to answer, image size, fit, interpolation, white, the training images, what goes in and what
comes out. Before that the written model predicts the test images in its own runtime. It is refused, and nothing is left
behind, where a probability differs from the trained model's by more than a tolerance, and where its
predictions break a rule "at least" or "at most" of params.yaml's gate.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from stages.shared.images.image_folder import ImageFolder, ImagesFolder, open_folder
from stages.shared.images.reading import read_blocks
from stages.shared.network import model_file
from stages.shared.network.model_file import Classifier
from stages.shared.network.prediction import Seen, per_class, predict_classes
from stages.shared.network.typicality import NEIGHBOURS, normalized
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.files import write_json
from stages.shared.pipeline.parameters import Sections, read_parameters
from stages.shared.pipeline.splits import read_split
from tools.compare import MODELS
from tools.export.runtimes import FILES, FLOAT32_ONLY, Runtime, computes_in, in_float32, in_keras, load, write
from tools.gate import ROUNDING, Gate, check, parse
from tools.shared.scratch import scratch_folder

TOLERANCE = 1e-4  # of a probability; float32 in another order of summation gives 1e-6
HALF_TOLERANCE = 0.05  # float32 against bfloat16, whose every rounding is one of 0.4 %, or float16


class Parameters(Sections):
    data: ImagesFolder
    gate: Gate


def main(name: str, form: str, folder: Path) -> None:
    parameters = read_parameters(Parameters)
    source, split = Path(f"data/models/{name}.keras"), Path("data/splits/test.csv")
    for file in (source, split):
        if not file.is_file():
            raise UserError(f"{file} is missing: run dvc repro, or dvc pull it where a colleague pushed it.")
    model, test = model_file.load(source), read_split(split)
    network, class_names = model.network, model.class_names
    if not test["class_index"].map(dict(enumerate(class_names))).equals(test["label"]):
        raise UserError(f"{source} was trained on other classes than {split} has: run dvc repro.")

    references = {str(source): (network, TOLERANCE)}
    if form in FLOAT32_ONLY and computes_in(network) != "float32":
        references = {
            "its copy in float32": (in_float32(network), TOLERANCE),
            f"{source}, in {computes_in(network)}": (network, HALF_TOLERANCE),
        }
    exported = model._replace(network=next(iter(references.values()))[0])
    with atomic_folder(folder / f"{name}_{form}") as unfinished:
        file = unfinished / FILES[form]
        try:
            write(exported, form, file)
        except (OSError, tf.errors.OpError) as error:  # TensorFlow's own, of the SavedModel that it writes
            reason = error.strerror if isinstance(error, OSError) else error.message.rpartition("}} ")[2]
            raise UserError(f"not exported: {file} cannot be written ({reason}).") from None
        describe(exported, unfinished / "model.json")
        np.save(unfinished / "training_features.npy", model.training_images.features)
        runtimes = [load(form, file), *(in_keras(reference) for reference, _ in references.values())]
        found, *expected = predict(runtimes, test, open_folder(parameters.data.images), model)
        for (reference, (_, tolerance)), seen in zip(references.items(), expected, strict=True):
            compare(found, seen, model.rule.threshold, tolerance, reference)
        check_gate(name, parameters.gate, test, model, found.probabilities)
    print(f"{folder / f'{name}_{form}'}: {FILES[form]}, model.json, training_features.npy")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a folder that is at `path`, in place of what was there, when the block ends, and not if it fails."""
    near = next(parent for parent in path.absolute().parents if parent.exists())  # on the same file system
    with scratch_folder("unfinished_", near) as temporary:
        unfinished = temporary / "new"
        unfinished.mkdir()
        yield unfinished
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.rename(temporary / "old")
        unfinished.rename(path)


def describe(model: Classifier, file: Path) -> None:
    """Write what a caller of `model` has to know as JSON."""
    size, outputs = model.image_input.image_size, model.network.output_shape[1]
    channels = model.training_images.features.shape[1]
    meaning = (
        f"the probability of {model.class_names[1]}, which is predicted above the threshold"
        if outputs == 1
        else "of each class its probability, in that order"
    )
    description = {
        "class_names": model.class_names,
        **model.rule.model_dump(),
        **model.image_input.model_dump(),
        "input": f"(n, {size}, {size}, 3) float32: RGB pixels from 0 to 255",
        "output": f"(n, {outputs}) float32: {meaning}",
        "features": f"(n, {channels}) float32, a second output: to be compared with training_features.npy",
        "computes_in": computes_in(model.network),
        "neighbours": NEIGHBOURS,
        "training_images": model.training_images.paths,
        "validation_similarities": model.training_images.similarities.tolist(),
    }
    write_json(file, description)


def predict(
    runtimes: list[Runtime], test: pd.DataFrame, images: ImageFolder, model: Classifier
) -> list[Seen]:
    """Return what each runtime makes of the images of `test`, as `model` takes them."""
    outputs: list[list[list[np.ndarray]]] = [[] for _ in runtimes]
    with tqdm(total=len(test), unit="image") as progress:
        for rows, pixels in read_blocks(test, images, model.image_input):
            count = rows.stop - rows.start
            for run, output in zip(runtimes, outputs, strict=True):
                output.append([array[:count] for array in run(pixels.astype("float32"))])
            progress.update(count)
    joined = ([np.concatenate(parts) for parts in zip(*output, strict=True)] for output in outputs)
    return [Seen(per_class(output), features) for output, features in joined]


def compare(found: Seen, expected: Seen, threshold: float | None, tolerance: float, reference: str) -> None:
    """Print how far what was `found` is from what was `expected`, and raise UserError beyond `tolerance`.

    It holds for probabilities, and for how far the cosine of the features falls short of 1. Within it, another class can be predicted only where the two best are a tie, less than twice the
    tolerance apart, or a probability is as near as that to the threshold.
    """
    difference = np.abs(found.probabilities - expected.probabilities).max()
    classes, others = (predict_classes(one.probabilities, threshold) for one in (found, expected))
    apart = 1 - (normalized(found.features) * normalized(expected.features)).sum(axis=1).min()
    otherwise = int((classes != others).sum())
    said = (
        f"probabilities differ from those of {reference} by up to {difference:.1e} (tolerance {tolerance:g}), "
        f"features by up to {max(apart, 0):.1e} of a cosine, "
        f"the predicted class on {otherwise} of {len(classes)} images"
    )
    if not (difference <= tolerance and apart <= tolerance):  # nor where one is no number
        raise UserError(f"not exported: {said}.")
    print(said)


def check_gate(name: str, gate: Gate, test: pd.DataFrame, model: Classifier, found: np.ndarray) -> None:
    """Raise UserError where the probabilities `found` break a rule of `gate` that states a limit."""
    columns = {f"probability_{label}": found[:, index] for index, label in enumerate(model.class_names)}
    predicted = predict_classes(found, model.rule.threshold)
    table = test.assign(predicted=np.array(model.class_names)[predicted], **columns)
    for text in gate.rules:
        rule = parse(text)
        if rule.model == name and rule.kind in ("at least", "at most"):
            beyond, tolerance, said = check(rule, gate, table)
            if not beyond <= tolerance + ROUNDING:
                raise UserError(f"not exported: the gate's rule {text!r} fails ({said}).")
            print(f"holds  {text}: {said}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tools.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--format", required=True, choices=FILES)
    parser.add_argument("--model", default="fine_tuned", choices=MODELS)
    parser.add_argument("--to", default=Path("export"), type=Path, metavar="FOLDER")
    options = parser.parse_args()
    main(options.model, options.format, options.to)
