"""tools.select: which photos it takes, which it leaves out, and that they cost nothing once they are labelled."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.selection import describe, simulate
from tests.conftest import change, class_folders, draw_images, refused, run, shows_something, states
from tools.select.__main__ import main
from tools.select.choosing import choose, margins

PHOTOS = Path("photos")


@pytest.fixture
def project(workspace, monkeypatch) -> Path:
    """A split, a small random base, and a folder of eight photos without labels."""
    change(conv_base__name="mobilenet", conv_base__weights="random", image_size=32, split__train=None)
    change(store__folder="store", store__gigabytes=1)
    run("split_dataset", "fetch_weights")
    draw_images(PHOTOS, class_folders(("apple", "fig"), each=4), seed=1)
    return workspace


def save_changed(source: Path, target: Path) -> None:
    """Save an image as another one that looks the same."""
    pixels = np.array(Image.open(source))
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(target)


@pytest.mark.slow
def test_photos_that_were_labelled_or_look_alike_are_left_out(project, capsys):
    test = pd.read_csv("data/splits/test.csv")["path"]
    shutil.copy(f"images/{test[0]}", PHOTOS / "labelled.png")
    save_changed(Path("images", test[1]), PHOTOS / "looks like a test image.png")
    save_changed(PHOTOS / "fig/0.png", PHOTOS / "looks like fig 0.png")
    shutil.copy(PHOTOS / "fig/1.png", PHOTOS / "fig/1 again.png")
    Path(PHOTOS, "broken.png").write_bytes(b"no image")
    main("photos", 100)
    said = capsys.readouterr()
    assert states(said.err, "photos/broken.png") and states(said.out, "8 of 10 new photos", 1)
    found = pd.read_csv("select.csv")
    paths = found["path"].str.replace("looks like fig 0", "fig/0").str.replace(" again", "")
    assert sorted(paths) == sorted(class_folders(("apple", "fig"), each=4))
    assert set(found["predicted"]) <= {"apple", "pear"} and found["probability"].between(0.5, 1).all()
    assert found["margin"].is_monotonic_increasing and shows_something(Path("select.png"))


@pytest.mark.slow
def test_a_photo_that_is_labelled_later_comes_from_the_store(project, capsys):
    main("photos", 3)
    found = pd.read_csv("select.csv")
    assert len(found) == 3
    for number, path in enumerate(found["path"]):
        shutil.copy(PHOTOS / path, f"images/pear/new {number}.png")
    run("split_dataset")
    capsys.readouterr()
    run("extract_features")
    features = re.findall(r"features/\w+\.npy: .*, (\d+) of (\d+) images", capsys.readouterr().out)
    assert all(held == rows for held, rows in features) and sum(int(rows) for _, rows in features) == 33


def test_one_of_each_kind_is_chosen_and_the_most_uncertain_come_first():
    rng = np.random.default_rng(0)
    kinds = np.repeat(np.eye(6), 10, axis=0) + rng.normal(0, 0.01, (60, 6))
    margin = rng.uniform(size=60)
    chosen = choose(kinds, margin, 6)
    assert sorted(chosen // 10) == list(range(6)) and (np.diff(margin[chosen]) >= 0).all()
    assert sorted(choose(kinds, margin, 60)) == list(range(60))


def test_a_margin_is_the_lead_of_the_likeliest_class():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(margins(probabilities), [0.2, 0.7, 0], atol=1e-12)


def test_choosing_beats_chance_where_few_images_are_hard():
    """Of a thousand, one in ten is near the border: chance asks for few of these."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 900)
    features = rng.normal(size=(900, 20)) ** 2
    features[:, 0] += np.where(labels, 3, 0) * np.where(rng.uniform(size=900) < 0.9, 3, 0.5)
    split = pd.DataFrame({"class_index": labels, "sha256": [f"{row:064x}" for row in range(900)]})
    accuracies = simulate(features.astype("float32"), split, draws=2)
    assert accuracies.shape == (2, 2, 7) and (accuracies[:, 0, 0] == accuracies[:, 1, 0]).all()
    table = describe(accuracies)
    assert table.index.tolist() == [100, 150, 200, 250, 300, 350, 400] and table.shape == (7, 2)


def test_what_a_user_can_mend(workspace):
    with refused("--number", 0):
        main("photos", 0)
    with refused("photos", "no folder"):
        main("photos", 1)
    PHOTOS.mkdir()
    with refused("data/splits/train.csv", "dvc repro"):
        main("photos", 1)


@pytest.mark.slow
def test_a_folder_without_a_new_photo(project):
    with refused("images", "30 files", "new"):
        main("images", 1)
