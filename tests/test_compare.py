"""What tools.compare says of two sets of predictions."""

import pandas as pd
import pytest

from stages.shared.command import UserError
from tests.conftest import judge
from tools import compare
from tools.compare import describe_accuracy, describe_difference


def predictions(**images: str) -> pd.DataFrame:
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
    "images, sentence",
    [
        ({"rr": 640, "wr": 9, "rw": 7}, "2 of 656 more correct (corrected 9, spoiled 7), p = 0.8: no evidence of a difference."),
        ({"rr": 90, "rw": 10}, "10 of 100 fewer correct (corrected 0, spoiled 10), p = 0.002: more than chance explains."),
        ({"rr": 4, "wr": 2, "rw": 2}, "as many correct (corrected 2, spoiled 2), p = 1: no evidence of a difference."),
        ({"rr": 4, "ww": 2}, "The same 6 images right and wrong: no difference."),
        ({}, "No image is in both test splits: nothing can be compared."),
    ],
)  # fmt: skip
def test_difference(images, sentence):
    assert describe_difference(predictions(**images)) == sentence


def test_wilson_interval():
    """The interval of 9 of 10, by the formula: 0.5958 to 0.9821."""
    table = pd.DataFrame({"label": ["cat"] * 10, "predicted": ["cat"] * 9 + ["dog"]})
    assert describe_accuracy(table) == "9 of 10 correct, 0.900 (95 % interval 0.596 to 0.982)"


def test_images_are_the_same_wherever_they_lie(judged, capsys):
    for table in judged.glob("data/*/*.csv"):
        table.write_text(table.read_text().replace(".png", ".moved.png"))
    compare.main("main", None)
    assert capsys.readouterr().out.count("The same 100 images right and wrong: no difference.") == 3


def test_test_splits_that_differ(judged, capsys):
    for table in judged.glob("data/*/*.csv"):
        pd.read_csv(table)[1:].to_csv(table, index=False)
    compare.main("main", None)
    said = capsys.readouterr().out
    assert said.count("The test splits differ: 100 and 99 images, 99 in both.") == 3
    assert said.count("The same 99 images right and wrong: no difference.") == 3


def test_predictions_of_another_split(judged):
    split = pd.read_csv("data/splits/test.csv")
    split[1:].to_csv("data/splits/test.csv", index=False)
    with pytest.raises(
        UserError, match="^the workspace has data/evaluation of another split than data/splits"
    ):
        compare.main("main", None)


def test_a_picture_of_images_that_are_not_here(judged, capsys):
    (judged / "compare.png").touch()  # of an earlier comparison
    judge(judged, wrong=26)
    with pytest.raises(
        UserError, match="^compare.png is not drawn, as the workspace has not all images here"
    ):
        compare.main("main", None)
    assert "6 of 100 fewer correct (corrected 0, spoiled 6), p = 0.031" in capsys.readouterr().out
    assert not (judged / "compare.png").exists()
