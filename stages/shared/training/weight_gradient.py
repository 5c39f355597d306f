"""The gradient of a convolution's weights as matrix products."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from math import prod

import keras
import tensorflow as tf

# Of images up to this size oneDNN takes one to three times as long for the gradient in bfloat16, with AVX-512 and
# with AMX. Of larger ones with few channels the copies for the products take longer.
PIXELS = 14 * 14


@contextmanager
def as_products(model: keras.Model) -> Iterator[None]:
    """Have weight_gradient compute the gradients of the convolutions in `model` where it is faster.

    What comes out of them and the gradients of what goes in stay TensorFlow's. So does all in float32, which trains
    to the weights of end-to-end training, and all on a GPU, whose convolutions are not oneDNN's.
    """
    gpus = tf.config.list_physical_devices("GPU")
    layers = [layer for layer in model.layers if not gpus and _is_faster(layer)]
    for layer in layers:
        layer.call = partial(_call, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call


def _is_faster(layer: keras.Layer) -> bool:
    return (
        type(layer) is keras.layers.Conv2D
        and layer.compute_dtype == "bfloat16"
        and {*layer.strides, *layer.dilation_rate, layer.groups} == {1}
        and prod(layer.output.shape[1:3]) <= PIXELS
    )


def _call(layer: keras.layers.Conv2D, images: tf.Tensor) -> tf.Tensor:
    """Return what comes out of `layer`, with our gradients of its weights."""
    padding = layer.padding.upper()

    @tf.custom_gradient
    def convolve(images: tf.Tensor, kernel: tf.Tensor, *bias: tf.Tensor) -> tuple:
        def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            of_images = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(images),
                filter=kernel,
                out_backprop=upstream,
                strides=[1, 1, 1, 1],
                padding=padding,
            )
            of_kernel = weight_gradient(images, upstream, layer.kernel.shape, padding)
            # BiasAddGrad, where it is not one with the gradient of a kernel, rounds each sum on its way to bfloat16.
            return of_images, of_kernel, *(tf.reduce_sum(upstream, (0, 1, 2)) for _ in bias)

        outputs = tf.nn.conv2d(images, kernel, 1, padding)
        return tf.nn.bias_add(outputs, bias[0]) if bias else outputs, gradients

    return layer.activation(convolve(images, *(weight.value for weight in layer.weights)))


def weight_gradient(
    images: tf.Tensor, upstream: tf.Tensor, shape: tuple[int, int, int, int], padding: str
) -> tf.Tensor:
    """Return the gradient of a kernel of `shape`, (height, width, channels, filters), in the dtype of `images`.

    `images`, (n, height, width, channels), went in, in steps of one pixel and with padding SAME or VALID;
    `upstream`, (n, height, width, filters), is the gradient of what came out.

    Each place of the kernel met all pixels but some at the border. Its gradient is the product of these,
    (channels, n · pixels), and the gradient of what came out there, (n · pixels, filters).
    """
    height, width, channels, filters = shape
    sizes = images.shape[1:3], upstream.shape[1:3]
    rows, columns = map(_meetings, (height, width), *sizes, 2 * [padding])  # pyright: ignore[reportArgumentType]
    products = []
    for (row_in, row_out), (column_in, column_out) in product(rows, columns):
        met = tf.reshape(images[:, row_in, column_in], (-1, channels))
        came_out = tf.reshape(upstream[:, row_out, column_out], (-1, filters))
        products.append(tf.matmul(met, came_out, transpose_a=True))
    return tf.reshape(tf.stack(products), shape)


def _meetings(size: int, went_in: int, came_out: int, padding: str) -> list[tuple[slice, slice]]:
    """Return for each of `size` places along a kernel which of the pixels that went in it met, and what came out.

    `went_in` and `came_out` count the pixels. Where the kernel is larger than the image a place may have met none.
    """
    before = (size - 1) // 2 if padding == "SAME" else 0  # pixels of padding
    meetings = []
    for offset in range(-before, size - before):
        first = max(0, -offset)
        end = max(first, min(came_out, went_in - offset))
        meetings.append((slice(first + offset, end + offset), slice(first, end)))
    return meetings
