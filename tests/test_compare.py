"""What tools.compare says of two sets of predictions."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import commit, refused, run_in, states, write_predictions
from tools import compare
from tools.compare import describe_accuracy, describe_difference
from tools.shared.predictions import read_predictions
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
    scope, *models = parts(capsys)
    return not scope and len(models) == 3 and all(states(said, *facts) for said in models)


def parts(capsys) -> list[str]:
    """Return what was printed before the models, and of each model."""
    return re.split(r"^(?:head|augmented|fine_tuned):$", capsys.readouterr().out, flags=re.MULTILINE)


def test_images_are_the_same_wherever_they_lie(evaluated, capsys):
    for table in evaluated.glob("data/*/*.csv"):
        table.write_text(table.read_text().replace(".png", ".moved.png"))
    compare.main("main", None)
    assert said_of_each_model(capsys, "no difference", 100)


def test_test_splits_that_differ(evaluated, capsys):
    for table in evaluated.glob("data/*/*.csv"):
        pd.read_csv(table)[1:].to_csv(table, index=False)
    compare.main("main", None)
    scope, *models = parts(capsys)
    assert states(scope, "splits differ", "100 images in main", "99 in workspace", "99 in both")
    assert len(models) == 3 and "classes" not in scope
    for said in models:
        assert states(said, "The same 99", "no difference", "images in both: 80 to 80 of 99 correct")


def write_run(project: Path, labels: list[str], predicted: list[str], classes: list[str]) -> None:
    """Let every model say `predicted` of test images with `labels`, whose first 100 main has too."""
    names = [f"{number}.png" for number in range(len(labels))]
    split = pd.DataFrame({"path": names, "label": labels, "sha256": range(len(labels))})
    split.to_csv(project / "data/splits/test.csv", index=False)
    sure = {f"probability_{name}": [float(name == said) for said in predicted] for name in classes}
    for model in ("head", "augmented", "fine_tuned"):
        table = split[["path", "label"]].assign(predicted=predicted, **sure)
        table.to_csv(project / f"data/evaluation/{model}_predictions.csv", index=False)


def test_a_class_more(evaluated, capsys):
    """20 images of it, and four cats that were right and are taken for it."""
    labels = ["cat", "dog"] * 50 + ["cell"] * 20
    flipped = {"cat": "dog", "dog": "cat"}
    predicted = [flipped[label] if row < 20 else label for row, label in enumerate(labels)]
    predicted[20:28:2] = ["cell"] * 4
    write_run(evaluated, labels, predicted, ["cat", "cell", "dog"])
    with refused("compare.png"):  # as the images are not here
        compare.main("main", None)
    scope, *models = parts(capsys)
    assert states(scope, "100 images in main", "120 in workspace", "100 in both", "2 classes in both")
    assert states(scope, "Only workspace has the class cell") and "Only main" not in scope
    assert len(models) == 3
    for said in models:
        assert states(
            said, "main: 80 of 100", "workspace: 96 of 120", "4 of 100 fewer", "spoiled 4", "p = 0.12"
        )
        assert states(said, "in both: 80 to 76 of 100", "cat: 40 to 36 of 50")
        assert states(said, "dog: 40 to 40 of 50") and "cell:" not in said


def test_a_class_less_and_images_with_another_label(evaluated, capsys):
    """All are dogs now: of those that were dogs before, ten more are right."""
    labels = ["dog"] * 100
    write_run(evaluated, labels, labels, ["dog"])
    with refused("compare.png"):
        compare.main("main", None)
    scope, *models = parts(capsys)
    assert states(scope, "50 images", "labels differ", "Only main has the class cat", "1 class in both")
    assert "splits differ" not in scope and len(models) == 3
    for said in models:
        assert states(said, "10 of 50 more", "dog: 40 to 50 of 50")


def test_nothing_that_can_be_compared(evaluated, capsys):
    """Where all classes have other names, and cross-validation is missing too."""
    labels = ["Katze", "Hund"] * 50
    write_run(evaluated, labels, labels, ["Hund", "Katze"])
    with refused("main", "workspace", "no test image", "in common"):
        compare.main("main", None)
    scope, *models = parts(capsys)
    assert states(scope, "100 images", "labels differ", "cat", "Katze") and "in both can" not in scope
    assert len(models) == 3 and all(states(said, "No image", "100 of 100", "80 of 100") for said in models)
    assert not (evaluated / "compare.png").exists()


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
