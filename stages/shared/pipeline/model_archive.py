"""The archive that a saved model is, as bytes that are whole; and what its metadata.json may say."""

import json
import zipfile
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints, ValidationError

from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.damage import damaged, recorded_object
from stages.shared.pipeline.image_input import ImageInput
from stages.shared.pipeline.parameters import Sections, Strict

SIZES = {  # the members, and how many bytes each may have
    "config.json": 10**7,
    "metadata.json": 10**8,
    "model.weights.h5": 10**11,
}
NAMES = "a list of two or more different names"
KNOWN = "paths, features and similarities"
SHARE = "a number from 0 to 1"
THRESHOLD = f"{SHARE}, or null, as always with more than two classes"


class DecisionRule(Sections):
    """By what a model's probabilities become an answer: chosen on validation, after the training."""

    temperature: float = Field(gt=0, description="a number above 0")  # by what the model divides its scores
    threshold: float | None = Field(ge=0, le=1, description=THRESHOLD)  # above it an image is of class 1
    sure_above: float | None = Field(ge=0, le=1, description=f"{SHARE}, or null")  # None: of every answer
    in_set_from: float | None = Field(ge=0, le=1, description=f"{SHARE}, or null")  # None: there are no sets
    unlike_below: float = Field(ge=0, le=1, description=SHARE)  # a typicality


class KnownImages(Strict):
    """Training images and how alike others are to them: network.typicality has what is computed with it."""

    paths: list[str] = Field(min_length=1)
    features: str  # (paths, channels), little-endian float16 in base64
    similarities: list[float] = Field(min_length=1)


class Metadata(DecisionRule, ImageInput):
    """What a model says of its classes, of its answers, and of the images that go in and that it has learnt from."""

    class_names: list[Annotated[str, StringConstraints(min_length=1)]] = Field(
        min_length=2, description=NAMES
    )
    training_images: KnownImages = Field(description=KNOWN)


def no_model(file: Path, fault: str) -> UserError:
    """Return the error for `file`, which is the pipeline's own where DVC has it recorded."""
    if recorded_object(file):
        return damaged(file, fault)
    return UserError(f"{file} is no model that this pipeline saved, or damaged: {fault}.")


def read_archive(file: Path) -> dict[str, dict[str, Any]]:
    """Return the objects in config.json and metadata.json of `file`, by name.

    All checksums in it are verified: Keras seeks in the weights, for which zipfile does without.
    Raises UserError where `file` is not as a model is saved, and OSError where it is not there or closed to us.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = {member.filename: member for member in archive.infolist()}
            if set(members) != set(SIZES) or len(archive.infolist()) > len(SIZES):
                raise no_model(file, f"it does not hold {', '.join(SIZES)} alone")
            for name, member in members.items():  # what is not compressed is no larger than the file
                if member.compress_type != zipfile.ZIP_STORED or member.file_size > SIZES[name]:
                    raise no_model(file, f"its {name} is compressed or too large")
            if broken := archive.testzip():
                raise no_model(file, f"the checksum of its {broken} is not that of its content")
            found = {name: json.loads(archive.read(name)) for name in ("config.json", "metadata.json")}
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # zipfile and json raise many kinds on foreign files, OSError among them
        raise no_model(file, " ".join(str(error).split())[:300]) from None
    for name, content in found.items():
        if not isinstance(content, dict):
            raise no_model(file, f"its {name} holds no JSON object")
    return found


def check_metadata(file: Path, metadata: dict[str, Any]) -> Metadata:
    """Return `metadata`, of the model in `file`; raises UserError where they are not as this pipeline writes them."""
    missing = [key for key in Metadata.model_fields if key not in metadata]
    if "class_names" in missing:
        raise no_model(file, "it names no classes")
    if missing:
        raise UserError(f"{file} does not say its {' and '.join(missing)}: train it anew with dvc repro.")
    try:
        found = Metadata.model_validate(metadata)
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        takes = Metadata.model_fields[key].description
        raise no_model(file, f"its {key} is {metadata[key]!r:.100}, but it takes {takes}") from None
    if len(set(found.class_names)) < len(found.class_names):
        raise no_model(file, "one name stands for two classes")
    if found.threshold is not None and len(found.class_names) > 2:
        raise no_model(file, "it has a threshold for more than two classes")
    return found
