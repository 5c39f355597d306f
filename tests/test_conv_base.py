"""What the conv base computes with, and on what."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from stages.shared.extraction.work import OwnPrecision, store_for
from stages.shared.network import conv_base, gpu
from stages.shared.network.precision import choose, multiplies_bfloat16_fast
from stages.shared.store.results import Store
from tests.conftest import refused, states

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3)).astype("float32")


def test_image_too_small_for_the_base():
    with refused("image_size", 64, "inception_v3", 75):
        conv_base.build("inception_v3", 64)


@pytest.mark.parametrize("mode", ["caffe", "tf"])
@pytest.mark.slow
def test_preprocessing_is_the_one_of_keras(mode):
    name = {"caffe": "vgg16", "tf": "mobilenet"}[mode]
    base = conv_base.build(name, 96)
    first = next(layer for layer in base.layers if layer.weights)
    expected = keras.applications.imagenet_utils.preprocess_input(PIXELS.copy(), mode=mode)
    np.testing.assert_allclose(keras.Model(base.input, first.input)(PIXELS), expected, rtol=1e-6, atol=1e-4)
    rescaled = conv_base.build(name, 96, preprocessing="rescale")
    first = next(layer for layer in rescaled.layers if layer.weights)
    np.testing.assert_allclose(keras.Model(rescaled.input, first.input)(PIXELS), PIXELS / 255, rtol=1e-6)


@pytest.mark.parametrize(
    "name, build",
    [
        ("mobilenet_v3_large", keras.applications.MobileNetV3Large),
        ("efficientnet_v2_b0", keras.applications.EfficientNetV2B0),
        ("efficientnet_v2_s", keras.applications.EfficientNetV2S),
        ("convnext_tiny", keras.applications.ConvNeXtTiny),
    ],
)
@pytest.mark.slow
def test_preprocessing_is_the_one_that_keras_builds_into_others(name, build):
    ours = conv_base.build(name, 96)
    keras.backend.clear_session()
    theirs = build(include_top=False, weights=None, input_shape=(96, 96, 3))
    found, expected = (
        keras.Model(model.input, before_weights(model))(PIXELS).numpy() for model in (ours, theirs)
    )
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def before_weights(model: keras.Model) -> keras.KerasTensor:
    """Return what goes into the first layer of `model` that has weights."""
    first = next(operation for operation in model.operations if getattr(operation, "weights", ()))
    return first._inbound_nodes[-1].input_tensors[0]


@pytest.mark.parametrize(
    "words, fast",
    [
        ("AuthenticAMD avx512f avx512_bf16", True),  # Zen 4
        ("GenuineIntel avx512f avx512_bf16", True),  # Cooper Lake
        ("GenuineIntel avx512f avx512_bf16 avx512_fp16 amx_bf16", True),  # Sapphire Rapids
        ("GenuineIntel avx512f avx512_bf16 avx512_fp16", False),  # the same with AMX hidden
        ("AuthenticAMD avx2", False),
    ],
)
def test_processors_that_are_faster_in_bfloat16(words, fast):
    vendor, *flags = words.split()
    assert multiplies_bfloat16_fast(f"vendor_id\t: {vendor}\nflags\t\t: fpu {' '.join(flags)} adx\n") == fast


@pytest.mark.parametrize(
    ("gpus", "precision"),
    [
        ([(8, 0)], "bfloat16"),
        ([(12, 0)], "bfloat16"),
        ([(9, 0), (7, 5)], "float16"),
        ([(7, 0)], "float16"),
        ([(7, 0), (6, 1)], "float32"),
    ],
)
def test_on_gpus_the_oldest_decides_and_no_processor(gpus, precision):
    for processor in ("flags\t: avx512_bf16", "flags\t: avx2"):
        assert choose(processor, gpus) == precision
    assert choose("flags\t: avx512_bf16", []) == "bfloat16" and choose("flags\t: avx2", []) == "float32"


@pytest.fixture
def on_a_gpu(monkeypatch) -> None:
    """TensorFlow with a GPU of 8 GiB, as far as our code asks."""
    monkeypatch.setattr(gpu, "memory", lambda: 2**33)
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: None)


def test_blocks_on_a_gpu_are_larger_and_part_of_what_a_result_depends_on(on_a_gpu):
    small, large = (OwnPrecision(conv_base.build("mobilenet", size)) for size in (32, 512))
    assert (small.block, large.block) == (256, 8)
    assert small.depends_on == ["blocks of 256"]


def test_the_store_is_used_only_where_rows_are_kept_apart(monkeypatch, capsys, tmp_path):
    passes = OwnPrecision(conv_base.build("mobilenet", 32))
    store = Store(folder=str(tmp_path), gigabytes=1)
    assert store_for(passes, b"one base", store) == store

    def mixing(pixels: np.ndarray) -> list[np.ndarray]:
        return [np.cumsum(pixels, axis=0, dtype=float)]

    monkeypatch.setattr(passes, "forward", lambda layers: mixing)
    assert store_for(passes, b"one base", store) == store  # as that is kept
    assert store_for(passes, b"another", store).gigabytes == 0
    assert states(capsys.readouterr().err, "row depends", "store is not used")
