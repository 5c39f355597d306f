"""Self-contained classifiers as `.keras` files whose bytes depend on their content alone."""

import json
import re
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import keras
from pydantic import ValidationError

from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.files import atomic_write, scratch_file
from stages.shared.pipeline.image_input import ImageInput


class Classifier(NamedTuple):
    """A network with all that predicting with it needs."""

    network: keras.Model  # RGB pixels 0 to 255, (n, image_size, image_size, 3), to probabilities
    class_names: list[str]  # the one with class_index 0 first
    threshold: (
        float | None
    )  # of the probability of class 1, where there are two; above it the image is of class 1
    image_input: ImageInput  # as what images went into it


def save(classifier: Classifier, path: Path) -> None:
    """Write `classifier` to `path`, what its network does not know in the archive's metadata.json.

    Keras stamps the date into the archive and its entries, and memory addresses into config.json
    as the ids of shared objects: here entries have one date, and ids count from 0.
    """
    ours = {
        "class_names": classifier.class_names,
        "threshold": classifier.threshold,
        "image_size": classifier.image_input.image_size,
        "fit": classifier.image_input.fit,
        "interpolation": classifier.image_input.interpolation,
        "white_16_bit": classifier.image_input.white_16_bit,
    }
    with atomic_write(path) as undated, scratch_file(path.with_name(f"dated.{path.name}")) as dated:
        classifier.network.save(dated)
        with zipfile.ZipFile(dated) as source, zipfile.ZipFile(undated, "w") as target:
            for name in sorted(source.namelist()):
                content: bytes | str = source.read(name)
                if name == "metadata.json":
                    version = json.loads(content)["keras_version"]
                    content = json.dumps({"keras_version": version, **ours})
                elif name == "config.json":
                    content = renumber(content.decode())
                target.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content)


def renumber(config: str) -> str:
    """Return `config`, the content of config.json, with the ids of its shared objects counted from 0."""
    ids: dict[str, int] = defaultdict(lambda: len(ids))
    return re.sub(r'(?<="shared_object_id": )\d+', lambda found: str(ids[found[0]]), config)


def load(path: Path) -> Classifier:
    """Return the classifier in `path`.

    Raises UserError where `path` holds none that `save` wrote, and OSError where it is not there or closed to us.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read("metadata.json"))
        network = keras.saving.load_model(path, safe_mode=True)
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # zipfile, json and Keras raise many kinds on foreign files
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} is no model that this pipeline saved: {reason}") from None
    missing = [key for key in ("class_names", "threshold", *ImageInput.model_fields) if key not in metadata]
    if "class_names" in missing:
        raise UserError(f"{path} is no model that this pipeline saved: it names no classes.")
    if missing:
        raise UserError(f"{path} does not say its {' and '.join(missing)}: train it anew with dvc repro.")
    try:
        image_input = ImageInput(**metadata)
    except ValidationError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} is no model that this pipeline saved: {reason}") from None
    return Classifier(network, metadata["class_names"], metadata["threshold"], image_input)
