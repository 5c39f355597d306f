"""The NVIDIA GPUs on which TensorFlow computes, where there are any."""

from functools import cache
from pathlib import Path

import tensorflow as tf
from tensorflow.python.client import device_lib

DRIVER = Path("/proc/driver/nvidia/version")


def compute_capabilities() -> list[tuple[int, int]]:
    """Return what NVIDIA calls so, of each GPU: (8, 0) is an A100's."""
    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    return [found["compute_capability"] for found in details if "compute_capability" in found]


@cache
def memory() -> int:
    """Return the bytes that TensorFlow may take of the GPU that has least, 0 where there is none."""
    if not tf.config.list_physical_devices("GPU"):
        return 0
    return min(
        device.memory_limit for device in device_lib.list_local_devices() if device.device_type == "GPU"
    )


def is_left_out() -> bool:
    """Return whether there is a GPU that TensorFlow does not see: it was installed without CUDA, or finds none."""
    return DRIVER.exists() and not tf.config.list_physical_devices("GPU")
