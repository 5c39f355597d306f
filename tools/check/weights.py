"""Where Keras's ImageNet weights are, without loading them."""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from stages.fetch_weights.imagenet import keras_home
from stages.fetch_weights.packages import PACKAGES
from stages.shared.network.architectures import ARCHITECTURES

HOST = "https://storage.googleapis.com"  # from where Keras downloads
NO_ANSWER_SECONDS = 3


def find_imagenet_weights(name: str) -> str | None:
    """Return what has the weights of the conv base `name` on this machine, None where nothing has."""
    if name in PACKAGES:
        with suppress(PackageNotFoundError):
            return distribution(PACKAGES[name].name).name
    file = keras_home() / "models" / ARCHITECTURES[name].weights_file
    return str(file) if file.exists() else None


def can_download() -> bool:
    """Return whether the server of the weights answers."""
    try:
        urlopen(Request(HOST, method="HEAD"), timeout=NO_ANSWER_SECONDS).close()
    except HTTPError:  # an answer all the same
        return True
    except OSError:
        return False
    return True
