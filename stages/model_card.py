"""Write the model card: what three models are, how they came about, what they reach, and where that ends.

Every line is one fact of the run and none is of the day or the machine, so that git's diff of it
tells what changed. Source: Mitchell et al., Model Cards for Model Reporting (2019).
"""

import json
import re
import zipfile
from hashlib import file_digest
from pathlib import Path
from typing import Annotated

import jinja2
import numpy as np
from pydantic import BaseModel, Field

from stages.shared import sentences
from stages.shared.command import run
from stages.shared.files import whole
from stages.shared.parameters import read_parameters

TEMPLATE = Path(__file__).parent / "shared/model_card.md"
Values = Annotated[dict, Field(description="a section of parameters")]  # which the other stages check
UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # controls, of direction too
MARKUP = re.compile(r"[\\`*|~$\[\]]|<(?=[a-zA-Z/!?])|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])")


class Parameters(BaseModel):
    data: Values
    split: Values
    image_size: int = Field(description="a whole number of pixels")
    interpolation: str = Field(description="bilinear or nearest")
    conv_base: Values
    leakage: Values
    augmentation: Values
    head: Values
    augmented: Values
    fine_tune: Values


def main(
    weights: Path,
    head: Path,
    augmented: Path,
    fine_tuned: Path,
    split_metrics: Path,
    leakage_metrics: Path,
    head_metrics: Path,
    augmented_metrics: Path,
    fine_tuned_metrics: Path,
    evaluation: Path,
    card: Path,
) -> None:
    parameters = flatten(read_parameters(Parameters).model_dump())
    split = json.loads(split_metrics.read_text(encoding="utf-8"))
    measured = json.loads(evaluation.read_text(encoding="utf-8"))
    differences = measured.pop("differences")
    leakage = json.loads(leakage_metrics.read_text())
    models = [head, augmented, fine_tuned]
    trained = [
        {"model": model.stem, **json.loads(metrics.read_text()), **read_model(model)}
        for model, metrics in zip(models, (head_metrics, augmented_metrics, fine_tuned_metrics))
    ]
    names = [found["class"] for found in measured["head"]["per_class"]]
    tested = split["images"]["test"]
    images = sum(tested.values())
    largest = max(names, key=split["images"]["train"].get)
    page = (
        environment()
        .get_template(TEMPLATE.name)
        .render(
            parameters=parameters,
            names=names,
            classes=sentences.listed(list(map(sentences.quoted, names))),
            labels=sentences.LABELS,
            techniques=sentences.TECHNIQUES,
            split=split,
            data=sentences.describe_data(split, names),
            trained=trained,
            measured=measured,
            results=[
                *sentences.describe_accuracies(measured, largest, tested[largest] / images, images),
                *(sentences.describe_difference(**pair) for pair in differences),
                sentences.describe_leakage(leakage, measured, images),
                *(
                    sentences.describe_confusions(model, np.array(found["confusion_matrix"]), names)
                    for model, found in measured.items()
                ),
            ],
            limits=describe_limits(split["images"], measured, names),
            files=[
                {"path": str(file), "bytes": file.stat().st_size, "sha256": digest(file)}
                for file in (weights, *models)
            ],
        )
    )
    with whole(card) as file:
        file.write_text(page, encoding="utf-8")
    print(f"{card}: {len(page.splitlines())} lines")


def flatten(parameters: dict) -> dict:
    """Return `parameters` with dotted names for those in sections."""
    flat = {}
    for name, value in parameters.items():
        inner = value.items() if isinstance(value, dict) else [(None, value)]
        flat |= {name if key is None else f"{name}.{key}": one for key, one in inner}
    return flat


def read_model(file: Path) -> dict:
    """Return what a `.keras` file says of itself: its Keras version, arithmetic and first layer to train."""
    with zipfile.ZipFile(file) as archive:
        config, metadata = (archive.read(f"{name}.json").decode() for name in ("config", "metadata"))
    layers = json.loads(config)["config"]["layers"]
    return {
        "keras": json.loads(metadata)["keras_version"],
        "arithmetic": "bfloat16" if '"mixed_bfloat16"' in config else "float32",
        "trained_from": next(layer["name"] for layer in layers if layer["config"].get("trainable")),
    }


def digest(file: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits."""
    with file.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()


def describe_limits(
    images: dict[str, dict[str, int]], measured: dict[str, dict], names: list[str]
) -> list[str]:
    """Return sentences on how far the numbers carry; `images` are those of each split and class."""
    train, test = images["train"], images["test"]
    total = sum(test.values())
    learnt, tested = min(names, key=train.get), min(names, key=test.get)
    widest = max(high - low for low, high in (found["accuracy_interval"] for found in measured.values()))
    said = [
        f"No class has fewer images to learn from than {sentences.quoted(learnt)}, {train[learnt]:,}.",
        f"No class has fewer test images than {sentences.quoted(tested)}, {test[tested]:,}: one of them is "
        f"{1 / test[tested]:.3f} of its recall.",
        f"One of {sentences.counted(total, 'test image')} is {1 / total:.4f} of accuracy, whose 95 % "
        f"intervals are up to {widest:.3f} wide.",
    ]
    for model, found in measured.items():
        missed = min(found["per_class"], key=lambda one: one["recall"])
        sentence = (
            f"{sentences.MODELS[model]} misses no class more often than {sentences.quoted(missed['class'])}: "
            f"it finds {missed['recall']:.3f} of them."
        )
        said.append(sentences.begun(sentence))
    return said


def environment() -> jinja2.Environment:
    """Return an environment in which every value is escaped: names of files and classes may hold anything."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
        finalize=escape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["figure"] = "{:.3f}".format
    return made


def escape(value: object) -> str:
    """Return `value`, as YAML has it if it is no text, on one line on which Markdown shows it as it is."""
    text = value if isinstance(value, str) else json.dumps(value)
    return MARKUP.sub(r"\\\g<0>", UNSEEN.sub("", " ".join(text.split())))


if __name__ == "__main__":
    run(main)
