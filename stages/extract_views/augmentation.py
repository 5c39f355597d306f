"""Random views of an image: rotation, shift, shear, zoom and flip as one affine warp.

The parameters mean what keras.preprocessing.image.ImageDataGenerator means by them, and the
matrix is the one of its apply_affine_transform (keras/src/legacy/preprocessing/image.py), except
that width_shift moves along the width and height_shift along the height: Keras 3 swaps the two.
"""

from hashlib import sha256
from typing import Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from stages.shared.pipeline.parameters import Section
from stages.shared.store.fingerprint import code_digest


class Augmentation(Section):
    seed: int = Field(ge=0, description="a whole number, 0 or more")
    views: int = Field(ge=1, le=1000, description="a whole number from 1 to 1000")
    include_original: bool = Field(description="true or false")
    precision: Literal["auto", "int8", "base"] = Field(description="auto, int8 or base")
    rotation_degrees: float = Field(ge=0, le=180, description="degrees from 0 to 180")
    width_shift: float = Field(ge=0, lt=1, description="a fraction of the width, at least 0 and below 1")
    height_shift: float = Field(ge=0, lt=1, description="a fraction of the height, at least 0 and below 1")
    shear_degrees: float = Field(ge=0, lt=90, description="degrees, at least 0 and below 90")
    zoom: float = Field(ge=0, lt=1, description="a fraction of the size, at least 0 and below 1")
    horizontal_flip: bool = Field(description="true or false")
    fill: Literal["nearest", "reflect", "constant"] = Field(
        description="nearest, reflect or constant (black)"
    )


def draw_warp(augmentation: Augmentation, view: int, digest: str, size: int) -> np.ndarray:
    """Return the warp of the image with SHA-256 `digest` in `view`, for `size` × `size` pixels.

    Comes as the 8 coefficients that keras.ops.image.affine_transform takes, (8,) float32. They are
    a function of (seed, view, digest) alone: other images and their order do not matter.
    """
    draw = sha256(f"{augmentation.seed} {view} {digest}".encode()).digest()
    uniform = np.frombuffer(draw, "<u4") / 2**32  # (8,) in [0, 1), of which seven are used
    either_way = 2 * uniform - 1

    angle = np.deg2rad(augmentation.rotation_degrees * either_way[0])
    right, down = size * np.array([augmentation.width_shift, augmentation.height_shift]) * either_way[1:3]
    shear = np.deg2rad(augmentation.shear_degrees * either_way[3])
    zoom_x, zoom_y = 1 + augmentation.zoom * either_way[4:6]
    flip = augmentation.horizontal_flip and uniform[6] < 0.5

    # From an output pixel (x, y, 1), measured from the image's centre, to the input pixel.
    warp = (
        np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        @ np.array([[1, 0, right], [0, 1, down], [0, 0, 1]])
        @ np.array([[1, -np.sin(shear), 0], [0, np.cos(shear), 0], [0, 0, 1]])
        @ np.diag([zoom_x, zoom_y, 1])
        @ np.diag([-1 if flip else 1, 1, 1])
    )
    centre = (size - 1) / 2
    from_centre = np.array([[1, 0, centre], [0, 1, centre], [0, 0, 1]])
    return (from_centre @ warp @ np.linalg.inv(from_centre)).ravel()[:8].astype("float32")


class AugmentedView(NamedTuple):
    """The augmented version of every image that has this number."""

    augmentation: Augmentation
    number: int

    def key(self, digest: str, size: int) -> bytes:
        """Return what the image with SHA-256 `digest` becomes in this view, at `size` × `size` pixels."""
        warp = draw_warp(self.augmentation, self.number, digest, size)
        return warp.tobytes() + self.augmentation.fill.encode() + code_digest(__file__)

    def draw(self, pixels: np.ndarray, digests: list[str]) -> tf.Tensor:
        """Return the images `pixels`, (n, size, size, 3), with SHA-256s `digests`, in this view: float32.

        They stay on the device that drew them.
        """
        size = pixels.shape[1]
        warps = np.stack([draw_warp(self.augmentation, self.number, digest, size) for digest in digests])
        return keras.ops.image.affine_transform(
            pixels.astype("float32"),
            warps,
            interpolation="bilinear",
            fill_mode=self.augmentation.fill,
            fill_value=0,
        )
