"""Where images come from, what is wrong with them, and which split they fall into."""

import json
import os
import re
import shutil
from hashlib import sha256
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.extract_features import check_complete
from stages.shared.images.image_folder import open_folder
from stages.shared.pipeline.splits import COLUMNS, SPLITS, read_split
from stages.split_dataset import groups
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


def unused() -> dict[str, str]:
    return dict(pd.read_csv("data/unused.csv", dtype=str).itertuples(index=False))


def images_in(split: str) -> dict[str, int]:
    return {row["class"]: row[split] for row in report()["per_class"]}


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
        "images": {split: 2 * each for split, each in expected.items()},
        "per_class": [{"class": label, **expected} for label in ("apple", "pear")],
        "identical_images": 0,
        "excluded_images": [],
    }
    table = pd.read_csv("data/splits/train.csv", dtype=str)
    assert list(table.columns) == ["path", "label", "class_index", "sha256"]
    assert set(zip(table["label"], table["class_index"], strict=True)) == {("apple", "0"), ("pear", "1")}


def test_counts_default_train_to_the_rest(workspace):
    change(split__train=None)
    run("split_dataset")
    assert images_in("train") == {"apple": 7, "pear": 7}
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
        assert images_in("test") == {"apple": 4, "pear": 4}


def test_labels_from_file_names(workspace):
    draw_images(Path("flat"), [f"{label}.{number}.png" for label in ("cat", "dog") for number in range(15)])
    change(data__labels_from="filename", data__images="flat")
    run("split_dataset")
    assert images_in("test") == {"cat": 4, "dog": 4}
    draw_images(Path("flat"), ["puppy.png"])
    with refused(1, "flat", "cat.12.jpg", "puppy.png"):
        run("split_dataset")


def test_labels_from_csv(workspace):
    rows = [f"{path},{'round' if 'apple' in path else 'long'}" for path in class_folders()]
    Path("images/labels.csv").write_text("file,label\n" + "\n".join(rows))
    change(data__labels_from="images/labels.csv")
    run("split_dataset")
    assert images_in("test") == {"long": 4, "round": 4}


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
        ("name,label\nx,y\n", ("columns", "name, label", "'file' (data.columns.file)")),
        ("file,label\nnone.png,a\n", (1, "not there", "images", "none.png")),
        ("file,label\napple/0.png,a\napple/0.png,b\n", ("twice", "apple/0.png")),
        ("file,label\napple/0.png,\n", (1, "no label", "blanks", "apple/0.png")),
        ("file,label\napple/0.png,a \n", (1, "no label", "blanks", "apple/0.png")),
        ("file,label\n0.png,a\n", (1, "several files", "0.png")),
        ("file,label\napple/0.png,a\n../images/apple/0,b\n", (1, "not there", "../images/apple/0")),
        ("file,label\napple/0.png,a,b\n", ("1 rows", "2 columns", "apple/0.png,a,b")),
        ("file,label,label\napple/0.png,a,b\n", ("columns", "file, label, label", "once each")),
        ("file,label\napple/0.png,a\n", (29, "not listed", "apple/1.png", "data.unlisted", "ignore")),
        ('"file";"label"\n"apple/0.png";"a";"b"\n', ("1 rows", "2 columns", "apple/0.png,a,b")),
    ],
)
def test_wrong_csv(workspace, rows, facts):
    Path("images/labels.csv").write_text(rows)
    assert fails("images/labels.csv", *facts, data__labels_from="images/labels.csv")


def write_labels(lines: list[str], **changes) -> None:
    Path("images/labels.csv").write_text("\n".join(lines), encoding="utf-8")
    change(data__labels_from="images/labels.csv", **changes)


def labels() -> dict[str, str]:
    tables = [pd.read_csv(f"data/splits/{name}.csv", dtype=str) for name in SPLITS]
    return dict(pd.concat(tables)[["path", "label"]].itertuples(index=False))


TRUE = {path: path.split("/")[0] for path in class_folders()}


@pytest.mark.parametrize(
    "delimiter, written",
    [
        (",", "{name}"),
        (";", "{folder}/{name}.png"),
        ("\t", "{name}.png"),
        ("|", "scans/2024/{folder}/{name}"),
        (",", "C:\\scans\\{folder}\\{name}.png"),
        (",", "./{folder}/{name}.png"),
    ],
)
def test_labels_in_a_csv_of_others(workspace, delimiter, written):
    """Column names, delimiter, folders in front or none, no extension: the label of each file is found."""
    lines = [delimiter.join(["number", "breed", "id"])]
    for number, (path, label) in enumerate(TRUE.items()):
        name = f"{label}{number}"
        Path("images", path).rename(f"images/{label}/{name}.png")
        lines.append(delimiter.join([str(number), label, written.format(folder=label, name=name)]))
    write_labels(lines, data__columns={"file": "id", "label": "breed"})
    run("split_dataset")
    assert labels() == {path: path.split("/")[0] for path in labels()} and len(labels()) == 30


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_csv_of_a_spreadsheet(workspace, encoding, capsys):
    """Empty rows, an extension in other case, a folder that is not there; a missing file is the only one named."""
    rows = [f"old\\{path.upper()};{label}" for path, label in TRUE.items()]
    text = "\r\n".join(["file;label", *rows, ";", ""])
    Path("images/labels.csv").write_bytes(text.encode(encoding))
    change(data__labels_from="images/labels.csv")
    run("split_dataset")
    assert labels() == {path: path.split("/")[0] for path in labels()} and len(labels()) == 30
    assert "old/" in capsys.readouterr().out
    shutil.rmtree("data")
    Path("metrics/split.json").unlink()
    Path("images/labels.csv").write_bytes(text.replace("PEAR/3.PNG", "PEAR/99.PNG").encode(encoding))
    assert fails(1, "not there", "PEAR/99.PNG")


def test_a_listed_name_is_not_taken_for_a_file_elsewhere(workspace):
    """One name alone has its file in another folder than the others: that is no way to read them all."""
    draw_images(Path("images"), ["other/pear/new.png"])
    rows = [f"{path},{label}" for path, label in TRUE.items()]
    write_labels(["file,label", *rows, "old/pear/new.png,pear"])
    assert fails(1, "not there", "old/pear/new.png")


def test_accents_in_a_csv_and_on_the_disk_count_in_either_form(workspace):
    for path in class_folders():
        file = Path("images", path)
        file.rename(file.with_name(f"cafe\u0301{file.name}"))  # as macOS and its archives have it
    rows = [
        f"{folder}/caf\u00e9{number}.png,{folder}" for folder in ("apple", "pear") for number in range(15)
    ]
    write_labels(["file,label", *rows])
    run("split_dataset")
    assert len(labels()) == 30 and all("e\u0301" in path for path in labels())


def test_files_that_the_csv_does_not_list_are_left_aside_where_wanted(workspace):
    listed = {path: label for path, label in TRUE.items() if not path.endswith("/14.png")}
    write_labels(["file,label", *(f"{path},{label}" for path, label in listed.items())], split__train=None)
    change(data__unlisted="ignore")
    run("split_dataset")
    assert labels() == listed
    reason = "not listed in images/labels.csv"
    assert unused() == {"apple/14.png": reason, "pear/14.png": reason, "labels.csv": "holds the labels"}


def test_a_file_that_came_while_it_was_split_is_noticed(workspace):
    write_labels(
        ["file,label", *(f"{path},{label}" for path, label in TRUE.items() if path != "apple/0.png")]
    )
    change(data__unlisted="ignore", split__train=6)
    run("split_dataset")
    check_complete(
        Path("data/splits"), Path("data/unused.csv"), open_folder("images")
    )  # unused files are known
    draw_images(Path("images"), ["pear/late.png"])
    Path("images/NA").write_text("a name that a table may take for a missing one")
    with refused(2, "images", "NA, pear/late.png", "dvc repro --force --single-item split_dataset"):
        run("extract_features")


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
    reasons = {image["path"]: image["reason"] for image in report()["excluded_images"]}
    assert set(reasons) == {"apple/3.png", "pear/5.png", "pear/notes.txt"}
    assert states(reasons["pear/5.png"], "empty") and unused() == reasons
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


@pytest.mark.parametrize(
    "names, facts",
    [
        (["cat", "cat ", "Cat"], ("'cat' (15 images", "'cat ' (15 images", "'Cat' (15 images")),
        (["caf\u00e9", "cafe\u0301"], ("'caf\\xe9'", "'cafe\\u0301'")),
        (["dog", "dog\u200b"], ("'dog'", "'dog\\u200b'")),
        (["0", "0.0", "1"], ("'0'", "'0.0'")),
        (["big dog", "big_dog"], ("'big dog'", "'big_dog'")),
        (["\uff21", "a"], ("'\\uff21'", "'a'")),  # a wide A
        (["x-ray", "x\u2013ray", "x ray"], ("'x-ray'", "'x\\u2013ray'", "'x ray'")),
        (["cat", "\u0441\u0430t"], ("'cat'", "'\\u0441\\u0430t'")),  # its first letters are Cyrillic
        (["01", "1", "1.0"], ("'01'", "'1'", "'1.0'")),
    ],
)
def test_labels_that_look_alike(workspace, names, facts):
    draw_images(Path("photos"), class_folders(tuple(names)), size=(4, 4))
    assert fails("look alike", *facts, data__images="photos")
    shutil.rmtree("photos")
    draw_images(
        Path("photos"), [f"{name}.{number}.png" for name in names for number in range(15)], size=(4, 4)
    )
    assert fails("look alike", *facts, data__labels_from="filename")


def test_labels_that_differ(workspace):
    names = ("cafe", "caf\u00e9", "10", "1", "1.1", "1.10", "-1", "A", "A-", "Ma\u00dfe", "Masse")
    names += ("\u0915\u093e", "\u0915\u0940")  # which differ by a vowel sign
    draw_images(Path("photos"), class_folders(names), size=(4, 4))
    change(data__images="photos")
    run("split_dataset")
    assert set(images_in("test")) == set(names)


def test_one_form_of_accents_in_labels(workspace):
    draw_images(Path("photos"), class_folders(("cafe\u0301", "bar")), size=(4, 4))
    change(data__images="photos")
    run("split_dataset")
    assert set(images_in("test")) == {"caf\u00e9", "bar"}


@pytest.mark.parametrize("name", ["x<|script>y", "<script>", "</SCRIPT", "<!--"])
def test_what_a_page_would_run_is_refused(workspace, name):
    names = [name.replace("|", "/") + f"/{number}.png" for number in range(15)]
    draw_images(Path("images"), names, size=(4, 4))
    assert fails(15, "script", "name or label", "Rename")


def test_names_that_are_not_utf8(workspace):
    Path(os.fsdecode(b"images/apple/caf\xe9.png")).write_bytes(Path("images/apple/0.png").read_bytes())
    assert fails(1, "UTF-8", "'apple/caf\\udce9.png'", "Rename")


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
    split = Split(seed=3, train=train, validation=validation, test=test, group_by=None, given=None)
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
    train_split = read_split(Path("data/splits/train.csv"))
    assert list(train_split) == [*COLUMNS, "group"]
    assert train_split["group"].str.endswith(tuple("0123456789")).all()
    assert train_split["group"].nunique() == groups["train"]
    if shares == (20, 10, 10):
        assert groups.to_dict() == {"train": 10, "validation": 5, "test": 5}
    if shares == (None, 9, 9):
        assert set(images_in("test").values()) <= {8, 10}
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
    assert images_in("train") == {"a": 8, "b": 8}
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

    placed = place(members, wanted, 3)
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
    table = pd.concat(read_split(Path(f"data/splits/{name}.csv")) for name in SPLITS)
    joined = table[[animal_of(path) in ("animal1", "animal12", "animal4") for path in table["path"]]]
    assert set(joined["group"]) == {"animal1"}
    if test == 0.25:
        assert len({before[name] for name in ("animal1", "animal12", "animal4")}) == 3
        assert after == before | dict.fromkeys(("animal12", "animal4"), before["animal1"])


def test_a_group_with_its_accent_in_two_forms_is_one(workspace):
    names = [
        f"{label}/Jos{form}{n}_{k}.png"
        for n in range(9)
        for k in range(2)
        for label, form in (("apple", "\u00e9"), ("pear", "e\u0301"))
    ]
    draw_photos(names)
    change(split__group_by=r"Jos[^_]+", split__train=None)
    run("split_dataset")
    assert sum(report()["groups"].values()) == 9


@pytest.mark.parametrize(
    "group_by, facts",
    [
        ("animal(", ("split.group_by", "'animal('", "regular expression", "missing )")),
        ("(" * 5000, ("split.group_by", "regular expression")),
        ("column:", ("split.group_by", "'column:'", "column:NAME")),
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


def test_a_pattern_that_takes_for_ever(workspace, monkeypatch):
    monkeypatch.setattr(groups, "SECONDS", 0.5)
    draw_images(Path("images"), [f"apple/{'a' * 40}.png"])
    assert fails("split.group_by", "'/(a|aa)+$'", "repetitions", split__group_by="/(a|aa)+$")


def draw_given(names: dict[str, int], classes: tuple[str, ...] = ("apple", "pear")) -> None:
    """Write images of each class into folders of these names, so many into each, and take them for given splits."""
    for name, each in names.items():
        draw_images(Path("given"), [f"{name}/{path}" for path in class_folders(classes, each)], size=(4, 4))
    change(data__images="given", split__given="folders", split__train=None)


@pytest.mark.parametrize(
    "train, validation, test",
    [
        ("train", "validation", "test"),
        ("training_set", "val", "test_set"),
        ("Training", "valid", "holdout"),
        ("TRAIN", "dev", "testing"),
        ("seg_train", "seg_eval", "01_test images"),
    ],
)
def test_given_splits_are_kept(workspace, train, validation, test):
    draw_given({train: 7, validation: 4, test: 3})
    run("split_dataset")
    folders = {train: "train", validation: "validation", test: "test"}
    assert members() == {path: folders[path.split("/")[0]] for path in members()}
    assert report()["images"] == {"train": 14, "validation": 8, "test": 6}
    assert images_in("test") == {"apple": 3, "pear": 3}
    assert labels() == {path: path.split("/")[1] for path in labels()}


@pytest.mark.parametrize(
    "given, shares, drawn",
    [
        ({"train": 20, "test": 5}, (4, 9), {"train": 32, "validation": 8, "test": 10}),
        ({"train": 20, "val": 5}, (9, 6), {"train": 28, "validation": 10, "test": 12}),
        ({"training": 20}, (4, 6), {"train": 20, "validation": 8, "test": 12}),
    ],
)
def test_what_is_not_given_is_drawn_from_training(workspace, given, shares, drawn):
    draw_given(given)
    change(split__validation=shares[0], split__test=shares[1])
    run("split_dataset")
    assert report()["images"] == drawn
    names = {"test": "test", "val": "validation"}
    kept = {split for name, split in names.items() if name in given}
    for path, split in members().items():
        folder = path.split("/")[0]
        assert split == names[folder] if folder in names else split not in kept


def test_fractions_of_what_is_not_given(workspace):
    draw_given({"train": 200, "test": 5})
    change(split__validation=0.25, split__test=0.5)
    run("split_dataset")
    assert report()["images"]["test"] == 10
    assert report()["images"]["validation"] == pytest.approx(100, abs=35)  # four standard deviations


def test_given_splits_within_classes(workspace):
    """Class folders in front of those of the splits; a class may be called train."""
    names = [
        f"{label}/{split}/{n}.png"
        for label in ("bus", "train")
        for split in ("train", "test")
        for n in range(9)
    ]
    draw_images(Path("given"), names, size=(4, 4))
    change(data__images="given", split__given="folders", split__train=None)
    run("split_dataset")
    assert images_in("test") == {"bus": 9, "train": 9} and images_in("validation") == {"bus": 4, "train": 4}


@pytest.mark.parametrize("fronts", [("train/train", "train/val"), ("train/train", "test/test")])
def test_given_splits_within_folders_that_are_named_like_splits_too(workspace, fronts):
    """As archives leave them that are unpacked into a folder of their own name."""
    draw_images(
        Path("given"), [f"{front}/{path}" for front in fronts for path in class_folders()], size=(4, 4)
    )
    change(data__images="given", split__given="folders", split__train=None)
    run("split_dataset")
    known = {"train": "train", "val": "validation", "test": "test"}
    assert (
        members().items()
        >= {f"{fronts[1]}/{path}": known[fronts[1].split("/")[1]] for path in class_folders()}.items()
    )
    assert set(labels().values()) == {"apple", "pear"}


def test_files_without_a_label_are_left_aside_where_wanted(workspace):
    names = [f"train/{label}.{number}.png" for label in ("cat", "dog") for number in range(15)]
    draw_images(Path("mine"), [*names, "test1/1.png"], size=(4, 4))
    facts = (1, "cat.12.jpg", "test1/1.png", "data.unlisted: ignore")
    assert fails(*facts, data__images="mine", data__labels_from="filename")
    change(data__unlisted="ignore")
    run("split_dataset")
    assert unused()["test1/1.png"] == "without a label" and len(members()) == 30


def test_given_splits_in_a_column(workspace):
    draw_images(Path("images"), class_folders())
    splits = {
        path: ["train", "Training_set", "val", "test1", "holdout"][number % 5]
        for number, path in enumerate(TRUE)
    }
    rows = [f"{path},{split},{TRUE[path]}" for path, split in splits.items()]
    write_labels(["file,part,label", *rows], split__given="column:part", split__train=None)
    run("split_dataset")
    known = {"Training_set": "train", "val": "validation", "test1": "test", "holdout": "test"}
    assert members() == {path: known.get(split, split) for path, split in splits.items()}
    write_labels(["file,part,label", *(row.replace("holdout", "2024") for row in rows)])
    shutil.rmtree("data")
    Path("metrics/split.json").unlink()
    assert fails(6, "'part'", "split.given", "'2024'", "training_set")


def test_identical_images_and_groups_across_given_splits_are_listed_and_stay(workspace, capsys):
    draw_given({"train": 9, "test": 5})
    Path("given/test/apple/0.png").write_bytes(Path("given/train/apple/8.png").read_bytes())
    change(split__group_by=r"/\w+/\d+", split__validation=2)
    run("split_dataset")
    across = report()["across_splits"]
    moved = members()["train/apple/8.png"]
    assert across["sets of identical images"] == [["test: test/apple/0.png", f"{moved}: train/apple/8.png"]]
    assert members()["test/apple/0.png"] == "test"
    assert len(across["groups"]) == 10  # /apple/0 to /pear/4
    assert states(capsys.readouterr().out, "1 sets of identical images", "10 groups")


def test_classes_missing_from_a_given_split(workspace):
    draw_given({"train": 7, "val": 4})
    draw_given({"test": 3}, ("apple",))
    draw_given({"train": 7, "test": 3}, ("fig",))
    assert fails("validation", "split.given", "'fig'")
    draw_given({"val": 3}, ("fig",))
    assert fails("test", "split.given", "'pear'")


@pytest.mark.parametrize(
    "names, facts",
    [
        (["test/apple/0.png", "test/pear/0.png"], ("split.given", "training")),
        (
            ["train/apple/0.png", "more/pear/0.png"],
            ("split.given", "1 of 2", "more/pear/0.png", "training_set"),
        ),
        (["train/apple/0.png", "pear/test/0.png"], ("split.given", "2 of 2", "different depths")),
        (["train/0.png", "test/0.png"], ("2 files", "no class folder", "test/0.png", "data.unlisted")),
        (
            ["train/archive/apple/0.png", "test/archive/pear/1.png"],
            ("one class only", "archive", "data.images"),
        ),
    ],
)
def test_wrong_given_folders(workspace, names, facts):
    draw_images(Path("given"), names)
    assert fails(*facts, data__images="given", split__given="folders")


@pytest.mark.parametrize(
    "names, facts",
    [
        (["train/cat", "validation/cat", "test/cat"], ("train", "validation", "test")),
        (["training_set/cat", "test_set/dog"], ("training_set", "test_set")),
        (["cat", "dog", "test"], ("test",)),
        (["seg_train/cat", "seg_test/cat"], ("seg_train", "seg_test")),
        (["train/cat", "train/dog", "unlabeled/cat"], ("train",)),
        (["train", "eval"], ("train", "eval")),
        (["train/cat", "train/dog", "extra"], ("train",)),
    ],
)
def test_class_folders_named_like_splits(workspace, names, facts):
    draw_images(Path("mine"), [f"{name}/{number}.png" for name in names for number in range(15)], size=(4, 4))
    assert fails("mine", "named like splits", "split.given", "folders", *facts, data__images="mine")


def test_a_class_called_train(workspace):
    draw_images(Path("mine"), class_folders(("bus", "car", "train")), size=(4, 4))
    change(data__images="mine")
    run("split_dataset")
    assert images_in("test") == {"bus": 4, "car": 4, "train": 4}


def test_splits_that_nobody_asked_to_keep_are_mentioned(workspace, capsys):
    names = [
        f"{split}/{label}.{n}.png" for label in ("cat", "dog") for split in ("train", "val") for n in range(8)
    ]
    draw_images(Path("mine"), names, size=(4, 4))
    change(data__labels_from="filename", data__images="mine", split__train=None)
    run("split_dataset")
    assert states(capsys.readouterr().out, "mine", "train, val", "split.given: folders")
    rows = [
        f"{path},{label},{'train' if number % 2 else 'test'}"
        for number, (path, label) in enumerate(TRUE.items())
    ]
    write_labels(["file,label,subset", *rows], data__images="images")
    run("split_dataset")
    assert states(capsys.readouterr().out, "images/labels.csv", "'subset'", "split.given: column:subset")


def test_too_few_images_or_groups_for_the_split(workspace):
    draw_photos(photos(range(9)))
    facts = ("'apple'", "18 images")
    assert fails(*facts, 19, split__train=None, split__validation=9, split__test=9)
    assert fails(*facts, 20, split__train=10, split__validation=5, split__test=5)
    draw_images(Path("two"), photos(range(2), each=9))
    assert fails(*facts, "2 groups", 0, data__images="two", split__train=None)
