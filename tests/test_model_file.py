"""A saved model says all that prediction needs, and what is wrong with a file that does not."""

import json
import random
import zipfile
from base64 import b64encode
from pathlib import Path

import keras
import numpy as np
import pytest

from stages.model_card.facts import read_model
from stages.shared.network import model_file
from stages.shared.network.architectures import ARCHITECTURES
from stages.shared.network.conv_base import build
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.model_archive import check_metadata
from stages.shared.training.head import Head, add_head
from tests.conftest import SIZE, image_input, refused
from tests.models import some_classifier

INPUT = image_input(fit="crop", interpolation="nearest", white_16_bit=4095)


RULE = {
    "temperature": 1.0,
    "threshold": 0.25,
    "sure_above": None,
    "in_set_from": None,
    "unlike_below": 0.01,
}
KNOWN = {
    "paths": ["a.png", "b.png"],
    "features": b64encode(np.eye(2, 3, dtype="<f2").tobytes()).decode(),
    "similarities": [0.5, 0.75],
}
WHOLE = {"class_names": ["cat", "dog"], **RULE, **INPUT.model_dump(), "training_images": KNOWN}


@pytest.fixture
def saved(tmp_path, monkeypatch) -> Path:
    """The file of a small classifier, in a folder that is no project."""
    monkeypatch.chdir(tmp_path)
    return save(tmp_path / "small.keras")


def save(file: Path, layers: tuple[keras.Layer, ...] = (), names: tuple[str, ...] = ("cat", "dog")) -> Path:
    """Write a small classifier to `file` that has `layers` too."""
    output = pixels = keras.Input((SIZE, SIZE, 3))
    outputs = 1 if len(names) == 2 else len(names)
    pooling = keras.layers.GlobalAveragePooling2D(name="pooling")
    for layer in (*layers, pooling, keras.layers.Dense(outputs)):
        output = layer(output)
    threshold = 0.25 if len(names) == 2 else None
    model_file.save(some_classifier(keras.Model(pixels, output), names, threshold, INPUT), file)
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
    _, names, rule, how, images = loaded
    assert (names, rule.model_dump(), how) == (["cat", "dog"], RULE, INPUT)
    assert images.paths == ["a.png", "b.png"] and images.similarities.tolist() == [0.5, 0.75]
    np.testing.assert_array_equal(images.features, np.eye(2, 3, dtype="float16"), strict=True)
    metadata = json.loads(zipfile.ZipFile(saved).read("metadata.json"))
    del metadata["keras_version"]
    assert metadata == {
        "class_names": ["cat", "dog"],
        **RULE,
        "image_size": SIZE,
        "fit": "crop",
        "interpolation": "nearest",
        "white_16_bit": 4095,
        "training_images": KNOWN,
    }


def test_a_model_of_an_older_version(saved):
    rewrite(
        saved,
        class_names=["cat", "dog"],
        **RULE,
        image_size=SIZE,
        interpolation="nearest",
        training_images=KNOWN,
    )
    with refused(saved, "fit and white_16_bit", "dvc repro"):
        model_file.load(saved)


@pytest.mark.parametrize(
    "changes, facts",
    [
        ({"features": "AAAAAAAA"}, ["reshape"]),
        ({"features": "not base64"}, ["training_images"]),
        ({"features": b64encode(np.full((2, 3), np.inf, "<f2").tobytes()).decode()}, ["finite"]),
        ({"features": 5}, ["training_images"]),
        ({"paths": ["a.png"]}, ["reshape"]),
        ({"paths": []}, ["training_images"]),
        ({"similarities": []}, ["training_images"]),
        ({"similarities": ["0.5"]}, ["training_images"]),
    ],
)
def test_training_images_that_nobody_saved(saved, changes, facts):
    rewrite(saved, **WHOLE | {"training_images": KNOWN | changes})
    with refused(saved, "no model", *facts):
        model_file.load(saved)


def test_a_model_of_a_version_to_come(saved):
    rewrite(saved, **WHOLE | {"fit": "stretch"})
    with refused(saved, "no model", "fit", "stretch"):
        model_file.load(saved)


@pytest.mark.parametrize("metadata", [{}, {"keras_version": keras.__version__}])
def test_an_archive_of_somebody_else(saved, metadata):
    rewrite(saved, **metadata)
    with refused(saved, "no model"):
        model_file.load(saved)


@pytest.mark.parametrize(
    "changes, facts",
    [
        ({"class_names": 5}, ["class_names is 5", "a list of two or more different names"]),
        ({"class_names": "cat"}, ["class_names is 'cat'"]),
        ({"class_names": ["cat", 5]}, ["class_names is ['cat', 5]"]),
        ({"class_names": ["cat", ""]}, ["class_names is ['cat', '']"]),
        ({"class_names": ["cat", "\ud800"]}, ["class_names is"]),
        ({"class_names": []}, ["class_names is []"]),
        ({"class_names": ["cat"]}, ["class_names is ['cat']"]),
        ({"class_names": ["cat", "cat"]}, ["one name", "two classes"]),
        ({"class_names": ["cat", "dog", "fig"]}, ["threshold", "more than two classes"]),
        ({"class_names": ["cat", "dog", "fig"], "threshold": None}, ["(None, 1)", "class_names"]),
        ({"threshold": "0.5"}, ["threshold is '0.5'", "a number from 0 to 1"]),
        ({"threshold": True}, ["threshold is True"]),
        ({"threshold": float("nan")}, ["threshold is nan"]),
        ({"threshold": float("inf")}, ["threshold is inf"]),
        ({"threshold": -0.1}, ["threshold is -0.1"]),
        ({"threshold": 2}, ["threshold is 2"]),
        ({"image_size": 10**9}, ["image_size is 1000000000", "32 to 2048"]),
        ({"image_size": 64}, [f"(None, {SIZE}, {SIZE}, 3)", "image_size"]),
        ({"white_16_bit": "65535"}, ["white_16_bit is '65535'", "255 to 65535"]),
    ],
)
def test_metadata_that_nobody_saved(saved, changes, facts):
    rewrite(saved, **WHOLE | changes)
    with refused(saved, "no model", *facts):
        model_file.load(saved)


def test_random_metadata(saved):
    """Each is refused in a sentence or keeps what it promises; 2,000 of them."""
    rng = random.Random(0)
    some = [
        "",
        "cat",
        "\0",
        0,
        1,
        -1,
        0.5,
        2**70,
        1e300,
        float("nan"),
        None,
        True,
        [],
        {},
        "squash",
        "bilinear",
    ]

    def value(depth: int = 2) -> object:
        kind = rng.randrange(4) if depth else 3
        if kind == 0:
            return [value(depth - 1) for _ in range(rng.randrange(4))]
        if kind == 1:
            return {str(rng.choice(some)): value(depth - 1) for _ in range(rng.randrange(3))}
        return rng.choice(some)

    taken, said = 0, []
    for _ in range(2000):
        metadata = WHOLE | {rng.choice(list(WHOLE)): value() for _ in range(rng.randrange(3))}
        try:
            found = check_metadata(saved, json.loads(json.dumps(metadata)))
        except UserError as error:
            said.append(str(error))
            continue
        taken += 1
        assert len(set(found.class_names)) == len(found.class_names) > 1
        assert found.threshold is None or 0 <= found.threshold <= 1
        assert 32 <= found.image_size <= 2048
    assert 100 < taken < 1900 and not any("\n" in sentence for sentence in said)


def content(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_flipped_bits(saved):
    """In every region of the archive: refused, or a bit that says nothing, such as of a date."""
    whole, expected, rng = saved.read_bytes(), content(saved), random.Random(0)
    with zipfile.ZipFile(saved) as archive:
        heads = [
            place
            for member in archive.infolist()
            for place in range(member.header_offset, member.header_offset + 50)
        ]
        directory = range(archive.start_dir, len(whole))
    places = {*heads, *directory, *rng.sample(range(len(whole)), 300)}
    survived, said = 0, []
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.randrange(8)
        saved.write_bytes(damaged)
        try:
            model_file.read_archive(saved)
        except UserError as error:
            said.append(str(error))
        else:
            survived += 1
            assert content(saved) == expected
    assert all("no model" in sentence and "\n" not in sentence for sentence in said)
    assert survived < len(heads) + len(directory)
    for length in (0, 1, 30, *rng.sample(range(len(whole)), 50), len(whole) - 1):
        saved.write_bytes(whole[:length])
        with refused(saved, "no model"):
            model_file.load(saved)


def test_a_damaged_weight_is_not_used(saved):
    whole = bytearray(saved.read_bytes())
    kernel = model_file.load(saved).network.layers[-1].kernel.numpy().tobytes()
    whole[whole.index(kernel)] ^= 64
    saved.write_bytes(whole)
    for read in (model_file.load, read_model):
        with refused(saved, "checksum", "model.weights.h5"):
            read(saved)


def test_an_archive_that_would_unpack_to_more(saved):
    parts = content(saved)
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part + b" " * 10**7)
    with refused(saved, "no model", "compressed or too large"):
        model_file.load(saved)


@pytest.mark.parametrize("name", ["assets/../../../mine", "metadata.json"])
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_an_archive_with_more_in_it(saved, name):
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr(name, "{}")
    with refused(saved, "no model", "alone"):
        model_file.load(saved)


@pytest.mark.parametrize("layer", [keras.layers.Lambda(lambda x: x), keras.layers.GaussianNoise(1.0)])
def test_layers_of_other_kinds(tmp_path, layer):
    file = save(tmp_path / "other.keras", (layer,))
    with refused(file, "no model", f"keras.layers.{type(layer).__name__}"):
        model_file.load(file)


@pytest.mark.parametrize(
    "config", ["[]", "{", "[" * 900 + "]" * 900, '{"config": ' * 900 + "1" + "}" * 900, "{}"]
)
def test_a_config_that_is_none(saved, config):
    parts = content(saved) | {"config.json": config.encode()}
    with zipfile.ZipFile(saved, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    with refused(saved, "no model"):
        model_file.load(saved)


def test_more_than_two_classes(tmp_path):
    names = ("cat", "dog", "fig")
    loaded = model_file.load(save(tmp_path / "three.keras", names=names))
    assert (loaded.class_names, loaded.rule.threshold) == (list(names), None)


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_conv_base_and_head_is_made_of_known_parts(name):
    kinds = set(model_file.kinds_of(json.loads(build(name, 96, "rescale").to_json())))
    base = build(name, 96)
    for pooling in ("flatten", "average"):
        head = Head(pooling=pooling, units=2, dropout=0.1)
        kinds.update(model_file.kinds_of(json.loads(add_head(base, head, 3, 0).to_json())))
    assert {kind for kind in kinds if kind.rpartition(".")[0] not in model_file.MODULES} <= model_file.CLASSES


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        model_file.load(tmp_path / "absent.keras")
