"""What a person has decided on labels is carried out by split_dataset, moves no image, and is never silent."""

import json
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest

from stages.shared.labels.decisions import COLUMNS, read_decisions, write_decisions
from stages.shared.pipeline.splits import SPLITS, read_split
from tests.conftest import change, class_folders, draw_images, refused, run, states

FILE = Path("data/labels_corrected.csv")
APPLE, PEAR = "images/apple/3.png", "images/pear/5.png"


def digest(path: str) -> str:
    return sha256(Path(path).read_bytes()).hexdigest()


def decide(*rows: tuple[str, str, str], header: str = ",".join(COLUMNS)) -> None:
    """Write decisions on images: path of the file, decision and label."""
    FILE.parent.mkdir(exist_ok=True)
    lines = [
        f"{digest(path) if Path(path).exists() else path},a name,{decision},{label}"
        for path, decision, label in rows
    ]
    FILE.write_text("\n".join([header, *lines, ""]))


def splits() -> pd.DataFrame:
    """Return label, class_index and split of every image, by path."""
    tables = [read_split(Path(f"data/splits/{name}.csv")).assign(split=name) for name in SPLITS]
    return pd.concat(tables).set_index("path").drop(columns="sha256").sort_index()


def report() -> dict:
    return json.loads(Path("metrics/split.json").read_text())


@pytest.mark.parametrize("shares", [{}, {"split__train": None, "split__validation": 0.3, "split__test": 0.3}])
def test_labels_change_and_no_image_moves(workspace, capsys, shares):
    draw_images(Path("images"), class_folders(("apple", "pear"), each=40))
    change(**shares)
    run("split_dataset")
    before = splits()
    assert "labels_corrected" not in report()
    chosen = before.groupby("split").head(1)  # one of each split, by name an apple
    assert set(chosen["label"]) == {"apple"} and len(chosen) == 3
    pear = before.query("label == 'pear' and split == 'train'").index[0]
    decide(
        *((f"images/{path}", "wrong", "pear") for path in chosen.index),
        (f"images/{pear}", "wrong", ""),
        (f"images/{before.index[-1]}", "unsure", ""),
        (f"images/{before.index[-2]}", "right", "pear"),
        ("0" * 64, "wrong", "apple"),
    )
    capsys.readouterr()
    run("split_dataset")
    expected = before.copy()
    expected.loc[chosen.index, ["label", "class_index"]] = ["pear", 1]
    pd.testing.assert_frame_equal(splits(), expected.drop(pear))
    counts = {"decided": 6, "corrected": 3, "left_out": 1, "unsure": 1, "of_no_image": 1}
    assert report()["labels_corrected"] == counts
    of_split = expected.drop(pear).groupby(["label", "split"]).size()
    for row in report()["per_class"]:
        assert {name: row[name] for name in SPLITS} == of_split[row["class"]].to_dict()
    unused = pd.read_csv("data/unused.csv").set_index("path")["reason"]
    assert states(unused[pear], "no class", FILE)
    said = capsys.readouterr().out
    assert states(
        said, FILE, "6 images", "3 labels corrected", "1 images left out", "1 unsure", "1 decisions"
    )


def test_decisions_follow_a_renamed_file_and_a_corrected_one(workspace):
    change(split__train=None)
    decide((APPLE, "wrong", "pear"))
    run("split_dataset")
    assert splits().loc["apple/3.png", "label"] == "pear" and report()["labels_corrected"]["corrected"] == 1
    Path(APPLE).rename("images/pear/moved.png")
    run("split_dataset")
    assert (
        splits().loc["pear/moved.png", "label"] == "pear" and report()["labels_corrected"]["corrected"] == 0
    )


def test_of_groups_and_given_splits_none_moves(workspace):
    change(split__group_by=r"\d", split__train=None, split__validation=0.3, split__test=0.3)
    run("split_dataset")
    before = splits()
    decide((APPLE, "wrong", "pear"), (PEAR, "wrong", ""))
    run("split_dataset")
    after = splits()
    assert (
        before.drop("pear/5.png")["split"].equals(after["split"]) and after["label"]["apple/3.png"] == "pear"
    )
    assert report()["groups"] == before.groupby("split")["group"].nunique().loc[list(SPLITS)].to_dict()


@pytest.mark.parametrize(
    ("rows", "facts"),
    [
        ([(APPLE, "wrong", "paer")], ("paer", "apple, pear")),
        ([(APPLE, "maybe", "")], ("line 2", "'maybe'", "right")),
        ([(PEAR, "right", "pear"), (APPLE, "unsure", "pear")], ("line 3", "'unsure'", "'pear'")),
        ([(APPLE, "right", "apple"), (APPLE, "wrong", "pear")], ("two decisions", "a name")),
        ([("12ab", "right", "")], ("line 2", "'12ab'", "SHA-256")),
        ([("<<<<<<< HEAD", "right", "")], ("line 2", "SHA-256")),
        (
            [(f"images/apple/{number}.png", "wrong", "pear") for number in range(15)],
            ("without an image of apple", "train"),
        ),
    ],
)
def test_what_is_no_decision(workspace, rows, facts):
    decide(*rows)
    with refused(FILE, *facts):
        run("split_dataset")
    assert not Path("data/splits").exists() and not Path("metrics/split.json").exists()


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        (b"sha256,decision\n", ("sha256, decision", "sha256, path, decision, label")),
        (b"", ("UTF-8",)),
        (b"\xff\xfe", ("UTF-8",)),
        (b'sha256,path,decision,label\n"', ("UTF-8",)),
        (b"sha256,path,decision,label\n1,2,3,4,5,6\n1,2,3,4,5,6,7\n", ("UTF-8",)),
        (b"sha256,path,decision,label\nabc\n", ("line 2", "'abc'")),
    ],
)
def test_what_is_no_file_of_decisions(tmp_path, content, facts):
    (tmp_path / "decisions.csv").write_bytes(content)
    with refused(tmp_path / "decisions.csv", *facts):
        read_decisions(tmp_path / "decisions.csv")


def test_what_is_written_is_read_again(tmp_path):
    """Whatever names hold; a spreadsheet's mark at the beginning and a further column do no harm."""
    rows = [
        ("b" * 64, 'a,"b".png', "wrong", "NA"),
        ("a" * 64, "ä.png", "unsure", ""),
        ("c" * 64, "", "right", "1.0"),
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).set_index("sha256")
    file = tmp_path / "decisions.csv"
    write_decisions(file, table)
    pd.testing.assert_frame_equal(read_decisions(file), table.sort_index())
    first, *others = file.read_text().splitlines()
    file.write_text("\n".join([f"\ufeff{first},by", *(f"{line},me" for line in others)]), encoding="utf-8")
    pd.testing.assert_frame_equal(read_decisions(file), table.sort_index())
    assert read_decisions(tmp_path / "no such.csv").empty
