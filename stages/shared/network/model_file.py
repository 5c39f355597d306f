"""Self-contained classifiers as `.keras` files whose bytes depend on their content alone."""

import json
import re
import zipfile
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from stages.shared.network.freeze_point import base_output
from stages.shared.network.typicality import TrainingImages
from stages.shared.pipeline.files import atomic_write, scratch_file
from stages.shared.pipeline.image_input import ImageInput
from stages.shared.pipeline.model_archive import (
    DecisionRule,
    KnownImages,
    check_metadata,
    no_model,
    read_archive,
)

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


class Classifier(NamedTuple):
    """A network with all that predicting with it needs."""

    network: keras.Model  # RGB pixels 0 to 255, (n, image_size, image_size, 3), to probabilities
    class_names: list[str]  # the one with class_index 0 first
    rule: DecisionRule
    image_input: ImageInput  # as what images went into it
    training_images: TrainingImages


def save(classifier: Classifier, path: Path) -> None:
    """Write `classifier` to `path`, what its network does not know in the archive's metadata.json.

    Not in members of its own: for these Keras would unpack the whole archive on disk whenever it reads it.
    Keras stamps the date into the archive and its entries, and memory addresses into config.json
    as the ids of shared objects: here entries have one date, and ids count from 0.
    """
    ours = {
        "class_names": classifier.class_names,
        **classifier.rule.model_dump(),
        **classifier.image_input.model_dump(include=set(ImageInput.model_fields)),
        "training_images": {
            "paths": classifier.training_images.paths,
            "features": b64encode(classifier.training_images.features.astype("<f2").tobytes()).decode(),
            "similarities": classifier.training_images.similarities.tolist(),
        },
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
    return Classifier(
        network,
        metadata.class_names,
        DecisionRule(**metadata.model_dump(include=set(DecisionRule.model_fields))),
        ImageInput(**metadata.model_dump(include=set(ImageInput.model_fields))),
        read_training_images(path, metadata.training_images, network),
    )


def read_training_images(path: Path, known: KnownImages, network: keras.Model) -> TrainingImages:
    """Return the training images of `network`, as the archive in `path` has them.

    Raises UserError where their features are not those of its base.
    """
    try:
        channels = network.get_layer(base_output(network)).output.shape[-1]
        features = np.frombuffer(b64decode(known.features, validate=True), "<f2")
        features = features.reshape(len(known.paths), channels).astype("float16")
    except ValueError as error:
        raise no_model(path, f"of its training_images {error}") from None
    if not np.isfinite(features).all():
        raise no_model(path, "its training_images have a feature that is no finite number")
    return TrainingImages(known.paths, features, np.sort(known.similarities))


def kinds_of(config: object) -> Iterator[str]:
    """Yield what Keras would make objects of in `config`, a part of config.json: module and class."""
    if isinstance(config, dict) and "class_name" in config:
        module, name = (config.get(key) for key in ("module", "class_name"))
        yield str(name) if module is None else f"{module}.{name}"
    if isinstance(config, (dict, list)):
        for part in config.values() if isinstance(config, dict) else config:
            yield from kinds_of(part)
