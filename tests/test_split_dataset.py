"""Where images come from, what is wrong with them, and which split they fall into."""

import json
from hashlib import sha256
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.shared.assignment import Split, assign
from stages.shared.groups import place
from stages.shared.splits import SPLITS
from tests.conftest import change, class_folders, draw_images, run


def members() -> dict[str, str]:
    """Return the split of every image by path."""
    return {
        path: split for split in SPLITS for path in pd.read_csv(f"data/splits/{split}.csv", dtype=str)["path"]
    }


def report() -> dict:
    return json.loads(Path("metrics/split.json").read_text())


def fails(**changes) -> str:
    """Return the message with which split_dataset ends after `changes` to the parameters."""
    change(**changes)
    with pytest.raises(SystemExit) as end:
        run("split_dataset")
    assert not Path("data/splits").exists() and not Path("metrics/split.json").exists()
    return end.value.code


def test_counts_per_class_are_exact(workspace):
    run("split_dataset")
    expected = {"train": 7, "validation": 4, "test": 4}
    assert report() == {
        "images": {split: {"apple": each, "pear": each} for split, each in expected.items()},
        "identical_images": 0,
        "excluded_images": {},
    }
    table = pd.read_csv("data/splits/train.csv", dtype=str)
    assert list(table.columns) == ["path", "label", "class_index", "sha256"]
    assert set(zip(table["label"], table["class_index"])) == {("apple", "0"), ("pear", "1")}


def test_counts_default_train_to_the_rest(workspace):
    change(split__train=None)
    run("split_dataset")
    assert report()["images"]["train"] == {"apple": 7, "pear": 7}
    assert len(members()) == 30


def test_fractions_never_move_an_old_image(workspace):
    draw_images(Path("images"), class_folders(each=60))
    change(split__train=None, split__validation=0.25, split__test=0.25)
    run("split_dataset")
    before = members()
    draw_images(Path("images"), [f"pear/more{number}.png" for number in range(40)])
    Path("images/apple/0.png").unlink()
    Path("images/apple/1.png").rename("images/apple/renamed.png")
    run("split_dataset")
    after = members()
    assert len(after) == 159
    assert all(after[path] == split for path, split in before.items() if path in after)
    assert after["apple/renamed.png"] == before["apple/1.png"]


def test_fractions_come_out_in_expectation(workspace):
    draw_images(Path("images"), class_folders(each=400), size=(2, 2))
    change(split__train=0.5, split__validation=0.2, split__test=0.1)
    run("split_dataset")
    shares = pd.Series(members()).value_counts() / 800
    assert shares["train"] == pytest.approx(0.5, abs=0.06)  # 3.4 standard deviations
    assert shares["validation"] == pytest.approx(0.2, abs=0.05)
    assert shares["test"] == pytest.approx(0.1, abs=0.04)


def test_seed_draws_another_split(workspace):
    run("split_dataset")
    first = members()
    change(split__seed=1)
    run("split_dataset")
    assert members() != first


@pytest.mark.parametrize("shares", [(None, 4, 4), (None, 0.4, 0.3)])
def test_identical_images_stay_together(workspace, shares):
    for number in range(10):
        original = Path(f"images/apple/{number}.png").read_bytes()
        Path(f"images/apple/copy{number}.png").write_bytes(original)
    train, validation, test = shares
    change(split__train=train, split__validation=validation, split__test=test)
    run("split_dataset")
    splits = members()
    assert all(splits[f"apple/{number}.png"] == splits[f"apple/copy{number}.png"] for number in range(10))
    assert report()["identical_images"] == 10
    if test == 4:
        assert report()["images"]["test"] == {"apple": 4, "pear": 4}


def test_labels_from_file_names(workspace):
    draw_images(Path("flat"), [f"{label}.{number}.png" for label in ("cat", "dog") for number in range(15)])
    change(data__labels_from="filename", data__images="flat")
    run("split_dataset")
    assert report()["images"]["test"] == {"cat": 4, "dog": 4}
    draw_images(Path("flat"), ["puppy.png"])
    with pytest.raises(SystemExit, match=r"1 files in flat are not named like cat\.12\.jpg.*puppy\.png"):
        run("split_dataset")


def test_labels_from_csv(workspace):
    rows = [f"{path},{'round' if 'apple' in path else 'long'}" for path in class_folders()]
    Path("images/labels.csv").write_text("file,label\n" + "\n".join(rows))
    change(data__labels_from="images/labels.csv")
    run("split_dataset")
    assert report()["images"]["test"] == {"long": 4, "round": 4}


def test_a_csv_that_dvc_has_made_a_link_to_its_cache(workspace):
    rows = [f"{path},{path[:5]}" for path in class_folders()]
    Path("cached").write_text("file,label\n" + "\n".join(rows))
    Path("images/labels.csv").symlink_to(Path("cached").resolve())
    change(data__labels_from="images/labels.csv")
    run("split_dataset")
    assert len(members()) == 30


def test_a_csv_named_from_the_images_folder(workspace):
    Path("images/labels.csv").write_text("file,label\n")
    assert fails(data__labels_from="labels.csv").endswith("Did you mean images/labels.csv?")


@pytest.mark.parametrize(
    "rows, message",
    [
        ("name,label\nx,y\n", "has the columns name, label: it needs file and label"),
        ("file,label\nnone.png,a\n", "1 files of images/labels.csv are not there (in images): none.png"),
        ("file,label\napple/0.png,a\napple/0.png,b\n", "are listed twice"),
        ("file,label\napple/0.png,\n", "1 files of images/labels.csv have no label, or one with blanks"),
        ("file,label\napple/0.png,a \n", "have no label, or one with blanks around it"),
        ("file,label\n../images/apple/0.png,a\n", "are not written like apple/0.png, below the folder"),
        ("file,label\n./apple/0.png,a\n", "are not written like apple/0.png, below the folder"),
        ("file,label\napple/0.png,a,b\n", "1 rows of images/labels.csv do not have its 2 columns"),
        ("file,label,label\napple/0.png,a,b\n", "it needs file and label, once each"),
        (
            "file,label\napple/0.png,a\n",
            "29 files in images are not listed in images/labels.csv: apple/1.png",
        ),
    ],
)
def test_wrong_csv(workspace, rows, message):
    Path("images/labels.csv").write_text(rows)
    assert message in fails(data__labels_from="images/labels.csv")


def test_csv_must_lie_where_dvc_sees_it(workspace):
    Path("labels.csv").write_text("file,label\n")
    assert "'labels.csv', outside images: move it into that folder" in fails(data__labels_from="labels.csv")
    assert "takes folder, filename or the path of a CSV file" in fails(data__labels_from="foldr")


def break_images() -> None:
    whole = Path("images/apple/3.png").read_bytes()
    Path("images/apple/3.png").write_bytes(whole[: len(whole) // 2])
    Path("images/pear/5.png").write_bytes(b"")
    Path("images/pear/notes.txt").write_text("no image")


def test_all_bad_images_are_listed_at_once(workspace):
    break_images()
    message = fails()
    assert message.startswith("3 of 31 files are no usable images")
    assert "images/apple/3.png: " in message and "truncated" in message
    assert "images/pear/5.png: the file is empty" in message
    assert "images/pear/notes.txt: not an image" in message


def test_excluded_images_are_recorded(workspace):
    break_images()
    change(data__on_bad_image="exclude", split__train=None)
    run("split_dataset")
    assert set(report()["excluded_images"]) == {"apple/3.png", "pear/5.png", "pear/notes.txt"}
    assert report()["excluded_images"]["pear/5.png"] == "the file is empty"
    assert len(members()) == 28


def test_identical_images_with_different_labels(workspace):
    Path("images/pear/x.png").write_bytes(Path("images/apple/2.png").read_bytes())
    message = fails()
    assert message.startswith("2 byte-identical images have different labels")
    assert "apple/2.png: apple" in message and "pear/x.png: pear" in message


def test_one_class_only(workspace):
    draw_images(Path("single"), class_folders(("apple",)))
    assert fails(data__images="single").startswith("single has images of one class only (apple)")


def test_no_images_and_no_folder(workspace):
    Path("empty").mkdir()
    assert "empty holds no images" in fails(data__images="empty")
    assert "data.images is 'absent', which is no folder" in fails(data__images="absent")
    draw_images(Path("images"), ["loose.png"])
    message = fails(data__images="images")
    assert "lie in no class folder" in message and "loose.png" in message


def test_no_class_vanishes(workspace):
    draw_images(Path("images"), class_folders(("plum",)))
    Path("images/fig").mkdir()
    assert fails() == "class folders of images without an image: fig. Fill or remove them."
    Path("images/fig").rmdir()
    Path("images/apple/0.png").write_bytes(b"")
    for file in Path("images/plum").iterdir():
        file.write_text("no image")
    message = fails(data__on_bad_image="exclude")
    assert message == "no image of class plum is usable: images/plum/0.png, for one: not an image."


def test_links_that_dvc_does_not_follow_are_errors(workspace):
    Path("images/apple").rename("elsewhere")
    Path("images/apple").symlink_to("../elsewhere")
    Path("images/pear/broken.png").symlink_to("nowhere")
    message = fails()
    assert message.startswith("2 entries of images are links to folders, broken links or no files: ")
    assert "images/apple" in message and "images/pear/broken.png" in message


def test_control_characters_in_names_are_errors(workspace):
    draw_images(Path("images"), ["cr\rx/0.png"])
    assert "1 images in images have control characters in name or label" in fails()


def test_class_too_small_for_the_split(workspace):
    assert (
        "class 'apple' has 15 images, too few for this split: 0 of them would go to train (split.train: the rest)"
        in fails(split__test=12, split__validation=4, split__train=None)
    )
    for number in range(14):
        Path(f"images/pear/{number}.png").unlink()
    assert "class 'pear' has 1 images, too few for this split" in fails(
        split__train=None, split__validation=0.2, split__test=0.2
    )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"split__test": 0.2}, "mixes fractions with counts"),
        ({"split__train": None, "split__test": 0.6, "split__validation": 0.4}, "nothing is left for train"),
        ({"split__train": 0.5, "split__test": 0.4, "split__validation": 0.4}, "add up to too much"),
        ({"split__test": 1.5}, "split.test is 1.5, but it takes a fraction of each class"),
        ({"split__test": 0}, "split.test is 0, but it takes"),
        ({"split__test": "many"}, "split.test is 'many', but it takes"),
    ],
)
def test_wrong_shares(workspace, changes, message):
    assert message in fails(**changes)


@pytest.mark.parametrize(
    "shares, digest", [((None, 0.25, 0.25), "8df8c4e407d732b8"), ((20, 10, 10), "5eca97288d626628")]
)
def test_a_split_without_groups_is_the_one_before_there_were_groups(shares, digest):
    train, validation, test = shares
    split = Split(seed=0, train=train, validation=validation, test=test, group_by=None)
    keys = [sha256(bytes([number])).hexdigest() for number in range(100)]
    splits = assign(pd.DataFrame({"label": ["cat", "dog"] * 50, "key": keys}), split)
    assert sha256(" ".join(splits).encode()).hexdigest()[:16] == digest


def photos(animals: range, each: int = 2) -> list[str]:
    """Return the names of photos of either label of every animal."""
    return [
        f"{label}/animal{animal}_{number}.png"
        for label, animal, number in product(("apple", "pear"), animals, range(each))
    ]


def animal_of(path: str) -> str:
    return path.split("/")[1].split("_")[0]


def draw_photos(names: list[str]) -> None:
    draw_images(Path("photos"), names, size=(4, 4))
    change(data__images="photos", split__group_by=r"animal\d+")


def list_photos(animal: str = "animal") -> None:
    """Write a CSV file with the label and, in the column `animal`, the animal of every photo."""
    names = sorted(path.relative_to("photos").as_posix() for path in Path("photos").rglob("*.png"))
    rows = [f"{name},{animal_of(name)},{name.split('/')[0]}" for name in names]
    Path("photos/labels.csv").write_text("\n".join([f"file,{animal},label", *rows]))
    change(data__labels_from="photos/labels.csv")


def split_photos(**changes) -> dict[str, str]:
    """Return the split of every animal after `changes` to the parameters, having seen that each has one."""
    change(**changes)
    run("split_dataset")
    found = {(animal_of(path), split) for path, split in members().items()}
    splits = dict(found)
    assert len(splits) == len(found)
    return splits


@pytest.mark.parametrize(
    "group_by, shares",
    [
        ("column:animal", (None, 9, 9)),
        ("column:animal", (None, 0.25, 0.25)),
        (r"animal\d+", (None, 0.25, 0.25)),
        (r"/(animal\d+)_\d", (20, 10, 10)),
    ],
)
def test_groups_stay_whole(workspace, capsys, group_by, shares):
    draw_photos(photos(range(20)))
    list_photos()
    train, validation, test = shares
    splits = split_photos(
        split__group_by=group_by, split__train=train, split__validation=validation, split__test=test
    )
    groups = pd.Series(splits).value_counts()
    assert report()["groups"] == {name: groups[name] for name in SPLITS}
    assert report()["joined_groups"] == 0
    assert list(pd.read_csv("data/splits/train.csv").columns) == ["path", "label", "class_index", "sha256"]
    if shares == (20, 10, 10):
        assert groups.to_dict() == {"train": 10, "validation": 5, "test": 5}
    if shares == (None, 9, 9):
        assert set(report()["images"]["test"].values()) <= {8, 10}
        assert (
            f"groups: {groups['train']} in train, {groups['validation']} in validation, {groups['test']} in test; "
            "images per class differ by up to"
        ) in capsys.readouterr().out


def test_groups_come_as_near_to_the_counts_as_they_can(workspace, capsys):
    sizes = {"animal1": 8, "animal2": 4, "animal3": 3}
    draw_photos(
        [f"{label}/{name}_{n}.png" for label in "ab" for name, size in sizes.items() for n in range(size)]
    )
    splits = split_photos(split__train=None, split__validation=3, split__test=4)
    assert splits == {"animal1": "train", "animal2": "test", "animal3": "validation"}
    assert "images per class differ by up to 0 from what split asks for" in capsys.readouterr().out
    splits = split_photos(split__validation=1, split__test=1)  # 15, 0 and 0 would be nearer
    assert set(splits.values()) == set(SPLITS)
    assert report()["images"]["train"] == {"a": 8, "b": 8}
    assert "images per class differ by up to 5 from what split asks for" in capsys.readouterr().out


def test_no_group_can_move_and_no_two_change_places_for_the_better():
    rng = np.random.default_rng(0)
    for rows in (3, 4) * 10:
        members = rng.integers(0, 9, (7, 2))
        wanted = np.full((rows, 2), 4)
        wanted[-1] = members.sum(axis=0) - 4 * (rows - 1)

        def cost(placed: np.ndarray) -> tuple[int, int]:
            counts = np.array([members[placed == row].sum(axis=0) for row in range(rows)])
            return (counts[:3] == 0).sum(), ((counts - wanted) ** 2).sum()

        placed = place(members, wanted)
        for group, row in product(range(7), range(rows)):
            assert cost(np.where(np.arange(7) == group, row, placed)) >= cost(placed)
        for group, other in product(range(7), repeat=2):
            exchanged = placed.copy()
            exchanged[[group, other]] = placed[[other, group]]
            assert cost(exchanged) >= cost(placed)


def test_seed_draws_another_split_of_groups(workspace):
    draw_photos(
        [name for number in range(12) for name in photos(range(number, number + 1), each=1 + number % 5)]
    )
    first = split_photos(split__train=None, split__validation=8, split__test=8)
    second = split_photos(split__seed=1)
    assert first != second
    largest = {f"animal{number}" for number in (4, 9)}
    assert {first[name] for name in largest} | {second[name] for name in largest} != {"train"}


def test_fractions_never_move_an_old_group(workspace):
    draw_photos(photos(range(20)))
    before = split_photos(split__train=None, split__validation=0.25, split__test=0.25)
    draw_images(Path("photos"), photos(range(10, 40), each=4), size=(4, 4))
    for image in Path("photos").rglob("animal3_*.png"):
        image.unlink()
    after = split_photos()
    assert len(after) == 39
    assert {name: split for name, split in before.items() if name != "animal3"}.items() <= after.items()


@pytest.mark.parametrize("shares", [(None, 9, 9), (None, 0.25, 0.25)])
def test_groups_with_identical_images_stay_together(workspace, shares):
    draw_photos(photos(range(20)))
    train, validation, test = shares
    before = split_photos(split__train=train, split__validation=validation, split__test=test)
    for source, copy in (("animal1_0", "animal12_2"), ("animal12_0", "animal4_2")):
        Path(f"photos/apple/{copy}.png").write_bytes(Path(f"photos/apple/{source}.png").read_bytes())
    after = split_photos()
    assert after["animal1"] == after["animal12"] == after["animal4"]
    assert report()["joined_groups"] == 2
    assert sum(report()["groups"].values()) == 18
    if test == 0.25:
        assert len({before[name] for name in ("animal1", "animal12", "animal4")}) == 3
        assert after == before | dict.fromkeys(("animal12", "animal4"), before["animal1"])


@pytest.mark.parametrize(
    "group_by, message",
    [
        ("animal(", "split.group_by: 'animal(' is no regular expression: missing ), unterminated subpattern"),
        ("", "split.group_by is '', but it takes null, a regular expression, or column:NAME of the CSV file"),
        (5, "split.group_by is 5, but it takes null, a regular expression, or column:NAME of the CSV file"),
        (
            "animal[12]",
            "28 of 36 images have no group, as split.group_by, 'animal[12]', finds none in their paths: "
            "apple/animal0_0.png, apple/animal0_1.png, apple/animal3_0.png",
        ),
        ("animal", "class 'apple' has 18 images in 1 groups, too few for this split: 0 of them would go to "),
        (
            "column:animal",
            "split.group_by is 'column:animal', a column of the CSV file with the labels, but data.labels_from is "
            "folder: name such a file there, or give split.group_by a regular expression.",
        ),
    ],
)
def test_wrong_group_by(workspace, group_by, message):
    draw_photos(photos(range(9)))
    assert message in fails(split__group_by=group_by, split__train=None)


def test_wrong_column(workspace):
    draw_photos(photos(range(9)))
    list_photos("beast")
    assert (
        "photos/labels.csv has the columns file, beast, label: it needs file and label, once each, and 'animal' for "
        "split.group_by."
    ) in fails(split__group_by="column:animal")
    table = Path("photos/labels.csv")
    table.write_text(table.read_text().replace("apple/animal0_1.png,animal0", "apple/animal0_1.png,"))
    assert (
        "1 files of photos/labels.csv have no beast, or one with blanks around it (in photos): apple/animal0_1.png."
    ) in fails(split__group_by="column:beast")


def test_too_few_images_or_groups_for_the_split(workspace):
    draw_photos(photos(range(9)))
    assert "class 'apple' has 18 images, too few for this split, which takes 19 or more" in fails(
        split__train=None, split__validation=9, split__test=9
    )
    assert "class 'apple' has 18 images, too few for this split, which takes 20 or more" in fails(
        split__train=10, split__validation=5, split__test=5
    )
    draw_images(Path("two"), photos(range(2), each=9))
    assert (
        "class 'apple' has 18 images in 2 groups, too few for this split: 0 of them would go to "
    ) in fails(data__images="two", split__train=None)
