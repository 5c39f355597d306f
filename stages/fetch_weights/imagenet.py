"""Keras's ImageNet weights, from whoever has them.

Tried in this order: for VGG16 and Xception an installed package that has them; Keras's cache; Keras's download,
hash-checked.
"""

import os
import socket
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import keras
from keras.src.backend import config

from stages.fetch_weights.packages import PACKAGES
from stages.shared.network.architectures import ARCHITECTURES
from stages.shared.pipeline.command import UserError

IMAGE_SIZE = 224  # pixels; the weights fit any size, but Keras names MobileNet's file by this one
NO_ANSWER_SECONDS = 15


def load_imagenet_weights(base: keras.Model, name: str) -> str:
    """Load Keras's ImageNet weights into `base` and return where they came from.

    Raises UserError where no source of them can be reached, and where VGG16's or Xception's are others than Keras's.
    """
    origin = load_from_any_source(base, name)
    if name in PACKAGES and (digest := digest_of(base)) != PACKAGES[name].digest:
        raise UserError(
            f"the weights of {name} from {origin} have digest {digest}, not {PACKAGES[name].digest}: "
            "they are not Keras's ImageNet weights."
        )
    return origin


def load_from_any_source(base: keras.Model, name: str) -> str:
    if name in PACKAGES:
        with suppress(PackageNotFoundError):
            package = distribution(PACKAGES[name].name)
            PACKAGES[name].load(base, package)
            return f"the package {package.name} {package.version}"
    socket.setdefaulttimeout(NO_ANSWER_SECONDS)
    home = keras_home()
    config._KERAS_DIR = str(home)  # it was hidden when Keras was loaded: stages/__init__.py
    home.mkdir(parents=True, exist_ok=True)  # without it Keras takes /tmp/.keras, which others may write to
    try:
        known = ARCHITECTURES[name].build(
            include_top=False, weights="imagenet", input_shape=(IMAGE_SIZE, IMAGE_SIZE, 3)
        )
    except Exception as error:  # Keras raises a bare Exception
        install = f"run make {PACKAGES[name].target}, " if name in PACKAGES else ""
        raise UserError(
            f"the ImageNet weights of {name} are neither in Keras's cache nor can Keras download them ({error}): "
            f"{install}put the file that it names into {home / 'models'}, or set "
            "conv_base.weights to the path of a Keras weights file."
        ) from None
    finally:
        socket.setdefaulttimeout(None)
    base.set_weights(known.get_weights())
    return "keras.applications"


def keras_home() -> Path:
    """Return Keras's own folder, as Keras finds it; without a home that can be written, that is in /tmp."""
    home = os.path.expanduser("~")
    default = Path(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    return Path(os.path.expanduser(os.environ.get("KERAS_HOME", default)))


def digest_of(base: keras.Model) -> str:
    """Return the SHA-256 over names and little-endian float32 values of the weights, by sorted name."""
    digest = sha256()
    for name, weight in sorted((weight.path, weight.numpy()) for weight in base.weights):
        digest.update(name.encode() + weight.astype("<f4").tobytes())
    return digest.hexdigest()
