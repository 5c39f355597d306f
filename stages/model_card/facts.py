"""Facts of a run that no metrics file has: its parameters in a row, its files, and where its numbers end."""

import json
import re
from hashlib import file_digest
from operator import itemgetter
from pathlib import Path

from stages.shared.pipeline.model_archive import read_archive
from stages.shared.reporting.wording import MODELS, begun, counted, quoted


def flatten(parameters: dict) -> dict:
    """Return `parameters` with dotted names for those in sections."""
    flat = {}
    for name, value in parameters.items():
        inner = flatten(value).items() if isinstance(value, dict) else [(None, value)]
        flat |= {name if key is None else f"{name}.{key}": one for key, one in inner}
    return flat


def read_model(file: Path) -> dict:
    """Return what a `.keras` file says of itself: its Keras version, arithmetic and first layer to train."""
    archive = read_archive(file)
    config = archive["config.json"]
    mixed = re.search(r'"mixed_(\w+)"', json.dumps(config))
    return {
        "keras": archive["metadata.json"]["keras_version"],
        "arithmetic": mixed[1] if mixed else "float32",
        "trained_from": next(
            layer["name"] for layer in config["config"]["layers"] if layer["config"].get("trainable")
        ),
    }


def digest(file: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits."""
    with file.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()


def describe_limits(split: dict, measured: dict[str, dict]) -> list[str]:
    """Return sentences on how far the numbers carry; `split` is the content of metrics/split.json."""
    total = split["images"]["test"]
    learnt, tested = (min(split["per_class"], key=itemgetter(name)) for name in ("train", "test"))
    widest = max(high - low for low, high in (found["accuracy_interval"] for found in measured.values()))
    said = [
        f"No class has fewer images to learn from than {quoted(learnt['class'])}, {learnt['train']:,}.",
        (
            f"No class has fewer test images than {quoted(tested['class'])}, {tested['test']:,}: one of "
            f"them is {1 / tested['test']:.3f} of its recall."
        ),
        (
            f"One of {counted(total, 'test image')} is {1 / total:.4f} of accuracy, whose 95 % "
            f"intervals are up to {widest:.3f} wide."
        ),
    ]
    for model, found in measured.items():
        missed = min(found["per_class"], key=lambda one: one["recall"])
        sentence = (
            f"{MODELS[model]} misses no class more often than {quoted(missed['class'])}: "
            f"it finds {missed['recall']:.3f} of them."
        )
        said.append(begun(sentence))
    return said
