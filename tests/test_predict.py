"""tools.predict says of image files what evaluate found, and what is wrong with those that are none."""

import io
import json
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from stages.shared.images.image_folder import open_folder
from stages.shared.images.reading import BLOCK, read_pixels
from stages.shared.network import model_file
from stages.shared.pipeline.splits import read_split
from tests.conftest import CLASSES, SIZE, change, image_input, refused, states, variables_for
from tests.models import some_classifier
from tools.predict import __main__ as predict
from tools.predict.image_files import find


@pytest.fixture
def project(trained, tmp_path, monkeypatch) -> Path:
    """A working directory of its own with the trained models, their parameters and images."""
    monkeypatch.chdir(tmp_path)
    for name in ("data", "images"):
        Path(name).symlink_to(trained / name)
    Path("params.yaml").write_bytes((trained / "params.yaml").read_bytes())
    return tmp_path


def predictions(capsys, paths: list[str], model: str = "head") -> pd.DataFrame:
    capsys.readouterr()
    predict.main(paths, model, "csv")
    return pd.read_csv(io.StringIO(capsys.readouterr().out), keep_default_na=False)


def some_images(number: int) -> list[str]:
    return [f"images/{CLASSES[row % 2]}/{row % 15}.png" for row in range(number)]


def spoil(folder: Path) -> dict[str, str]:
    """Write files that are no usable images into `folder`; return what is to be said of each."""
    whole = Path(some_images(1)[0]).read_bytes()
    folder.mkdir()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").touch()
    (folder / "link.png").symlink_to("nowhere")
    (folder / "new\nline.txt").write_text("no image")
    subprocess.run(["mkfifo", folder / "pipe"], check=True)
    return {
        f"{folder}/cut.png": "truncated",
        f"{folder}/empty.jpg": "empty",
        f"{folder}/link.png": "No such file or directory",
        f"{folder}/new\\nline.txt": "not an image",
        f"{folder}/pipe": "no regular file",
    }


@pytest.mark.parametrize("model", ["head", "augmented", "fine_tuned"])
def test_agrees_with_evaluate(project, capsys, model):
    expected = pd.read_csv(f"data/evaluation/{model}_predictions.csv")
    found = predictions(capsys, [f"images/{path}" for path in expected["path"]], model)
    columns = [f"probability_{name}" for name in CLASSES]
    said = ["remark", "typicality", "nearest"]
    assert len(found) == 8 and list(found.columns) == ["path", "predicted", *columns, *said]
    assert found["path"].tolist() == [f"images/{path}" for path in expected["path"]]
    assert found["predicted"].tolist() == expected["predicted"].tolist()
    np.testing.assert_allclose(found[columns], expected[columns], rtol=0, atol=1e-6)


def test_more_than_two_classes(project, capsys):
    pixels = keras.Input((SIZE, SIZE, 3))
    pooled = keras.layers.GlobalAveragePooling2D(name="pooling")(pixels)
    output = keras.layers.Dense(3, activation="softmax", kernel_initializer=keras.initializers.Identity(0.1))
    classifier = keras.Model(pixels, output(pooled))
    model_file.save(some_classifier(classifier, ["red", "green", "NA"]), Path("colours.keras"))
    image = some_images(1)[0]
    pixels = predict.read(image, image_input())
    assert isinstance(pixels, np.ndarray)
    mean = pixels.mean(axis=(0, 1))
    row = predictions(capsys, [image], "colours.keras").iloc[0]
    assert row["predicted"] == ["red", "green", "NA"][mean.argmax()]
    expected = np.exp(mean / 10) / np.exp(mean / 10).sum()
    assert row.iloc[2:5].astype(float).tolist() == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize(
    "interpolation, fit", [("bilinear", "squash"), ("nearest", "squash"), ("bilinear", "pad")]
)
def test_pixels_are_those_of_training(project, interpolation, fit):
    image = read_split(Path("data/splits/train.csv")).iloc[0]
    path = Path("images", image["path"])
    how = image_input(interpolation=interpolation, fit=fit)
    expected = read_pixels(open_folder("images"), image, how)
    np.testing.assert_array_equal(predict.read(str(path), how), expected)


def test_a_model_predicts_as_it_was_trained_whatever_params_yaml_says(project, capsys):
    """Its interpolation, fit and image size are its own; and without params.yaml it predicts too."""
    bilinear = predictions(capsys, some_images(4))
    change(interpolation="nearest", image_size=96, fit="crop", white_16_bit=255)
    assert predictions(capsys, some_images(4)).equals(bilinear)
    Path("params.yaml").unlink()
    assert predictions(capsys, some_images(4)).equals(bilinear)
    trained = model_file.load(Path("data/models/head.keras"))
    column = f"probability_{CLASSES[0]}"
    for other in (image_input(interpolation="nearest"), image_input(fit="crop")):
        model_file.save(trained._replace(image_input=other), Path("other.keras"))
        found = predictions(capsys, some_images(4), "other.keras")
        assert (found[column] - bilinear[column]).abs().min() > 1e-4


def test_formats_hold_the_same(project, capsys):
    table = predictions(capsys, some_images(3))
    assert predict.main(some_images(3), "head", "jsonl") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["path"] for row in rows] == table["path"].tolist() == some_images(3)
    assert [row["predicted"] for row in rows] == table["predicted"].tolist()
    assert [list(row["probabilities"]) for row in rows] == [list(CLASSES)] * 3
    probabilities = table.iloc[:, 2:4].to_numpy()
    for name in ("remark", "typicality"):
        assert [row[name] for row in rows] == table[name].tolist()
    assert [row["nearest"] for row in rows] == table["nearest"].map(json.loads).tolist()
    assert [list(row["probabilities"].values()) for row in rows] == probabilities.tolist()
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-6)

    assert predict.main([*some_images(3), "images/gone \x1b.png"], "head", "table") == 1
    header, *lines = capsys.readouterr().out.splitlines()
    names = """path                       predicted     pear's  äp,fel "rot\""""
    assert header == f"{names}  remark  typicality  nearest"
    for line, row in zip(lines, rows, strict=True):
        first, second = row["probabilities"].values()
        assert line == (
            f"{row['path']:25}  {row['predicted']:12}  {first:.4f}  {second:12.4f}  {row['remark']:6}  "
            f"{row['typicality']:10.4f}  {row['nearest'][0]}"
        )
    assert len(lines) == 3


def test_bad_files_are_reported_and_the_others_predicted(project, capsys):
    reasons = spoil(Path("bad"))
    good = some_images(2)
    alone = pd.concat([predictions(capsys, [path]) for path in good], ignore_index=True)
    bad = predict.main([good[0], "bad", "absent.png", good[1]], "head", "csv")
    written = capsys.readouterr()
    assert bad == 6
    *lines, last = written.err.splitlines()
    facts = reasons | {"absent.png": "No such file or directory"}
    for line, (path, reason) in zip(lines, facts.items(), strict=True):
        assert line.startswith(f"{path}: ") and states(line, reason)
    assert re.search(r"\b2 of 8 images in \d+\.\d s", last)
    found = pd.read_csv(io.StringIO(written.out), keep_default_na=False)
    pd.testing.assert_frame_equal(found, alone, check_exact=True)


def test_a_block_without_any_image(project, capsys):
    Path("empty.png").touch()
    paths = ["empty.png"] * BLOCK + some_images(1)
    assert predict.main(paths, "head", "jsonl") == BLOCK
    written = capsys.readouterr()
    assert [json.loads(line)["path"] for line in written.out.splitlines()] == some_images(1)
    assert len(re.findall("^empty.png: .*empty$", written.err, re.MULTILINE)) == BLOCK


def test_no_result_depends_on_the_other_images(project, capsys):
    many = predictions(capsys, some_images(BLOCK + 5))
    assert many["path"].tolist() == some_images(BLOCK + 5)
    assert many.iloc[:30, 2].nunique() == 30
    # A product of matrices may round differently in another row.
    numbers = [*many.columns[2:4], "typicality"]
    again = many[numbers].iloc[: BLOCK - 25].to_numpy()
    assert many[numbers].iloc[30:].to_numpy() == pytest.approx(again, abs=1e-6)
    for row in (0, 7, BLOCK + 4):
        alone, other = predictions(capsys, [many["path"][row]]), many.iloc[[row]]
        said = ["path", "predicted", "remark", "nearest"]
        assert alone[said].to_numpy().tolist() == other[said].to_numpy().tolist()
        assert alone[numbers].to_numpy() == pytest.approx(other[numbers].to_numpy(), abs=1e-6)


@pytest.fixture
def tree(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (
        "a/2.png",
        "a/1.png",
        "a/b/c/3.png",
        "a/.hidden.png",
        "a/Thumbs.db",
        "a/.git/4.png",
        "a/@eaDir/4.png",
        "a/b/5[1].png",
        "6.jpg",
        "7[1].jpg",
        "71.jpg",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path("void").mkdir()


@pytest.mark.parametrize(
    "argument, files",
    [
        ("6.jpg", ["6.jpg"]),
        ("a", ["a/1.png", "a/2.png", "a/b/5[1].png", "a/b/c/3.png"]),
        ("a/.hidden.png", ["a/.hidden.png"]),
        ("a/?.png", ["a/1.png", "a/2.png"]),
        ("a/*", ["a/1.png", "a/2.png", "a/b/5[1].png", "a/b/c/3.png"]),
        ("**/*.png", ["a/1.png", "a/2.png", "a/b/5[1].png", "a/b/c/3.png"]),
        ("a/**", ["a/1.png", "a/2.png", "a/b/5[1].png", "a/b/c/3.png"]),
        ("7[1].jpg", ["7[1].jpg"]),
        ("*.gif", ["*.gif"]),
        ("absent", ["absent"]),
        ("void", []),
    ],
)
def test_files_that_an_argument_names(tree, argument, files):
    assert find(argument) == files


def test_links_to_folders_are_named_or_followed(tree):
    Path("linked").mkdir()
    Path("linked/1.png").touch()
    Path("linked/more").symlink_to("../a")
    assert find("linked") == ["linked/more", "linked/1.png"]
    followed = ["linked/1.png", "linked/more/1.png", "linked/more/2.png"]
    assert find("linked/**") == [*followed, "linked/more/b/5[1].png", "linked/more/b/c/3.png"]
    assert states(str(predict.read("linked/more", image_input())), "folder", "link")


def test_paths_on_standard_input(tree, monkeypatch):
    lines = b"a/b\r\n\n6.jpg\na/?.png\nsp ace\xff.png\n6.jpg"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    files = ["a/b/5[1].png", "a/b/c/3.png", "6.jpg", "a/1.png", "a/2.png", "sp ace\udcff.png", "6.jpg"]
    assert find("-") == files


def test_at_most_two_blocks_are_read_ahead(monkeypatch):
    done = []
    monkeypatch.setattr(predict, "read", lambda path, **_: done.append(path) or path)
    paths = [str(number) for number in range(BLOCK * 4 + 3)]
    blocks = predict.read_blocks(paths, BLOCK, image_input())
    first = next(blocks)
    assert first == (paths[:BLOCK], paths[:BLOCK])
    assert set(paths[:BLOCK]) <= set(done) <= set(paths[: 2 * BLOCK])
    assert [path for block, _ in [first, *blocks] for path in block] == paths


def test_progress_on_a_terminal(project, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    predict.main(some_images(BLOCK + 3), "head", "csv")
    said = capsys.readouterr().err
    assert "100%" in said and "35/35" in said and "image/s" in said
    assert states(said.splitlines()[-1], "35 of 35 images")


@pytest.mark.parametrize(
    "paths, model, facts",
    [
        (["void"], "head", ("no image", "void")),
        (["-", "void"], "head", ("no image", "standard input", "void")),
        (["images"], "tail", ("data/models/tail.keras", "--model", "head", "augmented", "fine_tuned")),
        (["images"], "mine.keras", ("mine.keras", "--model", "head", "augmented", "fine_tuned")),
        (["images"], "text.keras", ("text.keras", "no model", "not a zip file")),
    ],
)
def test_nothing_can_be_predicted(project, monkeypatch, paths, model, facts):
    Path("void").mkdir()
    Path("text.keras").write_text("no model")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    with refused(*facts):
        predict.main(paths, model, "table")


@pytest.mark.parametrize(
    "line, status, facts",
    [
        ("images --model data/models/augmented.keras", 0, ("30 of 30 images",)),
        ("images absent.png", 1, ("absent.png", "No such file or directory", "30 of 31 images")),
        ("images --format xml", 2, ("--format", "'xml'")),
        ("", 2, ("required", "PATH")),
    ],
)
@pytest.mark.filterwarnings(
    "ignore:'tools.predict.__main__' found in sys.modules:RuntimeWarning"
)  # by this file
def test_exit_status(project, capsys, monkeypatch, line, status, facts):
    monkeypatch.setattr(sys, "argv", ["predict", *line.split()])
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # it is for the process, and this is pytest's
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("tools.predict", run_name="__main__")
    assert ended.value.code == status
    assert states(capsys.readouterr().err, *facts)


def test_output_that_ends_early(project):
    """The reader stops as head does, and the disk is full."""
    command = [sys.executable, "-m", "tools.predict", *["images"] * 20, "--format", "csv"]
    buffered = {name: value for name, value in variables_for().items() if name != "PYTHONUNBUFFERED"}
    streams = {"env": buffered, "stderr": subprocess.PIPE, "text": True}
    with open("/dev/full", "w") as full, subprocess.Popen(command, stdout=full, **streams) as no_room:
        with subprocess.Popen(command, stdout=subprocess.PIPE, **streams) as head:
            assert head.stdout and head.stderr and no_room.stderr
            assert head.stdout.readline().startswith("path,predicted,")
            head.stdout.close()
            said = head.stderr.read()
        assert head.returncode == -signal.SIGPIPE and "Traceback" not in said and "Error" not in said
        said = no_room.stderr.read()
    assert states(said.splitlines()[-1], "No space left on device")
    assert no_room.returncode == 1 and "Traceback" not in said
