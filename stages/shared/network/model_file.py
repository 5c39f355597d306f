"""Self-contained classifiers as `.keras` files whose bytes depend on their content alone."""

import json
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from pydantic import Field

from stages.shared.network.freeze_point import base_output
from stages.shared.network.typicality import TrainingImages
from stages.shared.pipeline.files import atomic_write, scratch_file
from stages.shared.pipeline.image_input import ImageInput
from stages.shared.pipeline.model_archive import DecisionRule, check_metadata, no_model, read_archive
from stages.shared.pipeline.parameters import Strict

# What conv bases and heads are made of. Among Keras's other layers are some that read files and run code.
MODULES = "keras.initializers", "keras.src.ops.numpy"
OTHERS = (
    "__ellipsis__ __keras_tensor__ __slice__ __tensor__ keras.DTypePolicy keras.Sequential "
    "keras.src.applications.convnext.LayerScale keras.src.models.functional.Functional"
)
LAYERS = (
    "Activation Add AveragePooling2D BatchNormalization Concatenate Conv2D Dense DepthwiseConv2D Dropout Flatten "
    "GlobalAveragePooling2D InputLayer LayerNormalization MaxPooling2D Multiply ReLU Rescaling Reshape SeparableConv2D "
    "ZeroPadding2D"
)
CLASSES = {*OTHERS.split(), *(f"keras.layers.{name}" for name in LAYERS.split())}


class NamedImages(Strict):
    """What training_images.json says: of images to learn from, and of those of validation."""

    paths: list[str] = Field(min_length=1)
    similarities: list[float] = Field(min_length=1)


class Classifier(NamedTuple):
    """A network with all that predicting with it needs."""

    network: keras.Model  # RGB pixels 0 to 255, (n, image_size, image_size, 3), to probabilities
    class_names: list[str]  # the one with class_index 0 first
    rule: DecisionRule
    image_input: ImageInput  # as what images went into it
    training_images: TrainingImages


def save(classifier: Classifier, path: Path) -> None:
    """Write `classifier` to `path`, what its network does not know beside it in the archive.

    Keras stamps the date into the archive and its entries, and memory addresses into config.json
    as the ids of shared objects: here entries have one date, and ids count from 0.
    """
    ours = {
        "class_names": classifier.class_names,
        **classifier.rule.model_dump(),
        **classifier.image_input.model_dump(include=set(ImageInput.model_fields)),
    }
    paths, features, similarities = classifier.training_images
    array = BytesIO()
    np.save(array, features)
    added = {
        "training_features.npy": array.getvalue(),
        "training_images.json": json.dumps({"paths": paths, "similarities": similarities.tolist()}),
    }
    with atomic_write(path) as undated, scratch_file(path.with_name(f"dated.{path.name}")) as dated:
        classifier.network.save(dated)
        with zipfile.ZipFile(dated) as source, zipfile.ZipFile(undated, "w") as target:
            for name in sorted([*source.namelist(), *added]):
                content: bytes | str = added[name] if name in added else source.read(name)
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

    Nothing of what it holds is executed, and Keras sees it only once it is known to be whole, to say what
    `save` writes, and to be made of layers alone that `save` has written.
    Raises UserError where `path` holds none that `save` wrote, and OSError where it is not there or closed to us.
    """
    content = read_archive(path)
    metadata = check_metadata(path, content["metadata.json"])
    try:
        for kind in kinds_of(content["config.json"]):
            if kind not in CLASSES and kind.rpartition(".")[0] not in MODULES:
                raise no_model(path, f"it has a part of the kind {kind:.100}")
        network = keras.saving.load_model(path, safe_mode=True)
        shapes = network.input_shape, network.output_shape
    except Exception as error:  # Keras and HDF5 raise many kinds on foreign files
        raise no_model(path, " ".join(str(error).split())[:300]) from None
    size, classes = metadata.image_size, len(metadata.class_names)
    if shapes != ((None, size, size, 3), (None, 1 if classes == 2 else classes)):
        raise no_model(
            path, f"from {shapes[0]} to {shapes[1]} it fits neither its image_size nor its class_names"
        )
    known = metadata.model_dump()
    return Classifier(
        network,
        metadata.class_names,
        DecisionRule(**{name: known[name] for name in DecisionRule.model_fields}),
        ImageInput(**{name: known[name] for name in ImageInput.model_fields}),
        read_training_images(path, content["training_images.json"], network),
    )


def read_training_images(path: Path, content: dict, network: keras.Model) -> TrainingImages:
    """Return the training images of `network` that the archive in `path` names in `content`.

    Raises UserError where they are not as `save` writes them.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            features = np.load(BytesIO(archive.read("training_features.npy")), allow_pickle=False)
        images = NamedImages.model_validate(content)
        expected = len(images.paths), network.get_layer(base_output(network)).output.shape[-1]
    except (ValueError, EOFError, MemoryError) as error:
        raise no_model(path, " ".join(str(error).split())[:300]) from None
    if (features.dtype, features.shape) != ("float16", expected) or not np.isfinite(features).all():
        raise no_model(path, f"its training_features.npy is no float16 array of {expected}, all finite")
    return TrainingImages(images.paths, features, np.sort(images.similarities))


def kinds_of(config: object) -> Iterator[str]:
    """Yield what Keras would make objects of in `config`, a part of config.json: module and class."""
    if isinstance(config, dict) and "class_name" in config:
        module, name = (config.get(key) for key in ("module", "class_name"))
        yield str(name) if module is None else f"{module}.{name}"
    if isinstance(config, (dict, list)):
        for part in config.values() if isinstance(config, dict) else config:
            yield from kinds_of(part)
