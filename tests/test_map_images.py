"""The map of the images: which are on it, where, with what thumbnails, and what the report makes of that."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from threadpoolctl import threadpool_info, threadpool_limits

from stages.map_images import places
from stages.map_images.places import choose, lay_out
from stages.map_images.sheets import COLUMNS, ROWS, SIDE, arrange
from stages.report.image_map import CLASSES, COLORS, SHAPES, count_neighbours, draw_map, name_classes
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.json_and_csv import MAP, NEAR_DUPLICATES, SUSPECTS
from stages.shared.pipeline.splits import SPLITS, read_split
from stages.shared.reporting.image_map import describe_image, describe_map, name_marks
from tests.conftest import class_folders, draw_images, refused, run, states, write_array, write_parameters

FILE = Path("data/map/places.csv")
SHEET = Path("data/map/thumbnails/0.webp")


def clusters(sizes: list[int], channels: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Return features of classes far apart, (n, channels) float32, and the class of each."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    centres = 5 * rng.random((len(sizes), channels))
    return (centres[truth] + 0.3 * rng.random((len(truth), channels))).astype("float32"), truth


def tabulate(truth: np.ndarray, xy: np.ndarray) -> pd.DataFrame:
    """Return the content of places.csv for images at `xy` of classes c00, c01 and so on."""
    number = np.arange(len(truth))
    points = pd.DataFrame(
        {"split": "test", "path": [f"{n}.png" for n in number], "label": [f"c{k:02}" for k in truth]}
    )
    return points.assign(x=xy[:, 0], y=xy[:, 1], sheet=0, column=number, row=0)[list(MAP)]


@pytest.fixture
def mapped(workspace):
    """A workspace of three images in each split, one of them wide and one high, with their map."""
    write_parameters(
        workspace, {"data.images": "photos", "split.train": 1, "split.validation": 1, "split.test": 1}
    )
    draw_images(workspace / "photos", class_folders(("apple", "fig", "pear"), each=3))
    for name, size in (("apple/0.png", (300, 100)), ("fig/1.png", (9, 40))):
        Image.new("RGB", size, "red").save(workspace / "photos" / name)
    run("split_dataset")
    features, _ = clusters([9])
    for number, name in enumerate(SPLITS):
        write_array(Path(f"data/features/{name}.npy"), features[3 * number : 3 * number + 3, None, None])
    run("map_images")
    return workspace


def test_similar_images_lie_beside_each_other():
    features, truth = clusters([40, 25, 15])
    xy = lay_out(features)
    assert xy.shape == (80, 2) and xy.min() == 0 and xy.max() == pytest.approx(1)
    middles = np.array([xy[truth == index].mean(axis=0) for index in range(3)])
    distances = np.linalg.norm(xy[:, np.newaxis] - middles, axis=2)
    assert (distances.argmin(axis=1) == truth).all()
    lengths = 2.0 ** np.random.default_rng(0).integers(0, 5, (80, 1))
    assert (lay_out(lengths * features) == xy).all()  # how long a vector is says nothing


@pytest.mark.parametrize(
    "features",
    [
        np.eye(2, 5),
        np.eye(3, 5),
        np.random.default_rng(0).random((5, 40)),
        np.random.default_rng(0).random((30, 1)),
        np.ones((12, 8)),
        np.zeros((12, 8)),
        np.repeat(np.eye(2, 6), 20, axis=0),
    ],
    ids=["2", "3", "5", "one channel", "identical", "nothing", "two photos"],
)
def test_few_or_the_same_images(features):
    xy = lay_out(features.astype("float32"))
    assert xy.shape == (len(features), 2) and ((xy >= 0) & (xy <= 1)).all()


def test_the_places_are_computed_on_one_core(monkeypatch):
    """On more the last bits of the components are others."""
    used = set()

    class Seen(places.TSNE):
        def fit_transform(self, X, y=None):
            used.update(library["num_threads"] for library in threadpool_info())
            return super().fit_transform(X, y)

    monkeypatch.setattr(places, "TSNE", Seen)
    with threadpool_limits(limits=2):
        lay_out(clusters([9])[0])
    assert used == {1}


def test_of_many_images_each_class_has_its_share(monkeypatch):
    truth = np.repeat([0, 1, 2], [700, 298, 2])
    rng = np.random.default_rng(0)
    images = pd.DataFrame({"class_index": truth, "sha256": [f"{n:064x}" for n in rng.permutation(1000)]})
    images["path"] = [f"{n}.png" for n in range(1000)]
    assert sorted(choose(images)) == list(range(1000))
    monkeypatch.setattr(places, "MOST", 100)
    chosen = choose(images)
    assert np.bincount(truth[chosen]).tolist() == [69, 30, 1]
    other = images.sample(frac=1, random_state=0).reset_index(drop=True).assign(path="other")
    assert set(other["sha256"][choose(other)]) == set(images["sha256"][chosen])


def test_every_image_has_its_place_and_its_thumbnail(mapped):
    points = pd.read_csv(FILE)
    images = pd.concat([read_split(Path(f"data/splits/{name}.csv")).assign(split=name) for name in SPLITS])
    columns = ["split", "path", "label"]
    assert sorted(points[columns].to_numpy().tolist()) == sorted(images[columns].to_numpy().tolist())
    with Image.open(SHEET) as sheet:
        assert sheet.size == (COLUMNS * SIDE, SIDE)
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    assert len(points[["sheet", "column", "row"]].drop_duplicates()) == 9
    for _, point in points.iterrows():
        upper, left = SIDE * point["row"], SIDE * point["column"]
        cell = pixels[upper : upper + SIDE, left : left + SIDE]
        with Image.open(Path("photos") / point["path"]) as image:
            image.thumbnail((SIDE, SIDE))
            top, side = ((SIDE - length) // 2 for length in reversed(image.size))
            expected = np.full((SIDE, SIDE, 3), 128)
            expected[top : top + image.height, side : side + image.width] = np.asarray(image.convert("RGB"))
        assert abs(cell - expected).mean() < 12, point["path"]


def test_many_images_are_on_several_sheets():
    cells = arrange(2 * COLUMNS * ROWS + 18)
    assert len({tuple(cell) for cell in cells}) == len(cells)
    assert cells.max(axis=0).tolist() == [2, COLUMNS - 1, ROWS - 1] and cells[-1].tolist() == [2, 1, 1]


def test_the_same_images_give_the_same_bytes_and_a_changed_one_a_sentence(mapped):
    before = FILE.read_bytes(), SHEET.read_bytes()
    run("map_images")
    assert (FILE.read_bytes(), SHEET.read_bytes()) == before
    image = Path("photos/pear/0.png")
    image.write_bytes(image.read_bytes() + b"more")
    with refused(image, "changed"):
        run("map_images")
    assert (FILE.read_bytes(), SHEET.read_bytes()) == before


def write_map(
    truth: np.ndarray, xy: np.ndarray, suspects: list[int], pairs: list[tuple[int, int]]
) -> pd.DataFrame:
    """Write what draw_map reads of images of classes at `xy`; return what is on the map."""
    points = tabulate(truth, xy)
    SHEET.parent.mkdir(parents=True)
    points.to_csv(FILE, index=False)
    Image.new("RGB", (SIDE * len(points), SIDE)).save(SHEET)
    rows = points.iloc[suspects].assign(suggested="other", sha256="0")
    rows[list(SUSPECTS)].to_csv("suspects.csv", index=False)
    ends = [
        pd.DataFrame({"split": "test", "path": [f"{pair[end]}.png" for pair in pairs], "label": ""})
        for end in (0, 1)
    ]
    pd.concat([ends[0], ends[1].add_prefix("other_")], axis=1)[list(NEAR_DUPLICATES)].to_csv(
        "pairs.csv", index=False
    )
    return points


def drawn(points: pd.DataFrame, wrong: list[int], images: int = 900) -> dict:
    errors = points.iloc[wrong].assign(predicted="mistaken")[["path", "predicted"]]
    return draw_map(
        FILE.parent, Path("suspects.csv"), Path("pairs.csv"), errors, sorted(set(points["label"])), images
    )


def test_marks_are_counted_and_said_of_each_image(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    truth = np.repeat([0, 1], 5)
    xy = np.stack([np.linspace(0, 1, 10), np.linspace(0.5, 0, 10)], axis=1)
    points = write_map(truth, xy, suspects=[1, 7], pairs=[(2, 3), (4, 900)])
    found = drawn(points, wrong=[7])
    assert states(found["marks"]["suspects"], "2 labels") and states(found["marks"]["errors"], "1 test image")
    assert states(found["marks"]["near_duplicates"], "1 of 2 pairs")
    (line,) = found["lines"]
    ends = [
        [round(value, 1) for value in found["size"] * np.array([line[f"{end}across"], line[f"{end}down"]])]
        for end in ("", "other_")
    ]
    assert np.array(ends) == pytest.approx(1000 * xy[[2, 3]], abs=0.5)
    said = [point["said"] for point in found["points"]]
    assert states(said[7], "7.png", "test", "c01", "other", "mistaken") and "other" in said[1]
    assert states(said[2], "3.png") and states(said[3], "2.png") and states(said[4], "900.png")
    assert said[0].count("\n") == 1
    assert {spot["path"] for spot in found["spots"]} == set(points["path"])
    sheet = SHEET.read_bytes()
    SHEET.write_bytes(sheet[:50])
    with pytest.raises(UserError, match=r"0\.webp"):
        drawn(points, wrong=[])
    SHEET.write_bytes(sheet)
    FILE.write_text(FILE.read_text().replace("0.5,", "1.5,", 1))
    with pytest.raises(UserError, match=r"places\.csv"):
        drawn(points, wrong=[])


def test_each_class_has_a_look_of_its_own():
    looks = {(look % COLORS, look % len(SHAPES)) for look in range(CLASSES)}
    assert len(looks) == CLASSES


def test_of_very_many_classes_the_largest_have_a_look(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    truth = np.concatenate([np.repeat(np.arange(1, 45), 2), [0]])
    xy = np.random.default_rng(0).random((len(truth), 2))
    found = drawn(write_map(truth, xy, [], []), [])
    assert [one["look"] for one in found["classes"]] == list(range(CLASSES))
    assert found["classes"][0]["name"] == "c01" and found["others"] == len(truth) - 2 * CLASSES


def test_names_stand_within_their_classes_and_not_on_one_another():
    features, truth = clusters([60] * 20, channels=40)
    points = tabulate(truth, lay_out(features)).assign(look=truth)
    named = name_classes(points, sorted(set(points["label"])))
    places = np.array([[one["x"], one["y"]] for one in named])  # each has one
    middles = 1000 * points.groupby("label")[["x", "y"]].mean().to_numpy()
    assert (np.linalg.norm(middles[:, np.newaxis] - places, axis=2).argmin(axis=0) == np.arange(20)).all()
    across, down = (abs(values[:, np.newaxis] - values) for values in places.T)
    assert ((across >= 48) | (down >= 34) | np.eye(20, dtype=bool)).all()
    spread = tabulate(np.zeros(9, int), np.repeat([[0.1, 0.1], [0.7, 0.7], [0.5, 0.1]], [2, 6, 1], axis=0))
    (one,) = name_classes(spread.assign(look=0), ["c00"])
    assert (one["x"], one["y"], one["shown"]) == (700, 700, "c00")
    together = name_classes(points.assign(x=0.5, y=0.5), sorted(set(points["label"])))
    assert sum("shown" in one for one in together) == 1


def test_neighbours_of_the_same_label():
    rng = np.random.default_rng(0)
    xy, truth = rng.random((60, 2)), rng.integers(0, 3, 60)
    distances = np.linalg.norm(xy[:, np.newaxis] - xy, axis=2) + 9 * np.eye(60)
    own = (truth[distances.argsort(axis=1)[:, :5]] == truth[:, np.newaxis]).mean(axis=1)
    of_class = [own[truth == index].mean() for index in range(3)]
    alike = (truth[:, np.newaxis] == truth) & ~np.eye(60, dtype=bool)
    names = ["c00", "c01", "c02"]
    share, chance, least, of_least = count_neighbours(tabulate(truth, xy), names)
    assert (share, chance) == (pytest.approx(own.mean()), pytest.approx(alike.sum() / (60 * 59)))
    assert least == names[np.argmin(of_class)] and of_least == pytest.approx(min(of_class))
    one_place = tabulate(np.zeros(20, int), np.full((20, 2), 0.5))
    assert count_neighbours(one_place, names) == (1, 1, "c00", 1)


def test_sentences_on_the_map():
    whole, neighbours = describe_map(2624, 2624, 0.81, 0.55, "cat", 0.7)
    assert states(whole, "2,624 images") and states(neighbours, "0.810", "0.550", "cat", "0.700")
    assert states(describe_map(3000, 10_000, 1, 0.5, "cat", 1)[0], "3,000 of 10,000 images")
    marks = name_marks(suspects=(3, 4), errors=(0, 0), near_duplicates=(1, 1))
    assert states(marks["suspects"], "3 of 4 labels") and states(marks["errors"], "0 test images")
    assert states(marks["near_duplicates"], "1 pair")
    nothing = {
        "path": "a.png",
        "split": "train",
        "label": "cat",
        "suggested": None,
        "predicted": None,
        "twin": None,
    }
    assert states(describe_image(nothing), "a.png", "train", "cat")
