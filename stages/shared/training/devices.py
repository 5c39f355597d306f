"""The devices of this machine that train together."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from stages.shared.network.freeze_point import above, base_output


def list_devices() -> list[str]:
    """Return the names of all GPUs, or of the processor where there is none."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]


@contextmanager
def split_among(
    devices: list[str], classifier: keras.Model, through: str, model: keras.Model
) -> Iterator[None]:
    """Have `model`, the layers of `classifier` after `through`, compute a batch in parts, one on each of `devices`.

    Parts are of one size: the last one is filled up with the last image, of which the head sees nothing. It sees the
    whole batch. So dropout, loss and metrics are those of one device, and the gradients too, to rounding: a weight's
    is the sum of those of all parts. A head alone is little work, and stays on one device.
    """
    if len(devices) == 1 or base_output(classifier) == through:
        yield
        return
    last = classifier.get_layer(base_output(classifier))
    base, head = keras.Model(classifier.get_layer(through).output, last.output), above(classifier, last.name)

    def call(inputs: tf.Tensor, training: bool | None = None, mask: None = None) -> tf.Tensor:
        images = tf.shape(inputs)[0]
        each = -(-images // len(devices))
        filled = tf.gather(inputs, tf.minimum(tf.range(each * len(devices)), images - 1))
        outputs = []
        for device, part in zip(devices, tf.split(filled, len(devices)), strict=True):
            with tf.device(device):
                outputs.append(base(part, training=training))
        return head(tf.concat(outputs, axis=0)[:images], training=training)

    model.call = call
    try:
        yield
    finally:
        del model.call
