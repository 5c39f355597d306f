"""Images that were put under another class are suspects, with the class that they are of, and few others are."""

import json
import shutil
from contextlib import chdir
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from stages.audit_labels.audit import FOLDS, SEED, accuracy, judge, judge_without_suspects
from stages.audit_labels.confident_learning import SURE, choose_thresholds, find_suspects
from stages.audit_labels.neighbours import ask_neighbours
from stages.shared.labels.decisions import write_decisions
from stages.shared.pipeline.splits import SPLITS, read_split
from stages.shared.probe.linear_probe import predict_out_of_fold
from stages.shared.reporting.data import describe_labels
from tests.conftest import (
    SIZE,
    TINY,
    class_folders,
    draw_images,
    place_weights,
    refused,
    run,
    shows_something,
    states,
    write_array,
    write_parameters,
)
from tests.test_probe import draw_set

SUSPECTS, METRICS, PICTURE = (
    Path(name)
    for name in ("data/label_audit/suspects.csv", "metrics/label_audit.json", "metrics/suspects.png")
)
CLASSES = ("apple", "grape", "kiwi")  # of tints far from one another
MOVED = {  # images, and the class that they were put under
    "apple/0.png": "grape",
    "grape/0.png": "apple",
    "grape/1.png": "kiwi",
    "kiwi/0.png": "apple",
}


def misplaced(path: str, label: str) -> str:
    """Return where the image lies that is of the class in its `path`, and was put under `label`."""
    return f"{label}/moved from {path.replace('/', ' ')}"


@pytest.fixture(scope="module")
def mislabelled(build_once, vgg16_weights):
    """A folder with features of images, four of which lie in another class's folder, and their audit."""

    def fill(folder: Path) -> None:
        with chdir(folder):
            counts = {"split.train": None, "split.validation": 8, "split.test": 8}
            write_parameters(folder, {**TINY, "image_size": SIZE, **counts})
            place_weights(vgg16_weights)
            draw_images(Path("images"), class_folders(CLASSES, each=32))
            for path, label in MOVED.items():
                Path("images", path).rename(Path("images", misplaced(path, label)))
            run("split_dataset", "extract_features", "audit_labels")

    return build_once("mislabelled", fill)


@pytest.fixture
def inside(mislabelled, tmp_path, monkeypatch):
    """A copy of that folder, as the working directory."""
    monkeypatch.chdir(shutil.copytree(mislabelled, tmp_path / "mislabelled", symlinks=True))


def test_misplaced_images_are_found_and_nothing_else(inside):
    table, audit = pd.read_csv(SUSPECTS), json.loads(METRICS.read_text())
    splits = {name: read_split(Path(f"data/splits/{name}.csv")).set_index("path") for name in SPLITS}
    expected = {
        (name, misplaced(path, label), label, path.split("/")[0])
        for path, label in MOVED.items()
        for name in SPLITS
        if misplaced(path, label) in splits[name].index
    }
    found = set(zip(table["split"], table["path"], table["label"], table["suggested"], strict=True))
    assert found <= expected and {name for name, *_ in found} == set(SPLITS)
    assert {row for row in expected - found if row[0] != "test"} == set()
    assert all(
        splits[row["split"]].loc[row["path"], "sha256"] == row["sha256"] for _, row in table.iterrows()
    )
    assert (table["probability_of_label"] < table["probability_of_suggested"]).all()
    of_test = table["split"] == "test"
    assert of_test.is_monotonic_increasing and 0 < of_test.sum() < 4
    assert all(table[rows]["probability_of_label"].is_monotonic_increasing for rows in (of_test, ~of_test))
    assert audit["suspects"] == {name: (table["split"] == name).sum() for name in SPLITS}
    assert 0.85 < audit["accuracy"] <= 1 - (~of_test).sum() / 72 + 1e-9
    assert 0.85 < audit["accuracy_without_suspects"] <= 1 - (~of_test).sum() / 72 + 1e-9
    assert shows_something(PICTURE)


def test_the_same_audit_gives_the_same_bytes_and_what_is_decided_is_no_suspect(inside):
    before = [file.read_bytes() for file in (SUSPECTS, METRICS, PICTURE)]
    run("audit_labels")
    assert [file.read_bytes() for file in (SUSPECTS, METRICS, PICTURE)] == before
    table = pd.read_csv(SUSPECTS)
    decisions = table.assign(decision="right").set_index("sha256").iloc[[0, -1]]
    write_decisions(Path("data/labels_corrected.csv"), decisions)
    run("audit_labels")
    others = pd.read_csv(SUSPECTS)  # with other probabilities, as a decided image is learnt from
    columns = ["split", "path", "label", "suggested", "sha256"]
    pd.testing.assert_frame_equal(
        others[columns], table.loc[1 : len(table) - 2, columns].reset_index(drop=True)
    )
    counts = json.loads(METRICS.read_text())["suspects"]
    assert counts == {name: (table["split"][1:-1] == name).sum() for name in SPLITS}


def test_what_is_said_of_other_images_does_not_depend_on_the_test(inside):
    before = pd.read_csv(SUSPECTS).query("split != 'test'")
    test = pd.read_csv("data/splits/test.csv")
    test[["label", "class_index"]] = np.roll(test[["label", "class_index"]], 5, axis=0)
    test.to_csv("data/splits/test.csv", index=False)
    run("audit_labels")
    after = pd.read_csv(SUSPECTS)
    pd.testing.assert_frame_equal(after.query("split != 'test'"), before)
    assert (after["split"] == "test").sum() > 10


def test_an_image_that_has_changed(inside):
    path = pd.read_csv(SUSPECTS)["path"][0]
    Path("images", path).write_bytes(b"another")
    with refused(f"images/{path}", "changed"):
        run("audit_labels")


def test_features_of_another_image_size(inside):
    write_array(Path("data/features/test.npy"), np.zeros((24, 3, 3, 512), "float32"))
    with refused("data/features/test.npy", 24, "(3, 3, 512)", "(1, 1, 512)", "dvc repro"):
        run("audit_labels")


def test_no_suspects(inside):
    """As where all probes agree with all labels; the picture then holds its title alone."""
    for name in SPLITS:
        split = read_split(Path(f"data/splits/{name}.csv"))
        vectors = 9 * np.eye(512, dtype="float32")[split["class_index"]]
        write_array(Path(f"data/features/{name}.npy"), vectors[:, np.newaxis, np.newaxis])
    run("audit_labels")
    assert pd.read_csv(SUSPECTS).empty
    audit = json.loads(METRICS.read_text())
    assert audit == {"suspects": dict.fromkeys(SPLITS, 0), "accuracy": 1, "accuracy_without_suspects": 1}
    (said,) = describe_labels(audit, {"train": 48, "validation": 24, "test": 24})
    assert states(said, "0 of 72", "0 of 24")
    assert shows_something(PICTURE)


def test_confident_learning_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.4, 0.6], [0.2, 0.8], [0.35, 0.65], [0.7, 0.3]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    thresholds = choose_thresholds(probabilities, labels)
    assert choose_thresholds(np.eye(2), np.array([0, 1])).tolist() == [SURE, SURE] == [0.8, 0.8]
    np.testing.assert_allclose(thresholds, [(0.9 + 0.6 + 0.4) / 3, (0.8 + 0.65 + 0.3) / 3])
    # The second reaches no class's mean; the third and the last reach that of the other class.
    assert find_suspects(probabilities, labels, thresholds).tolist() == [0, 0, 1, 1, 1, 0]
    # The class of the last was in no fold that was learnt from.
    unknown = np.array([[0.9, 0.1, 0], [0.1, 0.9, 0], [0.9, 0.1, 0]])
    labels = np.array([0, 1, 2])
    assert find_suspects(unknown, labels, choose_thresholds(unknown, labels)).tolist() == [0, 1, 2]


def test_neighbours_by_hand():
    """Of nine images three are asked: round(9 ** 0.5). Cosines of square roots, less their mean, decide."""
    rng = np.random.default_rng(0)
    known, labels = rng.normal(size=(9, 4)), np.array([0, 1, 2] * 3)
    others = rng.normal(size=(600, 4))
    roots, asked = (np.sign(values) * abs(values) ** 0.5 for values in (known, others))
    near = 1 - cdist(asked - roots.mean(axis=0), roots - roots.mean(axis=0), "cosine")
    expected = [np.bincount(labels[np.argsort(-row)[:3]], minlength=4) / 3 for row in near]
    np.testing.assert_allclose(ask_neighbours(known, labels, 4, others), expected)


def test_leaving_suspects_out_foretells_no_labels_drawn_by_lot():
    """Were the suspects found with the labels that are held out, it would: 0.55 of 2,000."""
    features, split = draw_set(400, channels=64, apart=0)
    labels, nobody = split["class_index"].to_numpy(), np.zeros(400, bool)
    assert 0.4 < accuracy(predict_out_of_fold(features, split, FOLDS, SEED), labels) < 0.6
    assert 0.4 < accuracy(judge_without_suspects(features, split, nobody), labels) < 0.53


def test_most_wrong_labels_are_suspects_and_none_where_all_are_settled():
    features, split = draw_set(400, channels=32, apart=3)
    truth, nobody = split["class_index"].to_numpy(), np.zeros(400, bool)
    wrong = np.random.default_rng(0).random(400) < 0.15
    split["class_index"] = np.where(wrong, 1 - truth, truth)
    suspects = judge(features, split, nobody).suggested != split["class_index"]
    assert (suspects & wrong).sum() > 0.5 * wrong.sum() and (suspects & ~wrong).sum() < 0.1 * wrong.sum()
    from_all = predict_out_of_fold(features, split, FOLDS, SEED)
    np.testing.assert_array_equal(judge_without_suspects(features, split, ~nobody), from_all)
