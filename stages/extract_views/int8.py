"""The base in 8-bit integers, for augmented views: about half the time of a pass in bfloat16.

Each weight and activation is one of 256 numbers of a range. The ranges come from images of the training split,
drawn by their content. With VNNI or AMX the processor sums such products exactly; with AVX2 alone sums of two may
overflow, which shows on images that are held back. A row depends neither on its batch nor on the number of cores. The first convolution alone, which is little work, computes as the base does: to round the
pixels did as much harm as all the rest. Source: Jacob et al., Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference (2018). NNCF quantizes, and OpenVINO computes.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from logging import WARNING
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import keras
import numpy as np
import pandas as pd

from stages.shared.extraction.base_fingerprint import fingerprint_base
from stages.shared.extraction.work import Compute, ExtractionParameters, MakePasses, Pixels
from stages.shared.images.image_folder import open_folder
from stages.shared.images.reading import block_for, read_blocks
from stages.shared.network import conv_base
from stages.shared.network.architectures import ARCHITECTURES
from stages.shared.network.inference import forward
from stages.shared.pipeline.image_input import ImageInput

if TYPE_CHECKING:
    import openvino

CALIBRATION, HELD_BACK = 64, 32  # images: for the ranges, and to compare with the base's own precision
LIBRARIES = "openvino", "nncf"  # locked for Linux on x86-64


class Network(NamedTuple):
    """A quantized base: OpenVINO's model, its weights, and how far off it is."""

    model: bytes
    weights: bytes
    error: bytes  # little-endian float64


class QuantizedBase:
    """The passes of `base`, whose weights the file `weights` holds, in 8-bit integers.

    The output and the activations at the base's default freeze point come from one network, and any other layer
    from one that ends there: another freeze point changes no features.
    """

    def __init__(
        self, base: keras.Model, weights: Path, split: pd.DataFrame, parameters: ExtractionParameters
    ) -> None:
        self.base, self.parameters, self.block = base, parameters, block_for(parameters.image_size)
        self.networks: dict[tuple[str, ...], Network] = {}  # by the layers that they give
        drawn = split.sort_values("sha256").head(CALIBRATION + HELD_BACK)
        last = max(1, min(CALIBRATION, len(drawn) * 2 // 3))
        self.calibration, self.held_back = drawn.iloc[:last], drawn.iloc[min(last, len(drawn) - 1) :]
        self.name = ", ".join(["int8", *(f"{library} {version(library)}" for library in LIBRARIES)])
        self.depends_on: Sequence[str] = [self.name, *self.calibration["sha256"]]
        how = [getattr(parameters, name) for name in ImageInput.model_fields]
        how += [parameters.conv_base.preprocessing, parameters.conv_base.computes_in]
        how += [*self.depends_on, *self.held_back["sha256"]]
        self.fingerprint = fingerprint_base(base, weights, __file__, how)

    def forward(self, layers: list[str]) -> Compute:
        """Return the function from pixels, (block, size, size, 3), to what each of `layers` gives: float32."""
        networks = {of: self._run(self._network(of)) for of in dict.fromkeys(map(self._beside, layers))}

        def compute(pixels: Pixels) -> list[np.ndarray]:
            found = {}
            for of, run in networks.items():
                found |= zip(of, run(pixels), strict=True)
            return [found[layer] for layer in layers]

        return compute

    def keep_rows_apart(self) -> bool:
        """They do: see above."""
        return True

    def elsewhere(self) -> MakePasses:
        """Return what makes them of the same networks: they are drawn and quantized once."""
        drawn = pd.concat([self.calibration, self.held_back]).drop_duplicates("sha256")
        return partial(_with_networks, split=drawn, parameters=self.parameters, networks=self.networks)

    def error(self, layers: Iterable[str]) -> float:
        """Return by how much `layers` are off on images that are held back from the calibration.

        It is the largest root mean square of the difference to the base's own precision, as a fraction of the
        root mean square there.
        """
        networks = [self._network(of) for of in {self._beside(layer) for layer in layers}]
        return max(float(np.frombuffer(network.error, "<f8")[0]) for network in networks)

    def _beside(self, layer: str) -> tuple[str, ...]:
        """Return the layers of the network from which `layer` comes."""
        output, default = self.base.layers[-1].name, ARCHITECTURES[self.base.name].freeze_through
        return (output, default) if layer in (output, default) else (layer,)

    def _network(self, layers: tuple[str, ...]) -> Network:
        """Return the network that gives `layers`, from the store or made anew."""
        if layers not in self.networks:
            store = self.parameters.store
            keys = [
                sha256(self.fingerprint + f"{layers} {part}".encode()).digest() for part in Network._fields
            ]
            found = [part for part in store.read(keys) if part is not None]
            if len(found) == len(keys):
                self.networks[layers] = Network(*found)
                store.mark_used(keys)
            else:
                self.networks[layers] = self._quantize(layers)
                store.write(dict(zip(keys, self.networks[layers], strict=True)))
        return self.networks[layers]

    def _quantize(self, layers: tuple[str, ...]) -> Network:
        import nncf
        import openvino
        from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet

        nncf.set_log_level(WARNING)
        settings = self.parameters.conv_base
        base = conv_base.build(settings.name, self.parameters.image_size, settings.preprocessing)
        base.set_weights(self.base.get_weights())
        images = [pixels.astype("float32") for pixels in self._read(self.calibration)]
        with TemporaryDirectory() as folder:
            outputs = [base.get_layer(layer).output for layer in layers]
            keras.Model(base.input, outputs).export(folder, verbose=False)
            model = openvino.Core().read_model(folder)
            quantized = nncf.quantize(
                model,
                nncf.Dataset(images),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(images),
                # From what the layers below give in int8, not from what they give in the base's own precision.
                fast_bias_correction=False,
                ignored_scope=nncf.IgnoredScope(names=[first_convolution(model)]),
                advanced_parameters=AdvancedQuantizationParameters(
                    # With AVX2 alone sums of two products may overflow: images held back would show that.
                    overflow_fix=OverflowFix.DISABLE,
                    # The extremes of all images: means of them cut off what matters most.
                    activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
                ),
            )
            file = Path(folder, "quantized.xml")
            openvino.save_model(quantized, file, compress_to_fp16=False)
            made = Network(file.read_bytes(), file.with_suffix(".bin").read_bytes(), b"")
        return made._replace(error=self._compare(self._run(made), forward(self.base, list(layers))))

    def _compare(self, int8: Compute, own: Compute) -> bytes:
        squares = []  # of the difference and of the base's own, for each layer
        for pixels in self._read(self.held_back):
            rights = map(np.asarray, own(pixels))
            pairs = [(right, found - right) for found, right in zip(int8(pixels), rights, strict=True)]
            squares.append([[np.square(array, dtype=float).sum() for array in pair] for pair in pairs])
        right, difference = np.sum(squares, axis=0).T
        return np.array(np.sqrt(difference / right).max(), "<f8").tobytes()

    def _run(self, network: Network) -> Compute:
        import openvino

        core, size = openvino.Core(), self.parameters.image_size
        model = core.read_model(network.model, network.weights)
        model.reshape([self.block, size, size, 3])
        # Of what is not in int8.
        precision = "bf16" if self.parameters.conv_base.computes_in == "bfloat16" else "f32"
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
        return lambda pixels: list(compiled(np.asarray(pixels, "float32")).values())

    def _read(self, images: pd.DataFrame) -> Iterable[np.ndarray]:
        folder = open_folder(self.parameters.data.images)
        return (pixels for _, pixels in read_blocks(images, folder, self.parameters))


def _with_networks(
    base: keras.Model, weights: Path, split: pd.DataFrame, parameters: ExtractionParameters, networks: dict
) -> QuantizedBase:
    passes = QuantizedBase(base, weights, split, parameters)
    passes.networks = networks
    return passes


def first_convolution(model: "openvino.Model") -> str:
    """Return the name of the convolution of `model` that sees the pixels."""
    operations = ((operation.get_type_name(), operation) for operation in model.get_ordered_ops())
    return next(operation.get_friendly_name() for kind, operation in operations if kind == "Convolution")
