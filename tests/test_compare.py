"""What tools.compare says of two sets of predictions."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import commit, refused, run_in, states, write_predictions
from tools import compare
from tools.compare import describe_accuracy, describe_difference, read_predictions
from tools.shared.revisions import Files


def predictions(**images: int) -> pd.DataFrame:
    """Return both revisions' predictions from the number of images that were right (r) or wrong (w) in each."""
    rows = [pair for pair, number in images.items() for _ in range(number)]
    said = {"r": "cat", "w": "dog"}
    return pd.DataFrame(
        {
            "label": "cat",
            "predicted_before": [said[pair[0]] for pair in rows],
            "predicted_after": [said[pair[1]] for pair in rows],
        }
    )


@pytest.mark.parametrize(
    "images, facts",
    [
        (
            {"rr": 640, "wr": 9, "rw": 7},
            ("2 of 656 more", "corrected 9", "spoiled 7", "p = 0.8", "no evidence"),
        ),
        ({"rr": 90, "rw": 10}, ("10 of 100 fewer", "corrected 0", "spoiled 10", "p = 0.002", "than chance")),
        ({"rr": 4, "wr": 2, "rw": 2}, ("as many", "corrected 2", "spoiled 2", "p = 1", "no evidence")),
        ({"rr": 4, "ww": 2}, ("same", 6, "no difference")),
        ({}, ("No image",)),
    ],
)
def test_difference(images, facts):
    assert states(describe_difference(predictions(**images)), *facts)


def test_wilson_interval():
    """The interval of 9 of 10, by the formula: 0.5958 to 0.9821."""
    table = pd.DataFrame({"label": ["cat"] * 10, "predicted": ["cat"] * 9 + ["dog"]})
    assert states(describe_accuracy(table), "9 of 10", "0.900", "0.596", "0.982")


def said_of_each_model(capsys, *facts: object) -> bool:
    """Whether what was printed names all `facts` under the name of each model."""
    _, *parts = re.split(r"^(?:head|augmented|fine_tuned):$", capsys.readouterr().out, flags=re.MULTILINE)
    return len(parts) == 3 and all(states(part, *facts) for part in parts)


def test_images_are_the_same_wherever_they_lie(evaluated, capsys):
    for table in evaluated.glob("data/*/*.csv"):
        table.write_text(table.read_text().replace(".png", ".moved.png"))
    compare.main("main", None)
    assert said_of_each_model(capsys, "no difference", 100)


def test_test_splits_that_differ(evaluated, capsys):
    for table in evaluated.glob("data/*/*.csv"):
        pd.read_csv(table)[1:].to_csv(table, index=False)
    compare.main("main", None)
    assert said_of_each_model(capsys, "splits differ", 100, 99, "99 in both", "The same 99", "no difference")


def test_predictions_of_another_split(evaluated):
    split = pd.read_csv("data/splits/test.csv")
    split[1:].to_csv("data/splits/test.csv", index=False)
    with refused("the workspace", "data/evaluation", "data/splits"):
        compare.main("main", None)


def test_a_picture_of_images_that_are_not_here(evaluated, capsys):
    (evaluated / "compare.png").touch()  # of an earlier comparison
    write_predictions(evaluated, wrong=26)
    with refused("compare.png", "the workspace"):
        compare.main("main", None)
    assert said_of_each_model(capsys, "6 of 100 fewer", "corrected 0", "spoiled 6", "p = 0.031")
    assert not (evaluated / "compare.png").exists()


def test_a_project_below_gits_top_folder(evaluated, capsys, monkeypatch):
    """With predictions that DVC keeps; tools.gate reads them likewise."""
    run_in(evaluated, "git", "rm", "-r", "--quiet", "--cached", ".")
    project = evaluated / "larger/project"
    project.mkdir(parents=True)
    for name in (".dvc", ".dvcignore", "data", "params.yaml"):
        (evaluated / name).rename(project / name)
    monkeypatch.chdir(project)
    run_in(project, "dvc", "add", "--quiet", "data/evaluation", "data/splits")
    commit(project)
    write_predictions(project, wrong=26)
    compare.main("HEAD", "HEAD")
    assert said_of_each_model(capsys, "80 of 100", "no difference", 100)
    before = read_predictions(Files("HEAD"), "head")
    assert (before["label"] == before["predicted"]).sum() == 80
    assert (read_predictions(Files(None), "head")["predicted"] != before["predicted"]).sum() == 6


def test_a_revision_of_a_folder_without_git(evaluated, monkeypatch):
    shutil.rmtree(evaluated / ".git")
    with refused("git", "not a git repository"):
        compare.main("HEAD", None)


@pytest.mark.parametrize(
    "content, fact",
    [
        (b"", "No columns"),
        (b"\xff\xfe", "utf-8"),
        (b"path,label\n" + b"a,b,c,d\n" * 2, "no column predicted"),
        (b"a\0b", "no column path"),
        (b"<html></html>", "no column path"),
    ],
)
def test_predictions_that_no_run_has_written(evaluated, content, fact):
    Path("data/evaluation/head_predictions.csv").write_bytes(content)
    with refused("data/evaluation/head_predictions.csv", fact, "no run has written"):
        compare.main("main", None)


@pytest.mark.parametrize("other", ["1.5", "-0.1", "nan", "much", ""])
def test_probabilities_that_are_none(evaluated, other):
    file = Path("data/evaluation/head_predictions.csv")
    file.write_text(file.read_text().replace("0.1", other, 1))
    with refused(file, "probability", "0 to 1"):
        compare.main("main", None)


def test_a_predicted_class_that_there_is_not(evaluated):
    file = Path("data/evaluation/head_predictions.csv")
    file.write_text(file.read_text().replace(",dog,", ",fig,", 1))
    with refused(file, "probability", "0 to 1"):
        compare.main("main", None)
