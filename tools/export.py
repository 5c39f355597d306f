"""Export a trained model for another runtime, and check there that it predicts the same.

    python -m tools.export --format keras|savedmodel|tflite|onnx [--model MODEL] [--to FOLDER]

FOLDER/MODEL_FORMAT then holds the model, with preprocessing inside, and model.json: class names, size,
interpolation (params.yaml's: keep it as it was in training), what goes in and what comes out. Before
that the written model predicts the test images in its own runtime. It is refused, and nothing is left
behind, where a probability differs from the trained model's by more than a tolerance, and where its
predictions break a rule "at least" or "at most" of params.yaml's gate.
"""

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import pandas as pd
from pydantic import BaseModel, Field
from tqdm import tqdm

from stages.shared.command import UserError
from stages.shared.images import ImagesFolder, Interpolation, read_blocks
from stages.shared.parameters import read_parameters
from stages.shared.prediction import per_class, predict_classes
from stages.shared.splits import read_split
from tools.compare import MODELS
from tools.gate import ROUNDING, Gate, check, parse
from tools.predict import load as load_model
from tools.runtimes import FILES, FLOAT32_ONLY, Runtime, computes_in, in_float32, in_keras, load, write

TOLERANCE = 1e-4  # of a probability; float32 in another order of summation gives 1e-6
BFLOAT16_TOLERANCE = 0.05  # float32 against bfloat16, whose every rounding is one of 0.4 %


class Parameters(BaseModel):
    data: ImagesFolder
    interpolation: Interpolation = Field(description="bilinear or nearest")
    gate: Gate


def main(name: str, form: str, folder: Path) -> None:
    parameters = read_parameters(Parameters)
    source, split = Path(f"data/models/{name}.keras"), Path("data/splits/test.csv")
    for file in (source, split):
        if not file.is_file():
            raise UserError(f"{file} is missing: run dvc repro, or dvc pull it where a colleague pushed it.")
    model, names, threshold = load_model(name)
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
        write(exported, names, threshold, form, file)
        describe(exported, names, threshold, parameters.interpolation, unfinished / "model.json")
        runtimes = [load(form, file), *(in_keras(model) for model, _ in references.values())]
        found, *expected = predict(runtimes, test, parameters, model.input_shape[1])
        for (reference, (_, tolerance)), probabilities in zip(references.items(), expected):
            compare(found, probabilities, threshold, tolerance, reference)
        check_gate(name, parameters.gate, test, names, threshold, found)
    print(f"{folder / f'{name}_{form}'}: {FILES[form]}, model.json")


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


def describe(
    model: keras.Model, names: list[str], threshold: float | None, interpolation: Interpolation, file: Path
) -> None:
    """Write what a caller of `model` has to know as JSON."""
    size, outputs = model.input_shape[1], model.output_shape[1]
    meaning = (
        f"the probability of {names[1]}, which is predicted above the threshold"
        if outputs == 1
        else "of each class its probability, in that order"
    )
    description = {
        "class_names": names,
        "threshold": threshold,
        "size": size,
        "interpolation": interpolation,
        "input": f"(n, {size}, {size}, 3) float32: RGB pixels from 0 to 255",
        "output": f"(n, {outputs}) float32: {meaning}",
        "computes_in": computes_in(model),
    }
    file.write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


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


def compare(
    found: np.ndarray, expected: np.ndarray, threshold: float | None, tolerance: float, reference: str
) -> None:
    """Print how far the probabilities `found` are from `expected`, and raise UserError beyond `tolerance`.

    Within it, another class can be predicted only where the two best are a tie, less than twice the
    tolerance apart, or a probability is as near as that to the threshold.
    """
    difference = np.abs(found - expected).max()
    classes, others = (predict_classes(one, threshold) for one in (found, expected))
    otherwise = int((classes != others).sum())
    said = (
        f"probabilities differ from those of {reference} by up to {difference:.1e} (tolerance {tolerance:g}), "
        f"the predicted class on {otherwise} of {len(found)} images"
    )
    if not difference <= tolerance:  # nor where it is no number
        raise UserError(f"not exported: {said}.")
    print(said)


def check_gate(
    name: str, gate: Gate, test: pd.DataFrame, names: list[str], threshold: float | None, found: np.ndarray
) -> None:
    """Raise UserError where the probabilities `found` break a rule of `gate` that states a limit."""
    columns = {f"probability_{label}": found[:, index] for index, label in enumerate(names)}
    table = test.assign(predicted=np.array(names)[predict_classes(found, threshold)], **columns)
    for text in gate.rules:
        rule = parse(text)
        if rule.model == name and rule.kind in ("at least", "at most"):
            beyond, tolerance, said = check(rule, gate, table)
            if not beyond <= tolerance + ROUNDING:
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
