"""augmentation.precision: passes for views in 8-bit integers, where they are fast and near enough."""

import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.extract_views import passes
from stages.extract_views.__main__ import Parameters
from stages.extract_views.int8 import CALIBRATION, HELD_BACK, QuantizedBase
from stages.shared.images.reading import BLOCK
from stages.shared.network import conv_base
from stages.shared.network.architectures import ARCHITECTURES
from stages.shared.network.inference import forward
from stages.shared.network.precision import multiplies_int8_fast
from stages.shared.pipeline.parameters import read_parameters
from stages.shared.pipeline.splits import read_split
from tests.conftest import (
    SIZE,
    TINY,
    arguments,
    change,
    draw_images,
    place_weights,
    refused,
    run,
    variables_for,
    write_parameters,
)

pytestmark = pytest.mark.skipif(not passes.is_installed(), reason="OpenVINO is not installed")

FAST = "flags : sse avx avx2"
VIEWS = [Path("data/views") / f"{name}.npy" for name in ("features", "activations")]
OTHERS = [Path("data/views/validation_activations.npy"), Path("data/activations/test.npy")]
IMAGES = 2 * (CALIBRATION + HELD_BACK) // 3  # of each of two classes, so that some are in neither
# As a user's Python without pytest, of which NNCF takes notice. Whatever connects is heard.
LISTENING = """
import runpy, sys
sys.addaudithook(lambda event, _: event in ("socket.connect", "socket.getaddrinfo") and print("CONNECTS", event))
runpy.run_module("stages.extract_views", run_name="__main__")
print("telemetry:", sorted(name for name in sys.modules if "telemetry" in name and sys.modules[name]))
"""


@pytest.fixture(scope="module")
def extracted_once(build_once, vgg16_weights) -> Path:
    def fill(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            write_parameters(folder, {**TINY, "image_size": SIZE, "augmentation.views": 2})
            change(augmentation__include_original=False)
            names = [f"{label}/{number}.png" for label in ("apple", "pear") for number in range(IMAGES)]
            draw_images(folder / "images", names)
            change(split__train=None, split__validation=2, split__test=2)
            place_weights(vgg16_weights)
            change(store__gigabytes=0.2, store__folder="store")
            run("split_dataset", "extract_features", "extract_views")
            own = content(VIEWS)
            extract(precision="int8")
            assert content(VIEWS) != own
            extract(precision="base")
            assert content(VIEWS) == own

    return build_once("int8", fill)


@pytest.fixture
def project(extracted_once, tmp_path, monkeypatch) -> Path:
    """A workspace with views in the base's own precision, those in int8 in its store, and a processor with AVX2."""
    subprocess.run(["cp", "--archive", f"{extracted_once}/.", tmp_path], check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(passes, "describe_processor", lambda: FAST)
    return tmp_path


def content(files: list[Path]) -> list[bytes]:
    return [file.read_bytes() for file in files]


def off(found: np.ndarray, expected: np.ndarray) -> float:
    difference = found.astype("float64") - expected
    return float(np.sqrt(np.square(difference).sum() / np.square(expected, dtype="float64").sum()))


def extract(**changes) -> str:
    change(**{f"augmentation__{name}": value for name, value in changes.items()})
    with redirect_stdout(StringIO()) as said:
        run("extract_views")
    return said.getvalue()


def test_views_are_near_and_all_else_is_as_it_was(project):
    own, others = [np.load(file) for file in VIEWS], content(OTHERS)
    said = extract(precision="int8")
    for file, expected in zip(VIEWS, own, strict=True):
        found = np.load(file)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert 0.005 < off(found, expected) < 0.1
    assert content(OTHERS) == others
    assert "passes in int8, off by 0.0" in said
    assert '"views": "int8, openvino ' in Path("data/environment/extract_views.json").read_text()


def test_the_pixels_alone_are_not_rounded(project):
    import openvino  # not installed everywhere

    parameters, weights = read_parameters(Parameters), Path("data/weights/conv_base.weights.h5")
    base = conv_base.load(parameters.conv_base, SIZE, weights)
    quantized = QuantizedBase(base, weights, read_split(Path("data/splits/train.csv")), parameters)
    network = quantized._network((base.layers[-1].name, ARCHITECTURES["vgg16"].freeze_through))
    model = openvino.Core().read_model(network.model, network.weights)
    weights_from = [
        operation.input_value(1).get_node().get_type_name()
        for operation in model.get_ordered_ops()
        if operation.get_type_name() == "Convolution"
    ]
    assert weights_from == ["Constant"] + 12 * ["Multiply"]  # by the step from one of 256 numbers to the next


@pytest.mark.parametrize("precision, processor", [("base", FAST), ("auto", "flags : sse avx")])
def test_the_base_s_own_precision(project, monkeypatch, precision, processor):
    own = content(VIEWS)
    monkeypatch.setattr(passes, "describe_processor", lambda: processor)
    assert "int8" not in extract(precision=precision) and content(VIEWS) == own


def test_auto_takes_int8_where_it_is_fast_and_near_enough(project, monkeypatch):
    own = content(VIEWS)
    extract(precision="int8")
    quantized = content(VIEWS)
    extract(precision="auto")
    assert content(VIEWS) == quantized != own
    monkeypatch.setattr(passes, "MOST_OFF", 0.001)
    assert "own precision: in int8 they are off by 0.0" in extract() and content(VIEWS) == own
    with refused("params.yaml", "augmentation.precision", "'int8'", "vgg16", 0.001, "base"):
        extract(precision="int8")


def test_it_is_not_installed(project, monkeypatch):
    own = content(VIEWS)
    monkeypatch.setattr(passes, "find_spec", lambda _: None)
    extract(precision="auto")
    assert content(VIEWS) == own
    with refused("params.yaml", "augmentation.precision", "'int8'", "OpenVINO", "base"):
        extract(precision="int8")


def test_the_same_bytes_on_one_core_and_no_connection(project):
    """In a process of its own, with an empty home and without the store."""
    extract(precision="int8")
    change(store__gigabytes=0)
    here, home = content(VIEWS), project / "home"
    home.mkdir()
    command = [sys.executable, "-c", LISTENING, *arguments("extract_views")]
    ended = subprocess.run(
        ["taskset", "--cpu-list", "0", *command],
        env=variables_for() | {"HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert content(VIEWS) == here
    assert "CONNECTS" not in ended.stdout and not [path for path in home.iterdir() if path.name == "intel"]
    assert "telemetry: ['nncf.quantization.telemetry_extractors', 'nncf.telemetry" in ended.stdout


def test_new_images_leave_the_network_and_all_stored_rows(project, monkeypatch):
    def train() -> pd.Series:
        run("split_dataset")
        return read_split(Path("data/splits/train.csv")).set_index("path")["sha256"]

    old = train()
    drawn = old.sort_values().iloc[: CALIBRATION + HELD_BACK]
    draw_images(Path("images"), [f"apple/new{number}.png" for number in range(20)], seed=1)
    more = train()
    for path in more.index[~more.isin(old) & (more < drawn.max())]:
        Path("images", path).unlink()  # it would be drawn
    new = np.count_nonzero(~train().isin(old))
    run("extract_features")
    monkeypatch.setattr(QuantizedBase, "_quantize", None)
    said, total = extract(precision="int8"), len(train())
    assert new > 0 and said.count(f"{2 * (total - new)} of {2 * total} images from the store") == len(VIEWS)


def test_another_freeze_point_changes_no_features(project):
    extract(precision="int8")
    features, own = VIEWS[0].read_bytes(), np.load(VIEWS[1])
    change(fine_tune__freeze_through="block3_pool")
    said = extract()
    assert VIEWS[0].read_bytes() == features and np.load(VIEWS[1]).shape[2:] != own.shape[2:]
    total = 2 * len(read_split(Path("data/splits/train.csv")))
    assert f"{total} of {total} images from the store" in said and f" 0 of {total} images" in said


@pytest.mark.parametrize("name", ["vgg16", "xception"])
def test_a_row_depends_on_its_image_alone(project, name):
    """With residual connections and depthwise convolutions too, there with random weights."""
    size = max(SIZE, ARCHITECTURES[name].smallest_image)
    weights = Path("data/weights/conv_base.weights.h5")
    change(image_size=size, conv_base__name=name, augmentation__precision="int8")
    if name == "xception":
        weights.unlink()
        change(conv_base__weights="random")
        run("fetch_weights")
    parameters = read_parameters(Parameters)
    base = conv_base.load(parameters.conv_base, size, weights)
    quantized = QuantizedBase(base, weights, read_split(Path("data/splits/train.csv")), parameters)
    layers = [base.layers[-1].name, ARCHITECTURES[name].freeze_through]
    compute = quantized.forward(layers)
    pixels = np.random.default_rng(0).integers(0, 256, (BLOCK, size, size, 3)).astype("float32")
    found = list(map(np.asarray, compute(pixels)))
    for output, own, reverse, repeated in zip(
        found,
        map(np.asarray, forward(base, layers)(pixels)),
        compute(pixels[::-1]),
        compute(np.repeat(pixels[3:4], BLOCK, axis=0)),
        strict=True,
    ):
        assert off(output, own) < 0.5
        np.testing.assert_array_equal(reverse[::-1], output)
        np.testing.assert_array_equal(repeated, np.repeat(output[3:4], BLOCK, axis=0))


@pytest.mark.parametrize(
    "flags, fast",
    [
        ("sse4_2 avx", False),
        ("asimd bf16 i8mm", False),
        ("avx2 fma", True),
        ("avx avx2 avx512_vnni", True),
    ],
)
def test_which_processors_are_fast(flags, fast):
    assert multiplies_int8_fast(f"vendor_id : X\nflags : {flags}") is fast
