"""The conv base: whether it takes the images, can be cut at the freeze point, and finds weights and room."""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import keras
from pydantic import Field

from stages.extract_views.__main__ import Parameters as Views
from stages.extract_views.passes import check_installed
from stages.fetch_weights.__main__ import Parameters as Weights
from stages.fetch_weights.imagenet import IMAGE_SIZE
from stages.shared.network import conv_base, gpu
from stages.shared.network.architectures import ARCHITECTURES
from stages.shared.network.conv_base import BaseName
from stages.shared.network.freeze_point import FreezePoint, check_cut
from stages.shared.pipeline.arrays import check_room, dtype_for
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.image_input import ImageSize
from stages.shared.pipeline.parameters import PartOfSection, Sections, read_parameters
from tools.check.findings import Findings
from tools.check.project import Project
from tools.check.weights import can_download, find_imagenet_weights

DATA = Path("data")  # where all arrays go
LEFT_OUT = (
    "this machine has an NVIDIA GPU, but TensorFlow sees none, so all is computed on the processor: make GPU=1 repro "
    "installs what it needs for one (docs/scale.md)."
)


class Name(Sections):
    conv_base: BaseName


class Size(Name):
    image_size: ImageSize


class Cut(Sections):
    fine_tune: FreezePoint


class Precision(PartOfSection):
    precision: Any = Field(description="auto, int8 or base")


class Augmented(Sections):
    augmentation: Precision


def check_network(project: Project, images: Mapping[str, float] | None, findings: Findings) -> None:
    """Find what the conv base will not do, given about how many images each split gets."""
    with findings.collect():
        name, base = read_parameters(Name).conv_base.name, None
        with findings.collect():
            base = conv_base.build(name, read_parameters(Size).image_size)
        base = base or conv_base.build(name, IMAGE_SIZE)
        with findings.collect():
            check_cut(base, read_parameters(Cut).fine_tune.layer(name), name)
        with findings.collect():
            check_installed(read_parameters(Augmented).augmentation.precision)
        with findings.collect():
            findings.checked.append(f"{name} (weights: {find_weights(base, project, findings)})")
        if images and not findings.problems:
            warn_of_full_disk(base, images, findings)
        if gpu.is_left_out():
            findings.notices.append(LEFT_OUT)


def find_weights(base: keras.Model, project: Project, findings: Findings) -> str:
    """Return where the weights come from; raises UserError where that is a file that has none for `base`."""
    source = read_parameters(Weights).conv_base
    recorded = {"conv_base.name": source.name, "conv_base.weights": source.weights}
    if project.is_done("fetch_weights", recorded):
        return "fetched already"
    if source.weights not in ("imagenet", "random"):
        conv_base.load_weights(base, Path(source.weights), source.name)
    if source.weights != "imagenet":
        return source.weights
    if found := find_imagenet_weights(source.name):
        return found
    way = "will download them" if can_download() else "cannot download them, as no server answers here"
    findings.notices.append(
        f"The ImageNet weights of {source.name} are not on this machine: fetch_weights {way}."
    )
    return "from Keras"


def warn_of_full_disk(base: keras.Model, images: Mapping[str, float], findings: Findings) -> None:
    """Say where the arrays of a run that computes all of them would not fit on the disk."""
    parameters = read_parameters(Views)
    settings, views = parameters.conv_base, parameters.augmentation.views
    features, activations, default = (
        prod(base.get_layer(layer).output.shape[1:])
        for layer in (
            base.layers[-1].name,
            parameters.fine_tune.layer(settings.name),
            ARCHITECTURES[settings.name].freeze_through,
        )
    )
    train, others = images["train"], images["validation"] + images["test"]
    values = train * (features + default + views * (features + activations)) + others * (
        features + default + activations
    )
    try:
        check_room(DATA if DATA.exists() else Path(), int(values * dtype_for(settings.computes_in).itemsize))
    except UserError as error:
        findings.notices.append(f"{error} That is what features, views and activations of all images take.")
