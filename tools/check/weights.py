"""Where Keras's ImageNet weights are, without loading them."""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from stages.fetch_weights.imagenet import keras_home
from stages.fetch_weights.packages import PACKAGES

HOST = "https://storage.googleapis.com"  # from where Keras downloads
NO_ANSWER_SECONDS = 3


def find_imagenet_weights(name: str) -> str | None:
    """Return what has the weights of the conv base `name` on this machine, None where nothing has."""
    if name in PACKAGES:
        with suppress(PackageNotFoundError):
            return distribution(PACKAGES[name].name).name
    files = (keras_home() / "models").glob(
        f"{name}_*_no*top.h5"
    )  # vgg19_weights_…_notop.h5, mobilenet_…_no_top.h5
    return next(map(str, files), None)


def can_download() -> bool:
    """Return whether the server of the weights answers."""
    try:
        urlopen(Request(HOST, method="HEAD"), timeout=NO_ANSWER_SECONDS).close()
    except HTTPError:  # an answer all the same
        return True
    except OSError:
        return False
    return True
