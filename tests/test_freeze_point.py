"""Cutting a conv base in two and running the halves is running the whole."""

from pathlib import Path

import keras
import numpy as np
import pytest

from stages.shared.network import conv_base, model_file
from stages.shared.network.architectures import ARCHITECTURES
from stages.shared.network.freeze_point import above, check_cut, cuts, freeze
from stages.shared.training.head import Head, add_head
from tests.conftest import change, place_weights, refused, run, write_array
from tests.models import some_classifier

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3)).astype("float32")


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_default_cut_splits_the_base_exactly(name):
    base = conv_base.build(name, 96)
    through = ARCHITECTURES[name].freeze_through
    check_cut(base, through, name)
    below = keras.Model(base.input, base.get_layer(through).output)
    halves = above(base, through)(below(PIXELS, training=False), training=False)
    np.testing.assert_array_equal(halves, base(PIXELS, training=False))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_v2_b0", "convnext_tiny"])
def test_what_is_saved_fine_tunes_to_the_same_weights_each_time(tmp_path, name):
    """Stochastic depth draws what it leaves out from seeds that the saved model has."""
    through = ARCHITECTURES[name].freeze_through
    classifier = add_head(conv_base.build(name, 32), Head(pooling="average", units=2, dropout=0.5), 2, 0)
    model_file.save(some_classifier(classifier, ["cat", "dog"], 0.5), tmp_path / "saved.keras")
    activations = np.random.default_rng(0).random((8, *classifier.get_layer(through).output.shape[1:]))

    def fine_tune() -> list[np.ndarray]:
        network = model_file.load(tmp_path / "saved.keras").network
        freeze(network, through)
        top = above(network, through)
        top.compile("rmsprop", loss="binary_crossentropy", jit_compile=False)
        top.train_on_batch(activations, np.arange(8)[:, np.newaxis] % 2)
        return top.get_weights()

    before, first, second = above(classifier, through).get_weights(), fine_tune(), fine_tune()
    assert not all(map(np.array_equal, first, before)) and all(map(np.array_equal, first, second))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, no_cut",
    [("resnet50", "conv4_block6_2_conv"), ("xception", "block13_sepconv1"), ("inception_v3", "mixed9_0")],
)
def test_a_layer_that_a_path_goes_round_is_no_cut(name, no_cut):
    base = conv_base.build(name, 96)
    with refused("fine_tune.freeze_through", repr(no_cut), name, ARCHITECTURES[name].freeze_through):
        check_cut(base, no_cut, name)


def test_vgg16_can_be_cut_after_every_layer_with_something_to_train_above():
    base = conv_base.build("vgg16", 64)
    layers = [layer.name for layer in base.layers]
    assert cuts(base) == layers[layers.index("block1_conv1") : layers.index("block5_conv3")]


def test_an_unknown_layer_is_an_error_before_anything_is_written(workspace, vgg16_weights):
    place_weights(vgg16_weights)
    run("split_dataset")
    stored = Path("data/default_activations/validation.npy")
    stored.parent.mkdir(parents=True)
    write_array(stored, np.zeros((8, 2, 2, 512), "float32"))
    change(fine_tune__freeze_through="block4_pol")
    with refused("fine_tune.freeze_through", "'block4_pol'", "vgg16", "block4_pool"):
        run("extract_views")
    assert not Path("data/views").exists()


@pytest.mark.slow
def test_batch_normalization_is_never_fine_tuned():
    base = conv_base.build("resnet50", 96)
    freeze(base, "conv4_block6_out")
    trained = {weight.path.split("/")[0] for weight in base.trainable_weights}
    assert trained == {f"conv5_block{block}_{conv}_conv" for block in (1, 2, 3) for conv in (1, 2, 3)} | {
        "conv5_block1_0_conv"
    }
