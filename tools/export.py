"""Export a trained model for another runtime, and check there that it predicts the same.

    python -m tools.export --format keras|savedmodel|tflite|onnx [--model MODEL] [--to FOLDER]

FOLDER/MODEL_FORMAT then holds the model, with preprocessing inside, and model.json: class names, size,
interpolation, what goes in and what comes out. Before that the written model predicts the test images in
its own runtime. It is refused, and nothing is left behind, where a probability differs from the trained
model's by more than a tolerance, and where its predictions break a rule "at least" or "at most" of
params.yaml's gate.

TFLite and ONNX runtimes have no convolutions in bfloat16: of a model that computes in it they get a copy
that computes in float32, with the same weights.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import onnxruntime
import pandas as pd
import tensorflow as tf
import tf2onnx
from ai_edge_litert.interpreter import Interpreter
from pydantic import BaseModel, Field
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tqdm import tqdm

from stages.shared import models
from stages.shared.command import UserError
from stages.shared.images import Interpolation, read_blocks
from stages.shared.inference import compiled
from stages.shared.metrics import per_class
from stages.shared.parameters import PartOfSection, read_parameters
from stages.shared.splits import read_split
from tools.compare import MODELS
from tools.gate import Gate, check, parse

FILES = {"keras": "model.keras", "savedmodel": "saved_model", "tflite": "model.tflite", "onnx": "model.onnx"}
FLOAT32_ONLY = ("tflite", "onnx")
TOLERANCE = 1e-4  # of a probability; float32 in another order of summation gives 1e-6
BFLOAT16_TOLERANCE = 0.05  # float32 against bfloat16, whose every rounding is one of 0.4 %
Runtime = Callable[[np.ndarray], np.ndarray]  # pixels, (n, size, size, 3) float32, to the model's output


class Data(PartOfSection):
    images: str = Field(min_length=1, description="a folder")


class Parameters(BaseModel):
    data: Data
    interpolation: Interpolation = Field(description="bilinear or nearest")
    gate: Gate


def main(name: str, form: str, folder: Path) -> None:
    parameters = read_parameters(Parameters)
    source, split = Path(f"data/models/{name}.keras"), Path("data/splits/test.csv")
    for file in (source, split):
        if not file.is_file():
            raise UserError(f"{file} is missing: run dvc repro, or dvc pull it where a colleague pushed it.")
    model, names = models.load(source)
    test = read_split(split)
    if not test["class_index"].map(dict(enumerate(names))).equals(test["label"]):
        raise UserError(f"{source} was trained on other classes than {split} has: run dvc repro.")

    references = {str(source): (model, TOLERANCE)}
    if form in FLOAT32_ONLY and computes_in(model) == "bfloat16":
        references = {
            "its copy in float32": (in_float32(model), TOLERANCE),
            f"{source}, in bfloat16": (model, BFLOAT16_TOLERANCE),
        }
    exported, _ = next(iter(references.values()))
    with whole_folder(folder / f"{name}_{form}") as unfinished:
        file = unfinished / FILES[form]
        write(exported, names, form, file)
        describe(exported, names, parameters.interpolation, unfinished / "model.json")
        runtimes = [load(form, file), *(in_keras(model) for model, _ in references.values())]
        found, *expected = predict(runtimes, test, parameters, model.input_shape[1])
        for (reference, (_, tolerance)), probabilities in zip(references.items(), expected):
            compare(found, probabilities, tolerance, reference)
        check_gate(name, parameters.gate, test, names, found)
    print(f"{folder / f'{name}_{form}'}: {FILES[form]}, model.json")


def computes_in(model: keras.Model) -> str:
    """Return bfloat16 where any layer of `model` computes in it, and float32 otherwise."""
    return "bfloat16" if "bfloat16" in {layer.compute_dtype for layer in model.layers} else "float32"


def in_float32(model: keras.Model) -> keras.Model:
    """Return a copy of `model`, with the same weights, that computes in float32 throughout."""
    copy = keras.models.model_from_json(model.to_json().replace('"mixed_bfloat16"', '"float32"'))
    copy.set_weights(model.get_weights())
    return copy


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a folder that is at `path`, in place of what was there, when the block ends, and not if it fails."""
    near = next(parent for parent in path.absolute().parents if parent.exists())  # on the same file system
    with TemporaryDirectory(prefix="unfinished_", dir=near) as temporary:
        unfinished = Path(temporary, "new")
        unfinished.mkdir()
        yield unfinished
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.rename(Path(temporary, "old"))
        unfinished.rename(path)


def write(model: keras.Model, names: list[str], form: str, file: Path) -> None:
    """Write `model` to `file`, a folder for savedmodel, for batches of any size."""
    if form == "keras":
        models.save(model, file, names)
    elif form == "savedmodel":
        model.export(file, format="tf_saved_model", verbose=False)
    elif form == "tflite":
        supported = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}  # by default some of TensorFlow too
        model.export(file, format="litert", verbose=False, target_spec=supported)
    else:  # Keras's own export makes the constants of ImageNet's preprocessing inputs of the graph
        pixels = tf.TensorSpec(model.input_shape, "float32", name="pixels")
        call = tf.function(lambda pixels: model(pixels, training=False))
        frozen = convert_variables_to_constants_v2(call.get_concrete_function(pixels))
        output = tf.function(lambda pixels: {"probability": frozen(pixels)[0]})
        tf2onnx.convert.from_function(output, [pixels], output_path=file)


def load(form: str, file: Path) -> Runtime:
    """Return what `write` wrote, in its own runtime."""
    if form == "keras":
        return in_keras(keras.saving.load_model(file, safe_mode=True))
    if form == "savedmodel":
        saved = tf.saved_model.load(file)
        return lambda pixels: saved.serve(pixels).numpy()
    if form == "tflite":
        run = Interpreter(str(file), num_threads=os.cpu_count()).get_signature_runner()
        return lambda pixels: run(pixels=pixels)["output_0"]
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(["probability"], {"pixels": pixels})[0]


def in_keras(model: keras.Model) -> Runtime:
    run = compiled(model)
    return lambda pixels: run(pixels)[0]


def describe(model: keras.Model, names: list[str], interpolation: Interpolation, file: Path) -> None:
    """Write what a caller of `model` has to know as JSON."""
    size, outputs = model.input_shape[1], model.output_shape[1]
    meaning = (
        f"the probability of {names[1]}" if outputs == 1 else "of each class its probability, in that order"
    )
    description = {
        "class_names": names,
        "size": size,
        "interpolation": interpolation,
        "input": f"(n, {size}, {size}, 3) float32: RGB pixels from 0 to 255",
        "output": f"(n, {outputs}) float32: {meaning}",
        "computes_in": computes_in(model),
    }
    file.write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n")


def predict(
    runtimes: list[Runtime], test: pd.DataFrame, parameters: Parameters, size: int
) -> list[np.ndarray]:
    """Return what each runtime says of the images of `test`: (n, classes) float32 probabilities."""
    outputs: list[list[np.ndarray]] = [[] for _ in runtimes]
    blocks = read_blocks(test, Path(parameters.data.images), size, parameters.interpolation)
    with tqdm(total=len(test), unit="image") as progress:
        for rows, pixels in blocks:
            images = rows.stop - rows.start
            for run, output in zip(runtimes, outputs):
                output.append(run(pixels.astype("float32"))[:images])
            progress.update(images)
    return [per_class(np.concatenate(output)) for output in outputs]


def compare(found: np.ndarray, expected: np.ndarray, tolerance: float, reference: str) -> None:
    """Print how far the probabilities `found` are from `expected`, and raise UserError beyond `tolerance`.

    Within it, another class can be predicted only where the two best are a tie: less than twice
    the tolerance apart.
    """
    difference = np.abs(found - expected).max()
    otherwise = int((found.argmax(axis=1) != expected.argmax(axis=1)).sum())
    said = (
        f"probabilities differ from those of {reference} by up to {difference:.1e} (tolerance {tolerance:g}), "
        f"the predicted class on {otherwise} of {len(found)} images"
    )
    if not difference <= tolerance:  # nor where it is no number
        raise UserError(f"not exported: {said}.")
    print(said)


def check_gate(name: str, gate: Gate, test: pd.DataFrame, names: list[str], found: np.ndarray) -> None:
    """Raise UserError where the probabilities `found` break a rule of `gate` that states a limit."""
    table = test.assign(**{f"probability_{label}": found[:, index] for index, label in enumerate(names)})
    for text in gate.rules:
        rule = parse(text)
        if rule.model == name and rule.kind in ("at least", "at most"):
            beyond, tolerance, said = check(rule, gate, table)
            if not beyond <= tolerance:
                raise UserError(f"not exported: the gate's rule {text!r} fails ({said}).")
            print(f"holds  {text}: {said}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.export", description=__doc__.split("\n")[0])
    parser.add_argument("--format", required=True, choices=FILES)
    parser.add_argument("--model", default="fine_tuned", choices=MODELS)
    parser.add_argument("--to", default=Path("export"), type=Path, metavar="FOLDER")
    options = parser.parse_args()
    try:
        main(options.model, options.format, options.to)
    except OSError as error:
        raise UserError(f"{error.filename or options.to}: {error.strerror}.") from None
