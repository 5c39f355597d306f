"""The gradient of a convolution's weights as matrix products is TensorFlow's own."""

from collections.abc import Callable
from contextlib import nullcontext

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import layers

from stages.shared.network.precision import describe_processor, multiplies_bfloat16_fast
from stages.shared.store.results import Store
from stages.shared.training import weight_gradient as module
from stages.shared.training.fit import Examples, Training, train_above
from stages.shared.training.weight_gradient import as_products, weight_gradient
from tests.conftest import write_array

# Deviations, as parts of the largest gradient, from the exact one and from TensorFlow's own. Where bfloat16 is
# emulated, results are cut off rather than rounded, and TensorFlow's own adds up in bfloat16.
EMULATED = not multiplies_bfloat16_fast(describe_processor())
LARGEST = {"float32": 1e-6, "bfloat16": 2**-7 if EMULATED else 2**-8}
FROM_TENSORFLOW = 2**-2 if EMULATED else 2**-7


@pytest.mark.parametrize("dtype", LARGEST)
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    "images, height, width, kernel",
    [
        (20, 9, 9, (3, 3, 64, 32)),
        (1, 5, 7, (3, 3, 8, 24)),
        (7, 6, 9, (2, 4, 5, 3)),
        (3, 7, 11, (1, 7, 16, 8)),
        (3, 11, 7, (7, 1, 16, 8)),
        (13, 10, 3, (1, 1, 33, 17)),
        (2, 14, 14, (5, 5, 3, 1)),
    ],
)
def test_it_is_the_gradient_in_float64_to_rounding(images, height, width, kernel, padding, dtype):
    drawn = np.random.default_rng(0)
    went_in = tf.cast(drawn.normal(size=(images, height, width, kernel[2])), dtype)
    rows, columns = (height, width) if padding == "SAME" else (height - kernel[0] + 1, width - kernel[1] + 1)
    upstream = tf.cast(drawn.normal(size=(images, rows, columns, kernel[3])), dtype)
    exact = tf.raw_ops.Conv2DBackpropFilter(
        input=tf.cast(went_in, "float64"),
        filter_sizes=kernel,
        out_backprop=tf.cast(upstream, "float64"),
        strides=[1, 1, 1, 1],
        padding=padding,
    )
    found = weight_gradient(went_in, upstream, kernel, padding)
    assert found.dtype == dtype and found.shape == kernel
    assert np.abs(tf.cast(found, "float64") - exact).max() < LARGEST[dtype] * np.abs(exact).max()


@pytest.mark.parametrize("height, width", [(1, 1), (2, 1), (2, 3), (1, 5)])
def test_also_where_the_kernel_is_larger_than_the_image(height, width):
    drawn = np.random.default_rng(0)
    went_in, upstream = (tf.constant(drawn.normal(size=(4, height, width, 3)), "float32") for _ in range(2))
    exact = tf.raw_ops.Conv2DBackpropFilter(
        input=went_in,
        filter_sizes=(7, 7, 3, 3),
        out_backprop=upstream,
        strides=[1, 1, 1, 1],
        padding="SAME",
    )
    found = weight_gradient(went_in, upstream, (7, 7, 3, 3), "SAME")
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)
    assert np.abs(exact).max() > 1


def network(dtype: str) -> keras.Model:
    """Return a network of the kinds of convolutions that conv bases have."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(dtype)
    try:
        images = x = keras.Input((15, 15, 4))
        x = layers.Conv2D(16, 3, padding="same", activation="relu", name="large")(x)
        x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu", name="strided")(x)  # 8 × 8
        x = layers.Conv2D(16, 3, dilation_rate=2, padding="same", activation="relu", name="dilated")(x)
        x = layers.SeparableConv2D(16, 3, padding="same", activation="relu", name="separable")(x)
        x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
        x = layers.Conv2D(24, 3, padding="same", activation="relu", name="same")(x)
        x = layers.Conv2D(24, (1, 7), padding="same", use_bias=False, name="flat")(x)
        x = layers.Conv2D(32, 1, name="pixel")(x)
        x = layers.Conv2D(16, 3, activation="relu", name="valid")(x)  # 6 × 6
        x = layers.GlobalAveragePooling2D(dtype="float32")(x)
        model = keras.Model(images, layers.Dense(1, activation="sigmoid", dtype="float32")(x))
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile("sgd", loss="binary_crossentropy", jit_compile=False)
    return model


OURS = {"same", "flat", "pixel", "valid"}


def batch(images: int) -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.default_rng(images)
    return drawn.normal(size=(images, 15, 15, 4)).astype("float16"), drawn.integers(0, 2, (images, 1))


def gradients_of(model: keras.Model, context: Callable = nullcontext):
    """Return the function from images and labels to the output and the gradients of all weights."""

    def gradients(images, labels):
        with context(), tf.GradientTape() as tape:
            output = model(images, training=True)
            loss = model.compute_loss(y=labels, y_pred=output)
        return output, tape.gradient(loss, [weight.value for weight in model.trainable_weights])

    return tf.function(gradients, reduce_retracing=True)


def computed_by_tensorflow(model: keras.Model, context: Callable = nullcontext) -> set[str]:
    """Return the layers of whose weights TensorFlow's own operation computes the gradient."""
    graph = gradients_of(model, context).get_concrete_function(*batch(5)).graph
    operations = [op.name for op in graph.get_operations() if op.type == "Conv2DBackpropFilter"]
    return {layer.name for layer in model.layers if any(f"/{layer.name}" in name for name in operations)}


def test_they_are_ours_where_that_is_faster():
    """In bfloat16, of small images, in steps of one pixel."""
    others = {"large", "strided", "dilated", "separable"}
    model = network("mixed_bfloat16")
    assert computed_by_tensorflow(model) == others | OURS
    assert computed_by_tensorflow(model, lambda: as_products(model)) == others
    model = network("float32")
    assert computed_by_tensorflow(model, lambda: as_products(model)) == others | OURS


def test_a_gpu_computes_its_own(monkeypatch):
    model = network("mixed_bfloat16")
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind=None: ["a GPU"] if kind == "GPU" else []
    )
    assert computed_by_tensorflow(model, lambda: as_products(model)) >= OURS


def test_a_network_has_the_same_output_and_gradients_to_rounding():
    """Also for a last batch that is smaller."""
    model = network("mixed_bfloat16")
    own, ours = gradients_of(model), gradients_of(model, lambda: as_products(model))
    for images in (5, 3, 1, 5):
        (output, expected), (same, found) = own(*batch(images)), ours(*batch(images))
        np.testing.assert_array_equal(output, same)
        for weight, theirs, our in zip(model.trainable_weights, expected, found, strict=True):
            largest = np.abs(theirs).max()
            assert largest > 0, weight.path
            assert np.abs(our - theirs).max() < FROM_TENSORFLOW * largest, weight.path


def test_equal_steps_give_equal_bytes_and_leave_the_network_as_it_was():
    def train() -> list[bytes]:
        model = network("mixed_bfloat16")
        config = model.to_json()
        before = [weight.numpy() for weight in model.trainable_weights]
        step = tf.function(as_products(model)(model.train_step), reduce_retracing=True)
        for images in (5, 5, 3):
            step(batch(images))
        assert model.to_json() == config
        assert not any("call" in vars(layer) for layer in model.layers)
        weights = [weight.numpy() for weight in model.trainable_weights]
        assert all((old != new).any() for old, new in zip(before, weights, strict=True))
        return [weight.tobytes() for weight in weights]

    assert train() == train()


def test_a_training_takes_them(tmp_path, monkeypatch):
    """Its batches are of 3, 3 and 1 images."""
    taken = []

    def take(images, upstream, shape, padding):
        taken.append(tuple(shape))
        return weight_gradient(images, upstream, shape, padding)

    monkeypatch.setattr(module, "weight_gradient", take)
    write_array(
        tmp_path / "stored.npy", np.random.default_rng(0).normal(size=(7, 8, 8, 16)).astype("float16")
    )
    examples = Examples(pd.DataFrame({"class_index": [0, 1, 0, 1, 0, 1, 0]}), tmp_path / "stored.npy")
    training = Training(
        learning_rate=1e-3,
        decay="none",
        batch_size=3,
        epochs=2,
        patience_epochs=None,
        class_weights="none",
        threshold_for="accuracy",
        seed=0,
    )
    store = Store(folder=str(tmp_path / "store"), gigabytes=0)
    train_above(network("mixed_bfloat16"), "strided", examples, examples, training, store, lambda *_: None)
    assert set(taken) == {(3, 3, 16, 24), (1, 7, 24, 24), (1, 1, 24, 32), (3, 3, 32, 16)}
