"""tools.export writes models that predict the same in their own runtimes, or nothing."""

import json
import re
import runpy
import shutil
from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from stages.shared.network import model_file
from stages.shared.network.conv_base import build
from stages.shared.network.prediction import Seen
from stages.shared.pipeline.command import UserError
from tests.conftest import CLASSES, PROJECT, SIZE, call, change, refused, states, write_parameters
from tools import gate
from tools.export import __main__ as export
from tools.export.runtimes import FILES, computes_in, in_float32

USING = PROJECT / "docs/using-models.md"
RULES = ["fine_tuned.accuracy at least 0.5", "head.accuracy at least 0.2"]


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """How sure a metric is tests/test_gate.py tests."""
    monkeypatch.setattr(gate, "RESAMPLES", 10)


@pytest.fixture
def project(trained, tmp_path, monkeypatch) -> Path:
    """A working directory with what `trained` has."""
    return enter(trained, tmp_path, monkeypatch)


def enter(trained: Path, folder: Path, monkeypatch) -> Path:
    for name in ("data", "images"):
        (folder / name).symlink_to(trained / name)
    shutil.copy(trained / "params.yaml", folder)
    monkeypatch.chdir(folder)
    change(gate__rules=RULES)
    return folder


def run_elsewhere(form: str, folder: Path, pixels: np.ndarray) -> list[np.ndarray]:
    """Return the outputs that a user gets for `pixels` who has the folder and the format's usual runtime."""
    if form == "keras":
        return [keras.saving.load_model(folder / "model.keras").predict(pixels, verbose=0)]
    if form == "savedmodel":
        signature = tf.saved_model.load(folder / "saved_model").signatures["serving_default"]
        found = signature(tf.constant(pixels))
        return [found[name].numpy() for name in sorted(found)]
    if form == "tflite":
        interpreter = Interpreter(str(folder / "model.tflite"))
        place = interpreter.get_input_details()[0]["index"]
        interpreter.resize_tensor_input(place, pixels.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(place, pixels)
        interpreter.invoke()
        outputs = interpreter.get_signature_list()["serving_default"]["outputs"]
        places = {detail["name"]: detail["index"] for detail in interpreter.get_output_details()}
        assert outputs == ["output_0", "output_1"]
        return [interpreter.get_tensor(place) for _, place in sorted(places.items())]
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (pixels_in,) = session.get_inputs()
    return session.run(["probability", "features"], {pixels_in.name: pixels})


def some_images() -> np.ndarray:
    """Return three test images as model.json says: (3, SIZE, SIZE, 3) float32."""
    files = pd.read_csv("data/splits/test.csv")["path"].iloc[[0, 3, 5]]
    images = [
        Image.open(Path("images") / file).resize((SIZE, SIZE), Image.Resampling.BILINEAR) for file in files
    ]
    return np.stack([np.asarray(image) for image in images]).astype("float32")


def differences(said: str) -> list[tuple[float, float]]:
    """Return the largest differences and their tolerances, as printed."""
    stated = re.findall(r"by up to (\S+) \(tolerance ([\d.e-]+)\)", said)
    return [(float(difference), float(tolerance)) for difference, tolerance in stated]


@pytest.mark.parametrize("form", FILES)
def test_every_format_predicts_the_same(project, capsys, form):
    export.main("fine_tuned", form, Path("export"))
    said = capsys.readouterr().out
    ((difference, tolerance),) = differences(said)
    assert difference < 1e-5 < tolerance == 1e-4
    assert states(said, "0 of 8 images", "holds", "fine_tuned.accuracy at least 0.5")

    folder = project / f"export/fine_tuned_{form}"
    assert {file.name for file in folder.iterdir()} == {FILES[form], "model.json", "training_features.npy"}
    pixels = some_images()
    expected = model_file.load(Path("data/models/fine_tuned.keras")).network.predict(pixels, verbose=0)
    assert np.ptp(expected) > 0.01
    found, *features = run_elsewhere(form, folder, pixels)
    assert found == pytest.approx(expected, abs=1e-5)
    assert run_elsewhere(form, folder, pixels[1:2])[0] == pytest.approx(expected[1:2], abs=1e-5)
    description = json.loads((folder / "model.json").read_text())
    assert states(description.pop("input"), f"(n, {SIZE}, {SIZE}, 3)", "float32", "RGB", 0, 255)
    assert states(description.pop("output"), "(n, 1)", "float32", f"probability of {CLASSES[1]}", "threshold")
    assert states(description.pop("features"), "(n, 512)", "float32", "training_features.npy")
    model = model_file.load(Path("data/models/fine_tuned.keras"))
    known = np.load(folder / "training_features.npy", allow_pickle=False)
    np.testing.assert_array_equal(known, model.training_images.features, strict=True)
    program = re.search(r"^def typicality.*?(?=^```)", USING.read_text(), re.DOTALL | re.MULTILINE)
    assert program
    Path("by_hand.py").write_text(program[0])
    names = runpy.run_path("by_hand.py", {"np": np})
    similarities, neighbours = description["validation_similarities"], description["neighbours"]
    for output in features:
        by_hand = [names["typicality"](row, known, similarities, neighbours) for row in output]
        assert by_hand == model.training_images.typicality(output).tolist()
    assert description.pop("training_images") == model.training_images.paths
    assert description.pop("validation_similarities") == model.training_images.similarities.tolist()
    assert description == {
        "class_names": list(CLASSES),
        **model.rule.model_dump(),
        "neighbours": 10,
        "image_size": SIZE,
        "fit": "squash",
        "interpolation": "bilinear",
        "white_16_bit": 65535,
        "computes_in": "float32",
    }


@pytest.mark.parametrize("form", ["savedmodel", "tflite"])
def test_a_model_in_bfloat16_is_exported_in_float32_where_the_runtime_has_nothing_else(
    trained_in_bfloat16, tmp_path, monkeypatch, capsys, form
):
    enter(trained_in_bfloat16, tmp_path, monkeypatch)
    export.main("head", form, Path("export"))
    said, folder = capsys.readouterr().out, Path(f"export/head_{form}")
    description = json.loads((folder / "model.json").read_text())
    assert states(description["output"], "(n, 3)", "float32", "of each class", "probability")
    expected = model_file.load(Path("data/models/head.keras")).network.predict(some_images(), verbose=0)
    found, _ = run_elsewhere(form, folder, some_images())
    assert found.sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    if form == "savedmodel":
        assert description["computes_in"] == "bfloat16" and differences(said) == [(0, 1e-4)]
        assert found == pytest.approx(expected, abs=1e-6)
    else:
        assert description["computes_in"] == "float32"
        (copy, tolerance), (trained, wide) = differences(said)
        assert copy < 1e-5 < tolerance == 1e-4 < trained < wide == 0.05
        assert np.abs(found - expected).max() <= trained * 1.01


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_the_copy_in_float32_has_the_same_weights(precision):
    model = build("mobilenet", 32, computes_in=precision)
    copy = in_float32(model)
    assert computes_in(model) == precision and computes_in(copy) == "float32"
    assert all(
        (one == other).all() for one, other in zip(model.get_weights(), copy.get_weights(), strict=True)
    )


def test_refused_where_it_predicts_otherwise(project, monkeypatch):
    export.main("fine_tuned", "keras", Path("export"))
    kept = Path("export/fine_tuned_keras/model.keras").read_bytes()
    real = export.write

    def damage(model, form, file):
        wrong = model_file.load(Path("data/models/fine_tuned.keras"))
        bias = wrong.network.get_layer("scores").bias
        bias.assign(bias + 0.01)  # p (1 - p) of it in the probability: at most 0.0025
        real(wrong, form, file)

    monkeypatch.setattr(export, "write", damage)
    with pytest.raises(UserError, match=r"not exported.* by up to \d\.\de-0[34] ") as end:
        export.main("fine_tuned", "keras", Path("export"))
    assert "\n" not in str(end.value) and states(str(end.value), "tolerance", "0.0001")
    assert Path("export/fine_tuned_keras/model.keras").read_bytes() == kept
    before = sorted(project.rglob("*"))
    with pytest.raises(UserError):
        export.main("augmented", "keras", Path("export"))
    with pytest.raises(UserError):
        export.main("fine_tuned", "keras", Path("new/folder"))
    assert sorted(project.rglob("*")) == before


def test_refused_where_a_probability_is_no_number():
    sound = Seen(np.array([[0.4, 0.6], [0.7, 0.3]]), np.eye(2))
    with refused("not exported", "nan", "tolerance"):
        export.compare(sound._replace(probabilities=sound.probabilities * np.nan), sound, 0.5, 1, "itself")


def test_refused_where_features_differ():
    sound = Seen(np.array([[0.4, 0.6], [0.7, 0.3]]), np.eye(2))
    with refused("not exported", "tolerance", "0 of 2 images"):
        export.compare(sound._replace(features=np.array([[1, 0], [0.1, 1]])), sound, 0.5, 1e-4, "itself")


def test_refused_where_the_gate_is_not_met(project, capsys):
    change(gate__rules=["fine_tuned.loss at most 0.001", "head.accuracy at least 1"], gate__standard_errors=0)
    before = sorted(project.rglob("*"))
    with refused("not exported", "gate", "'fine_tuned.loss at most 0.001'"):
        export.main("fine_tuned", "keras", Path("export"))
    assert sorted(project.rglob("*")) == before
    change(gate__rules=["fine_tuned.loss falls at most 0", "head.accuracy at least 1"])
    capsys.readouterr()
    export.main("fine_tuned", "keras", Path("export"))
    assert (
        "holds" not in capsys.readouterr().out
    )  # these rules are of another model, and against another commit


def test_refused_where_the_split_has_other_classes(trained, project):
    Path("data").unlink()
    Path("data/splits").mkdir(parents=True)
    Path("data/models").symlink_to(trained / "data/models")
    split = pd.read_csv(trained / "data/splits/test.csv").replace({"label": {CLASSES[1]: "plum"}})
    split.to_csv("data/splits/test.csv", index=False)
    with refused("other classes", "data/splits/test.csv"):
        export.main("fine_tuned", "keras", Path("export"))


def test_refused_where_the_model_is_damaged(project):
    Path("data").unlink()
    Path("data/splits").mkdir(parents=True)
    Path("data/models").mkdir()
    Path("data/splits/test.csv").touch()
    Path("data/models/head.keras").write_bytes(b"PK")
    with refused("data/models/head.keras", "no model", "not a zip file"):
        export.main("head", "onnx", Path("export"))
    assert not Path("export").exists()


@pytest.mark.slow
def test_a_command_without_a_model(tmp_path):
    write_parameters(tmp_path, {})
    ended = call(tmp_path, "python", "-m", "tools.export", "--format", "onnx")
    assert ended.returncode == 1 and ended.stdout == ""
    assert states(ended.stderr.splitlines()[-1], "data/models/fine_tuned.keras", "dvc repro", "dvc pull")
    assert "Traceback" not in ended.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["params.yaml"]
