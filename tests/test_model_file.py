"""A saved model says all that prediction needs, and what is wrong with a file that does not."""

import json
import zipfile
from pathlib import Path

import keras
import pytest

from stages.shared.network import model_file
from stages.shared.network.model_file import Classifier
from tests.conftest import SIZE, image_input, refused

INPUT = image_input(fit="crop", interpolation="nearest", white_16_bit=4095)


@pytest.fixture
def saved(tmp_path) -> Path:
    """The file of a small classifier."""
    pixels = keras.Input((SIZE, SIZE, 3))
    output = keras.layers.Dense(1, activation="sigmoid")(keras.layers.GlobalAveragePooling2D()(pixels))
    file = tmp_path / "small.keras"
    model_file.save(Classifier(keras.Model(pixels, output), ["cat", "dog"], 0.25, INPUT), file)
    return file


def rewrite(file: Path, **metadata: object) -> None:
    """Write `metadata` into the archive in place of its own; nothing for none."""
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist() if name != "metadata.json"}
    if metadata:
        parts["metadata.json"] = json.dumps(metadata).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def test_it_carries_what_prediction_needs(saved):
    loaded = model_file.load(saved)
    assert loaded[1:] == (["cat", "dog"], 0.25, INPUT)
    metadata = json.loads(zipfile.ZipFile(saved).read("metadata.json"))
    del metadata["keras_version"]
    assert metadata == {
        "class_names": ["cat", "dog"],
        "threshold": 0.25,
        "image_size": SIZE,
        "fit": "crop",
        "interpolation": "nearest",
        "white_16_bit": 4095,
    }


def test_a_model_of_an_older_version(saved):
    rewrite(saved, class_names=["cat", "dog"], threshold=0.5, image_size=SIZE, interpolation="nearest")
    with refused(saved, "fit and white_16_bit", "dvc repro"):
        model_file.load(saved)


def test_a_model_of_a_version_to_come(saved):
    rewrite(saved, class_names=["cat", "dog"], threshold=0.5, **INPUT.model_dump() | {"fit": "stretch"})
    with refused(saved, "no model", "fit", "stretch"):
        model_file.load(saved)


@pytest.mark.parametrize("metadata", [{}, {"keras_version": keras.__version__}])
def test_an_archive_of_somebody_else(saved, metadata):
    rewrite(saved, **metadata)
    with refused(saved, "no model"):
        model_file.load(saved)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        model_file.load(tmp_path / "absent.keras")
