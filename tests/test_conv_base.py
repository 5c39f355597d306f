"""What the conv base computes with, and on what."""

import keras
import numpy as np
import pytest

from stages.shared.network import conv_base
from stages.shared.network.precision import multiplies_bfloat16_fast
from tests.conftest import refused

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
