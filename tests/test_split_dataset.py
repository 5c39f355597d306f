"""Where images come from, what is wrong with them, and which split they fall into."""

import json
import re
import shutil
from hashlib import sha256
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.shared.pipeline.splits import SPLITS
from stages.split_dataset.assignment import Split, assign
from stages.split_dataset.groups import place
from tests.conftest import change, class_folders, draw_images, refused, run, states


def members() -> dict[str, str]:
    """Return the split of every image by path."""
    return {
        path: split for split in SPLITS for path in pd.read_csv(f"data/splits/{split}.csv", dtype=str)["path"]
    }


def report() -> dict:
    return json.loads(Path("metrics/split.json").read_text())


def fails(*facts: object, **changes) -> bool:
    """Whether split_dataset ends after `changes` to the parameters with a message that has all `facts`."""
    change(**changes)
    with pytest.raises(SystemExit) as end:
        run("split_dataset")
    assert not Path("data/splits").exists() and not Path("metrics/split.json").exists()
    return states(str(end.value), *facts)


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
    assert set(zip(table["label"], table["class_index"], strict=True)) == {("apple", "0"), ("pear", "1")}


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
    with refused(1, "flat", "cat.12.jpg", "puppy.png"):
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
    assert fails("data.labels_from", "images/labels.csv", data__labels_from="labels.csv")


@pytest.mark.parametrize(
    "rows, facts",
    [
        ("name,label\nx,y\n", ("columns", "name, label", "file and label")),
        ("file,label\nnone.png,a\n", (1, "not there", "images", "none.png")),
        ("file,label\napple/0.png,a\napple/0.png,b\n", ("twice", "apple/0.png")),
        ("file,label\napple/0.png,\n", (1, "no label", "blanks", "apple/0.png")),
        ("file,label\napple/0.png,a \n", (1, "no label", "blanks", "apple/0.png")),
        ("file,label\n../images/apple/0.png,a\n", (1, "../images/apple/0.png", "like apple/0.png")),
        ("file,label\n./apple/0.png,a\n", (1, "./apple/0.png", "like apple/0.png")),
        ("file,label\napple/0.png,a,b\n", ("1 rows", "2 columns", "apple/0.png,a,b")),
        ("file,label,label\napple/0.png,a,b\n", ("columns", "file, label, label", "once each")),
        ("file,label\napple/0.png,a\n", (29, "not listed", "apple/1.png")),
    ],
)
def test_wrong_csv(workspace, rows, facts):
    Path("images/labels.csv").write_text(rows)
    assert fails("images/labels.csv", *facts, data__labels_from="images/labels.csv")


def test_csv_must_lie_where_dvc_sees_it(workspace):
    Path("labels.csv").write_text("file,label\n")
    assert fails("data.labels_from", "'labels.csv'", "outside images", data__labels_from="labels.csv")
    assert fails("data.labels_from", "'foldr'", "folder", "filename", "CSV", data__labels_from="foldr")


def break_images() -> None:
    whole = Path("images/apple/3.png").read_bytes()
    Path("images/apple/3.png").write_bytes(whole[: len(whole) // 2])
    Path("images/pear/5.png").write_bytes(b"")
    Path("images/pear/notes.txt").write_text("no image")


def test_all_bad_images_are_listed_at_once(workspace):
    break_images()
    with pytest.raises(SystemExit) as end:
        run("split_dataset")
    first, *bad = str(end.value).splitlines()
    assert states(first, "3 of 31", "data.on_bad_image", "exclude")
    facts = {"apple/3.png": "truncated", "pear/5.png": "empty", "pear/notes.txt": "not an image"}
    for line, (file, reason) in zip(bad, facts.items(), strict=True):
        assert states(line, f"images/{file}", reason)


def test_an_image_that_is_too_large_is_a_bad_one(workspace):
    draw_images(Path("images"), ["apple/large.png"], size=(60, 40))
    facts = ("1 of 31", "images/apple/large.png", "40 × 60 pixels", 0.0023, "data.max_megapixels")
    assert fails(*facts, data__max_megapixels=0.0023)


def test_images_of_16_bits_that_come_out_dark_are_counted(workspace, capsys):
    values = np.random.default_rng(0).integers(0, 4096, (8, 8)).astype("uint16")
    grey = Image.fromarray(values)
    for number in range(3):
        grey.save(f"images/apple/12 bits {number}.png")
    Image.fromarray(values * 16).save("images/apple/16 bits.png")
    colour = b"P6 8 8 65535\n" + values.repeat(3).astype(">u2").tobytes()
    Path("images/pear/colour.ppm").write_bytes(colour)
    grey.save("images/pear/pages.tif", save_all=True, append_images=[grey])
    change(split__train=None)
    run("split_dataset")
    said = capsys.readouterr().out.splitlines()
    assert states(said[0], "4 grey files of 16 bits", "white_16_bit: 65535", "12 bits", 4095)
    assert states(said[1], "1 colour files of 16 bits") and states(said[2], "1 TIFF files", "first")
    counts = {"dark_16_bit_images": 4, "dark_16_bit_colour_images": 1, "images_with_more_pages": 1}
    assert counts.items() <= report().items()
    Path("images/apple/16 bits.png").unlink()
    change(white_16_bit=4095)
    run("split_dataset")
    said = capsys.readouterr().out
    assert "grey files" not in said and "dark_16_bit_images" not in report()
    shutil.rmtree("data/splits")
    Path("metrics/split.json").unlink()
    assert fails("4 of 35", "apple/12 bits 0.png", "white_16_bit: 2000", white_16_bit=2000)


def test_excluded_images_are_recorded(workspace):
    break_images()
    change(data__on_bad_image="exclude", split__train=None)
    run("split_dataset")
    assert set(report()["excluded_images"]) == {"apple/3.png", "pear/5.png", "pear/notes.txt"}
    assert states(report()["excluded_images"]["pear/5.png"], "empty")
    assert len(members()) == 28


def test_identical_images_with_different_labels(workspace):
    Path("images/pear/x.png").write_bytes(Path("images/apple/2.png").read_bytes())
    assert fails(2, "byte-identical", "labels", "apple/2.png: apple", "pear/x.png: pear")


def test_one_class_only(workspace):
    draw_images(Path("single"), class_folders(("apple",)))
    assert fails("single", "one class", "apple", data__images="single")


def test_no_images_and_no_folder(workspace):
    Path("empty").mkdir()
    assert fails("empty", "no images", "data.images", data__images="empty")
    assert fails("data.images", "'absent'", "no folder", data__images="absent")
    draw_images(Path("images"), ["loose.png"])
    assert fails(1, "no class folder", "loose.png", data__images="images")


def test_no_class_vanishes(workspace):
    draw_images(Path("images"), class_folders(("plum",)))
    Path("images/fig").mkdir()
    assert fails("class folders", "without an image", "fig")
    Path("images/fig").rmdir()
    Path("images/apple/0.png").write_bytes(b"")
    for file in Path("images/plum").iterdir():
        file.write_text("no image")
    assert fails("class plum", "usable", "images/plum/0.png", "not an image", data__on_bad_image="exclude")


def test_links_that_dvc_does_not_follow_are_errors(workspace):
    Path("images/apple").rename("elsewhere")
    Path("images/apple").symlink_to("../elsewhere")
    Path("images/pear/broken.png").symlink_to("nowhere")
    assert fails(2, "links", "images/apple", "images/pear/broken.png")


def test_control_characters_in_names_are_errors(workspace):
    draw_images(Path("images"), ["cr\rx/0.png"])
    assert fails(1, "control characters")


def test_class_too_small_for_the_split(workspace):
    facts = ("'apple'", "15 images", 0, "split.train")
    assert fails(*facts, split__test=12, split__validation=4, split__train=None)
    for number in range(14):
        Path(f"images/pear/{number}.png").unlink()
    assert fails("'pear'", "1 images", split__train=None, split__validation=0.2, split__test=0.2)


@pytest.mark.parametrize(
    "changes, facts",
    [
        ({"split__test": 0.2}, ("split", "fractions", "counts", 7, 4, 0.2)),
        ({"split__train": None, "split__test": 0.6, "split__validation": 0.4}, ("split", "train", 0.6, 0.4)),
        ({"split__train": 0.5, "split__test": 0.4, "split__validation": 0.4}, ("split", 0.5, 0.4)),
        ({"split__test": 1.5}, ("split.test", 1.5, 0, 1)),
        ({"split__test": 0}, ("split.test", 0, 1)),
        ({"split__test": "many"}, ("split.test", "'many'", 0, 1)),
    ],
)
def test_wrong_shares(workspace, changes, facts):
    assert fails(*facts, **changes)


@pytest.mark.parametrize(
    "train, validation, test", [(None, 0.25, 0.25), (0.5, 0.2, 0.1), (20, 10, 10), (None, 9, 7)]
)
def test_an_images_split_follows_from_seed_and_content(train, validation, test):
    """The first 48 bits of SHA-256 of both are a fraction: from above test, validation, train; from below counts."""
    split = Split(seed=3, train=train, validation=validation, test=test, group_by=None)
    keys = [sha256(bytes([number])).hexdigest() for number in range(100)]
    table = pd.DataFrame({"label": ["cat", "dog"] * 50, "key": keys})
    draws = {key: int.from_bytes(sha256(f"3 {key}".encode()).digest()[:6]) / 2**48 for key in keys}
    expected = dict.fromkeys(keys, "none")
    if test < 1:
        lowest = 1 - test - validation - train if train else 0
        for key, draw in draws.items():
            if draw >= 1 - test:
                expected[key] = "test"
            elif draw >= 1 - test - validation:
                expected[key] = "validation"
            elif draw >= lowest:
                expected[key] = "train"
    else:
        for label in ("cat", "dog"):
            ranked = sorted(table["key"][table["label"] == label], key=lambda key: draws[key])
            for number, key in enumerate(ranked[: None if train is None else test + validation + train]):
                expected[key] = (
                    "test" if number < test else "validation" if number < test + validation else "train"
                )
    assert assign(table, split).tolist() == [expected[key] for key in keys]
    assert set(expected.values()) >= set(SPLITS)


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
        said = capsys.readouterr().out.splitlines()[-2]
        assert states(said, *(f"{groups[name]} in {name}" for name in SPLITS)) and re.search(
            r"by up to [01]\b", said
        )


def test_groups_come_as_near_to_the_counts_as_they_can(workspace, capsys):
    sizes = {"animal1": 8, "animal2": 4, "animal3": 3}
    draw_photos(
        [f"{label}/{name}_{n}.png" for label in "ab" for name, size in sizes.items() for n in range(size)]
    )
    splits = split_photos(split__train=None, split__validation=3, split__test=4)
    assert splits == {"animal1": "train", "animal2": "test", "animal3": "validation"}
    assert states(capsys.readouterr().out.splitlines()[-2], "by up to 0")
    splits = split_photos(split__validation=1, split__test=1)  # 15, 0 and 0 would be nearer
    assert set(splits.values()) == set(SPLITS)
    assert report()["images"]["train"] == {"a": 8, "b": 8}
    assert states(capsys.readouterr().out.splitlines()[-2], "by up to 5")


@pytest.mark.parametrize("rows", [3, 4])
@pytest.mark.parametrize("seed", range(10))
def test_no_group_can_move_and_no_two_change_places_for_the_better(rows, seed):
    members = np.random.default_rng(seed).integers(0, 9, (7, 2))
    wanted = np.full((rows, 2), 4)
    wanted[-1] = members.sum(axis=0) - 4 * (rows - 1)

    def cost(placed: np.ndarray) -> tuple[int, int]:
        counts = np.array([members[placed == row].sum(axis=0) for row in range(rows)])
        return int((counts[:3] == 0).sum()), int(((counts - wanted) ** 2).sum())

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
    "group_by, facts",
    [
        ("animal(", ("split.group_by", "'animal('", "regular expression", "missing )")),
        ("", ("split.group_by", "''", "null", "regular expression", "column:NAME")),
        (5, ("split.group_by", 5, "null", "regular expression", "column:NAME")),
        (
            "animal[12]",
            ("split.group_by", "'animal[12]'", "28 of 36", "apple/animal0_0.png", "apple/animal3_0.png"),
        ),
        ("animal", ("'apple'", "18 images", "1 groups", 0)),
        (
            "column:animal",
            ("split.group_by", "'column:animal'", "data.labels_from", "folder", "regular expression"),
        ),
    ],
)
def test_wrong_group_by(workspace, group_by, facts):
    draw_photos(photos(range(9)))
    assert fails(*facts, split__group_by=group_by, split__train=None)


def test_wrong_column(workspace):
    draw_photos(photos(range(9)))
    list_photos("beast")
    facts = ("photos/labels.csv", "file, beast, label", "'animal'", "split.group_by")
    assert fails(*facts, split__group_by="column:animal")
    table = Path("photos/labels.csv")
    table.write_text(table.read_text().replace("apple/animal0_1.png,animal0", "apple/animal0_1.png,"))
    facts = (1, "photos/labels.csv", "no beast", "blanks", "apple/animal0_1.png")
    assert fails(*facts, split__group_by="column:beast")


def test_too_few_images_or_groups_for_the_split(workspace):
    draw_photos(photos(range(9)))
    facts = ("'apple'", "18 images")
    assert fails(*facts, 19, split__train=None, split__validation=9, split__test=9)
    assert fails(*facts, 20, split__train=10, split__validation=5, split__test=5)
    draw_images(Path("two"), photos(range(2), each=9))
    assert fails(*facts, "2 groups", 0, data__images="two", split__train=None)
