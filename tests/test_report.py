"""The page that the stage report writes: from a tiny real run whose names are hostile, and in a browser."""

import json
import re
import shutil
import subprocess
from base64 import b64decode
from contextlib import chdir
from html.parser import HTMLParser
from io import BytesIO
from itertools import combinations
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score

from stages.evaluate.predictions import tabulate
from stages.explain.grad_cam import grad_cam, last_maps
from stages.report import examples, results
from stages.report.charts import draw_learning_curves
from stages.report.findings import Findings
from stages.report.next_steps import next_steps
from stages.shared.evaluation.curves import precision_recall_curve, roc_curve
from stages.shared.evaluation.intervals import mcnemar
from stages.shared.evaluation.metrics import evaluate_predictions
from stages.shared.evaluation.predictions import read_predictions
from stages.shared.images.decoding import decode
from stages.shared.images.image_folder import open_folder
from stages.shared.images.opening import opened
from stages.shared.images.reading import read_pixels
from stages.shared.network import model_file
from stages.shared.network.conv_base import build
from stages.shared.network.prediction import predict_classes
from stages.shared.pipeline.json_and_csv import MAP, MEASURES, NEAR_DUPLICATES, SUSPECTS
from stages.shared.pipeline.splits import SPLITS, read_class_names, read_split
from stages.shared.reporting.comparison import describe_accuracies, describe_difference
from stages.shared.reporting.data import describe_data, describe_labels, describe_leakage
from stages.shared.reporting.heat_maps import describe_place, on_image, overlay
from stages.shared.reporting.model_quality import describe_calibration, describe_confusions, describe_curves
from stages.shared.reporting.thumbnails import as_uri
from stages.shared.reporting.wording import MODELS, listed, quoted
from stages.shared.training.head import Head, add_head
from stages.shared.training.history import write_epochs
from tests.browser import CHROMIUM
from tests.conftest import (
    SIZE,
    TINY,
    TRAINED,
    class_folders,
    draw_images,
    image_input,
    place_weights,
    refused,
    run,
    search,
    split_record,
    states,
    write_array,
    write_parameters,
)
from tests.models import some_classifier

LAST_MAPS = {  # of each conv base
    "vgg16": "block5_conv3",
    "vgg19": "block5_conv4",
    "xception": "block14_sepconv2_act",
    "inception_v3": "mixed10",
    "resnet50": "conv5_block3_out",
    "mobilenet": "conv_pw_13_relu",
}
MARKUP = "<svg onload=document.title='hacked'>"
LABELS = [MARKUP, "a&amp;b\u202e", "x" * 60]
FILE = "\"><img src=x onerror=document.title='hacked'>"
PAGE = Path("metrics/report.html")


class Elements(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def reported(build_once, tmp_path_factory, vgg16_weights):
    """The folder of a run of three classes, reported once, of this test process alone."""
    built = build_once("reported", lambda folder: run_and_report(folder, vgg16_weights))
    return shutil.copytree(built, tmp_path_factory.mktemp("own") / "reported", symlinks=True)


def run_and_report(folder: Path, weights: Path) -> None:
    with chdir(folder):
        write_parameters(folder, {**TINY, "image_size": SIZE, "data.labels_from": "images/labels.csv"})
        files = [f"{number}{FILE}.png" for number in range(45)]
        draw_images(folder / "images", files)
        labels = pd.DataFrame({"file": files, "label": np.repeat(LABELS, 15)})
        labels.to_csv("images/labels.csv", index=False)
        place_weights(weights)
        run(*TRAINED, "explain", "report")


@pytest.fixture
def inside(reported, monkeypatch):
    """The same folder, as the working directory."""
    monkeypatch.chdir(reported)
    return reported


def test_the_page_holds_everything_and_nothing_of_others(inside):
    page = PAGE.read_text()
    elements = Elements(page)
    tags = {tag for tag, _ in elements.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form"}
    assert [tag for tag, _ in elements.tags].count("svg") == 1 + 3 + len(
        LABELS
    )  # the map, its marks and classes
    for tag, attributes in elements.tags:
        assert not [name for name in attributes if name.startswith("on")], attributes
        for name in {"src", "href", "srcset", "data", "action"} & set(attributes):
            assert attributes[name].startswith(("data:image/", "#")), attributes
    assert "http://" not in page and "https://" not in page and "@import" not in page
    assert re.findall(r"url\((.{23})", page) == [
        "data:image/webp;base64,"
    ]  # the map's thumbnails, of one sheet
    images = [attributes for tag, attributes in elements.tags if tag == "img"]
    assert len(images) > 30 and all(image["alt"].strip() for image in images)
    for label in LABELS:
        assert label in elements.text
    test = pd.read_csv("data/splits/test.csv")["path"]
    assert sum(path in elements.text for path in test) > 6
    ids = [attributes["id"] for _, attributes in elements.tags if "id" in attributes]
    links = [attributes["href"][1:] for tag, attributes in elements.tags if tag == "a"]
    assert set(links) <= set(ids) and len(ids) == len(set(ids))


def test_the_page_says_what_evaluate_found(inside):
    text = " ".join(Elements(PAGE.read_text()).text.split())
    evaluation = json.loads(Path("metrics/evaluation.json").read_text())
    differences = evaluation.pop("differences")
    for found in evaluation.values():
        low, high = found["accuracy_interval"]
        assert f"{found['accuracy']:.3f} {low:.3f}–{high:.3f}" in text
        assert f"expected calibration error {found['calibration_error']:.3f}" in text
    for pair in differences:
        assert describe_difference(**pair) in text
    leakage = json.loads(Path("metrics/leakage.json").read_text())
    assert describe_leakage(leakage, evaluation, images=12) in text
    label_audit = json.loads(Path("metrics/label_audit.json").read_text())
    for said in describe_labels(label_audit, {"train": 21, "validation": 12, "test": 12}):
        assert said in text
    for _, image in pd.read_csv("data/label_audit/suspects.csv").head(12).iterrows():
        assert f"rather {image['suggested']} ({image['probability_of_suggested']:.3f})?" in text
    assert states(text, "45 images of 3 classes", "21 to learn from", "12 to watch", "12 for the test")


def test_the_first_section_says_what_to_do_next(inside):
    split, leakage, label_audit, foretold, evaluation = (
        json.loads(Path(f"metrics/{name}.json").read_text())
        for name in ("split", "leakage", "label_audit", "learning_curve", "evaluation")
    )
    differences = evaluation.pop("differences")
    histories = {model: pd.read_csv(f"metrics/{model}_curves.csv", index_col="epoch") for model in evaluation}
    steps = next_steps(Findings(split, leakage, label_audit, foretold, evaluation, differences, histories))
    text = " ".join(Elements(PAGE.read_text()).text.split())
    ends = text.index("In short")
    assert 1 <= len(steps) <= 5 and text.index("Data", ends) > ends
    for step in steps:
        assert f"{step.instruction}: {step.evidence}. {step.command or ''}".strip() in text[:ends]


def test_the_map_has_every_image_and_marks_what_the_stages_found(inside):
    elements = Elements(PAGE.read_text())
    images = pd.concat([read_split(Path(f"data/splits/{name}.csv")) for name in SPLITS])
    said = [
        found["aria-label"] for tag, found in elements.tags if tag == "input" and found.get("name") == "image"
    ]
    assert {lines.split("\n")[0] for lines in said} == set(images["path"]) and len(said) == len(images)
    predictions = pd.read_csv("data/evaluation/fine_tuned_predictions.csv")
    wrong = predictions.query("label != predicted")["path"]
    suspects = pd.read_csv("data/label_audit/suspects.csv")["path"]
    for column, paths in (("suspects", suspects), ("errors", wrong)):
        drawn = [tag for tag, found in elements.tags if tag == "use" and found["href"] == f"#mark-{column}"]
        assert len(drawn) == len(paths) + 1  # and in the key
    marked = [lines for lines in said if set(lines.split("\n")[:1]) & {*suspects, *wrong}]
    assert all(lines.count("\n") > 1 for lines in marked) and len(marked) == len({*suspects, *wrong})
    lines = [tag for tag, _ in elements.tags].count("line")
    assert lines == len(pd.read_csv("data/leakage/near_duplicates.csv"))
    assert states(" ".join(elements.text.split()), f"{len(wrong)} test images", "of 45 images")


def test_the_same_run_gives_the_same_bytes(inside):
    before = PAGE.read_bytes()
    run("report")
    assert PAGE.read_bytes() == before


def test_heat_maps_are_of_the_surest_images_of_each_class(inside):
    table = pd.read_csv("data/heat_maps/classes.csv")
    maps = np.load("data/heat_maps/maps.npy")
    classifier = model_file.load(Path("data/models/fine_tuned.keras"))
    images, _ = read_predictions(
        Path("data/evaluation/fine_tuned_predictions.csv"), read_split(Path("data/splits/test.csv"))
    )
    images = images.sort_values(["confidence", "path"], ascending=[False, True]).set_index("path", drop=False)
    shown = images.loc[table["path"].unique()]
    for kind, chosen in images.groupby("right"):
        of_kind = shown[shown["right"] == kind]
        assert len(of_kind) == min(len(chosen), 6)
        for index, members in of_kind.groupby("class_index"):
            surest = chosen[chosen["class_index"] == index].head(len(members))
            assert members.index.tolist() == surest.index.tolist()
    assert (
        shown["right"].is_monotonic_increasing
        and len(maps) == len(table) == len(shown) + (~shown["right"]).sum()
    )
    heat_map = grad_cam(classifier.network)
    for row, (path, name) in enumerate(table.to_numpy()):
        image = images.loc[path]
        pixels = read_pixels(open_folder("images"), image, classifier.image_input)
        expected = heat_map(pixels, classifier.class_names.index(name))
        assert maps.dtype == "float32" and (maps[row] == expected).all()
        assert name in (image["predicted"], image["label"])


def test_heat_maps_of_other_images_end_in_a_sentence(inside):
    file = Path("data/heat_maps/classes.csv")
    before = file.read_text()
    file.write_text(before + "other.png,other\n")
    write_array(
        copy := Path("data/heat_maps/maps.npy"), np.repeat(np.load(copy), 2, axis=0)[: before.count("\n")]
    )
    try:
        with refused(file, "rows", "test split"):
            run("report")
    finally:
        run("explain")
    assert file.read_text() == before


def test_an_image_that_has_changed_ends_in_a_sentence(inside):
    before = PAGE.read_bytes()
    image = Path("images") / pd.read_csv("data/splits/train.csv").sort_values("sha256")["path"].iloc[0]
    pixels = image.read_bytes()
    image.write_bytes(pixels + b"more")
    try:
        with refused(image, "changed"):
            run("report")
    finally:
        image.write_bytes(pixels)
    assert PAGE.read_bytes() == before


def write_run(folder: Path, classes: int, shift: int) -> None:
    """Write what the report reads, as if every model had been sure of the class `shift` after the true one."""
    write_parameters(
        folder,
        {
            **TINY,
            **dict.fromkeys(("split.train", "split.validation", "split.test"), 2),
            "conv_base.name": "mobilenet",
            "conv_base.weights": "random",
        },
    )
    draw_images(folder / "images", class_folders(tuple(f"class {i:02}" for i in range(classes)), each=6))
    run("split_dataset")
    test = read_split(Path("data/splits/test.csv"))
    names = read_class_names(test)
    truth = test["class_index"].to_numpy()
    probabilities = np.roll(np.eye(classes, dtype="float32"), shift, axis=1)[truth]
    Path("metrics/leakage.json").write_text(json.dumps({"test_images": len(test)}))
    Path("metrics/label_audit.json").write_text(json.dumps({"suspects": dict.fromkeys(SPLITS, 0)}))
    Path("data/label_audit").mkdir()
    pd.DataFrame(columns=list(SUSPECTS)).to_csv("data/label_audit/suspects.csv", index=False)
    Path("data/leakage").mkdir()
    pd.DataFrame(columns=list(NEAR_DUPLICATES)).to_csv("data/leakage/near_duplicates.csv", index=False)
    Path("data/map/thumbnails").mkdir(parents=True)
    places = test.assign(split="test", x=0.5, y=np.linspace(0, 1, len(test)), sheet=0, column=0, row=0)
    places[list(MAP)].to_csv("data/map/places.csv", index=False)
    Image.new("RGB", (64, 64)).save("data/map/thumbnails/0.webp")
    band = {"low": 0.6, "high": 0.8}
    sizes = (25, 51, 101, 202, 404, 808)
    foretold = {
        "images": 202,
        "on_the_curve": 0.71,
        "twice": {"images": 404, "accuracy": 0.72, "interval": [0.6, 0.8]},
        "half_the_errors": {"accuracy": 0.86, "images": None, "at_most": None, "out_of_reach": True},
        "per_class": [{"class": name, "recall": 0.7, "twice": 0.73} for name in names],
        "points": [
            {"images": n, "curve": 0.7, **band} | ({"accuracy": 0.7} if n < 400 else {}) for n in sizes
        ],
    }
    Path("metrics/learning_curve.json").write_text(json.dumps(foretold))
    threshold = 0.5 if classes == 2 else None
    evaluation = {}
    tables = Path("data/evaluation")
    for model in MODELS:
        evaluation[model] = evaluate_predictions(truth, probabilities, names, threshold)
        evaluation[model] |= {"temperature": 1.5, "calibration_error_before": 0.25, "unlike": 0.125}
        predictions = tabulate(test, predict_classes(probabilities, threshold), probabilities, names)
        tables.mkdir(parents=True, exist_ok=True)
        predictions.to_csv(tables / f"{model}_predictions.csv", index=False)
        roc_curve(truth, probabilities).to_csv(tables / f"{model}_roc.csv", index=False)
        history = pd.DataFrame([[0.5] * 4], columns=MEASURES)
        write_epochs(history, 1, Path(f"metrics/{model}.json"), Path(f"metrics/{model}_curves.csv"))
    same = mcnemar(np.ones(len(truth), bool), np.ones(len(truth), bool))
    pairs = combinations(MODELS, 2)
    evaluation["differences"] = [{"after": after, "before": before, **same} for before, after in pairs]
    Path("metrics/evaluation.json").write_text(json.dumps(evaluation))
    head = Head(pooling="average", units=4, dropout=0.5)
    classifier = add_head(build("mobilenet", 32), head, classes, seed=0)
    model_file.save(some_classifier(classifier, names, threshold), Path("data/models/fine_tuned.keras"))


@pytest.mark.slow
def test_no_wrong_image_and_equal_models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path, classes=2, shift=0)
    run("explain", "report")
    text = " ".join(Elements(PAGE.read_text()).text.split())
    assert text.count("all 4 test images right") == 3
    assert text.count("No test image is wrong") == 4  # of three models, and among the heat maps
    assert states(text, 404, "0.710", "0.720", "0.860", "will not get there", quoted("class 00"))
    assert states(text, "The fine-tuned model and the head got the same images")
    assert states(text, "the head, the augmented model and the fine-tuned model", quoted("class 01"))


@pytest.mark.slow
@pytest.mark.parametrize("classes", [20, 31])
def test_many_classes_and_no_right_image(classes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path, classes, shift=1)
    run("explain", "report")
    elements = Elements(PAGE.read_text())
    text = " ".join(elements.text.split())
    assert text.count(f"{2 * classes} of {2 * classes} test images wrong; most often") == 3
    assert "No test image is right" in text and "No test image is wrong" not in text
    matrices = [tag for tag, attributes in elements.tags if attributes.get("class") == "matrix"]
    assert len(matrices) == (3 if classes == 20 else 0)
    if CHROMIUM and classes == 20:
        assert measure_on_a_phone(PAGE) == "390,390,0"


@pytest.mark.parametrize(
    "counts, facts",
    [
        ((14, 6, 0.115), ("Fine-tuning", 14, 6, "the augmented model", "p = 0.12", "no evidence")),
        ((1, 2000, 1e-9), ("1 image", "2,000", "p < 0.001", "evidence", "the fine-tuned model is worse")),
        ((9, 0, 0.0039), (9, 0, "p = 0.0039", "evidence", "the fine-tuned model is better")),
        ((0, 0, 1.0), ("fine-tuned model", "augmented model", "same images")),
    ],
)
def test_sentence_on_a_difference(counts, facts):
    said = describe_difference("fine_tuned", "augmented", *counts)
    assert states(said, *facts) and ("no evidence" in said) == ("no evidence" in facts)


@pytest.mark.parametrize(
    "lows, above",
    [
        ((0.6, 0.6, 0.6), ("all 95 % intervals",)),
        ((0.6, 0.6, 0.4), ("the head and the augmented model only",)),
        ((0.4, 0.4, 0.6), ("the fine-tuned model only",)),
        ((0.4, 0.4, 0.4), ("no 95 % interval",)),
    ],
)
def test_sentences_on_accuracies(lows, above):
    measured = {
        model: {"accuracy": accuracy, "accuracy_interval": [low, 0.9]}
        for model, accuracy, low in zip(MODELS, (0.75, 0.7, 0.75), lows, strict=True)
    }
    best, baseline = describe_accuracies(measured, "cat", 0.5, 1200)
    assert states(
        best, "0.750", "900 of 1,200", f"{lows[0]:.3f} to 0.900", "the head and the fine-tuned model"
    )
    assert states(baseline, quoted("cat"), "0.500", *above)


def test_sentences_on_data():
    part = {"cat": 2, "dog": 3}
    counts = {"train": {"cat": 1000, "dog": 2500}, "validation": part, "test": part}
    broken = {"path": "broken.png", "reason": "not an image"}
    cat, dog = map(quoted, part)
    images, balance, identical, excluded = describe_data(
        split_record(counts, identical_images=1, excluded_images=[broken])
    )
    assert states(images, "3,510 images", "2 classes", "3,500 to learn from", "5 to watch", "5 for the test")
    assert states(balance, f"largest class, {dog}", "2.50 times", f"smallest, {cat}")
    assert states(identical, "1 image", "byte") and states(excluded, "1 broken file")
    counts["train"]["dog"] = 1000
    groups = {"train": 1200, "validation": 1, "test": 2}
    across = {"sets of identical images": [["train: a.png", "test: b.png"]], "groups": []}
    _, balance, grouped, given, crossing = describe_data(
        split_record(counts, groups=groups, across_splits=across)
    )
    assert states(balance, "All classes", "same number")
    assert states(grouped, "1,200 in train", "1 in validation", "2 in test")
    assert states(given, "came with", "drawn from training")
    assert states(crossing, "Sets of identical images", "more than one split: 1")


def test_sentence_on_near_duplicates():
    measured = {
        model: {"accuracy_without_near_duplicates": accuracy}
        for model, accuracy in zip(MODELS, (0.75, 0.5, 0.8125), strict=True)
    }
    none, one, some, all_of_them = (
        describe_leakage({"test_images": found}, measured, 1200) for found in (0, 1, 300, 1200)
    )
    accuracies = ("head 0.750", "augmented 0.500", "fine-tuned 0.812")
    assert states(none, "No test image", "near-duplicate") and "others" not in none
    assert states(one, "1 of 1,200 test images", "has", "near-duplicate", *accuracies)
    assert states(some, "300 of 1,200 test images", "have", "near-duplicate", *accuracies)
    assert states(all_of_them, "1,200 of 1,200 test images", "near-duplicate") and "0." not in all_of_them


def test_sentences_on_a_model():
    cat, dog = map(quoted, ("cat", "dog"))
    said = describe_confusions("head", np.array([[3, 1], [2, 4]]), ["cat", "dog"])
    assert states(said, "The head", "3 of 10 test images wrong", "most often", f"{dog} for {cat}", "2 of 6")
    said = describe_confusions("head", np.array([[3, 1], [0, 4]]), ["cat", "dog"])
    assert states(said, "The head", "1 of 8 test images wrong", "all", f"{cat} taken for {dog}")
    found = {"calibration_error": 0.1, "brier_score": 0.2}
    for confidence, verdict in (
        (0.9, "0.100 more sure"),
        (0.75, "0.050 less sure"),
        (0.804, "about as sure"),
    ):
        bins = {
            "images": [30, 10],
            "confidence": [confidence - 0.1, confidence + 0.3],
            "accuracy": [0.7, 1.1],
        }
        said = describe_calibration("head", found, pd.DataFrame(bins))
        assert states(said, verdict, f"confidence {confidence:.3f}", "accuracy 0.800", "0.100", "0.200")


def test_a_training_that_diverged():
    columns = [f"{split}_{kind}" for split in ("train", "validation") for kind in ("accuracy", "loss")]
    columns += [f"{name}_smoothed" for name in columns]
    history = pd.DataFrame([[0.5] * 8, [0.25] * 8, [np.nan] * 8], index=[1, 2, 3], columns=columns)
    said = describe_curves("head", history)
    assert states(said, "Head", "lowest, 0.250", "epoch 2 of 3")
    assert draw_learning_curves({"head": history})["head"].startswith("data:image/svg+xml;base64,")


def test_names_in_a_row():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(list("abcdefgh")) == "a, b, c, d, e and 3 more"


@pytest.mark.parametrize("classes", [2, 3])
def test_precision_recall_curve_has_the_area_that_is_reported(classes):
    rng = np.random.default_rng(classes)
    truth = np.repeat(np.arange(classes), 7)
    probabilities = rng.dirichlet(np.ones(classes), len(truth)).round(1).astype("float32")  # with ties
    curve = precision_recall_curve(truth, probabilities)
    expected = average_precision_score(
        np.eye(3, dtype=int)[truth][:, :classes], probabilities, average="macro"
    )
    assert np.trapezoid(curve["precision"], curve["recall"]) == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, classes, pooling, computes_in",
    [
        ("vgg16", 2, "average", "bfloat16"),
        ("vgg19", 3, "flatten", "float32"),
        ("xception", 2, "average", "float32"),
        ("inception_v3", 3, "flatten", "float32"),
        ("resnet50", 2, "average", "float32"),
        ("mobilenet", 3, "flatten", "bfloat16"),
    ],
)
def test_heat_maps_of_every_base(name, classes, pooling, computes_in):
    """Of a head that adds everything up, with the same slope for every feature map."""
    base = build(name, 96, computes_in=computes_in)
    classifier = add_head(base, Head(pooling=pooling, units=4, dropout=0.5), classes, seed=0)
    dense, scores = classifier.get_layer("dense"), classifier.get_layer("scores")
    dense.set_weights([np.ones_like(weights) for weights in dense.get_weights()])
    slopes = np.zeros((4, 1 if classes == 2 else 3), "float32")
    slopes[:, -1] = 1
    scores.set_weights([slopes, np.zeros(slopes.shape[1], "float32")])
    last = last_maps(classifier)
    assert last == LAST_MAPS[name]
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype("uint8")
    maps = keras.Model(base.input, base.get_layer(last).output)(pixels[np.newaxis].astype("float32"))
    total = keras.ops.convert_to_numpy(maps).astype("float32")[0].sum(axis=-1)
    digits = 1e-2 if computes_in == "bfloat16" else 1e-5
    assert grad_cam(classifier)(pixels, classes - 1) == pytest.approx(total / total.max(), abs=digits)
    assert not grad_cam(classifier)(pixels, 0).any()


def test_a_heat_map_lies_where_the_class_is():
    """A model that sees red for class 1, and blue for class 0."""
    pixels = keras.Input((32, 32, 3))
    maps = keras.layers.AveragePooling2D(8, name="maps")(pixels)
    hidden = keras.layers.GlobalAveragePooling2D(name="pooling")(maps)
    scores = keras.layers.Dense(1, activation="sigmoid", name="scores")
    classifier = keras.Model(pixels, scores(hidden))
    scores.set_weights([np.array([[1.0], [0.0], [-1.0]]), np.array([50.0])])  # sigmoid at its very end
    image = np.zeros((32, 32, 3), "uint8")
    image[:8, :8, 0], image[24:, 16:24, 2] = 255, 255
    blue, red = (grad_cam(classifier)(image, index) for index in (0, 1))
    assert np.argwhere(red).tolist() == [[0, 0]] and np.argwhere(blue).tolist() == [[3, 2]]
    assert describe_place(red) == "strongest at the upper left"
    assert describe_place(blue) == "strongest at the lower centre"
    nothing = grad_cam(classifier)(np.zeros_like(image), 1)
    assert not nothing.any() and describe_place(nothing) == "nothing in the image speaks for it"
    assert overlay(image, on_image(red, 32, 32, image_input())) != overlay(image, np.zeros((32, 32)))


@pytest.mark.parametrize(
    "fit, size, lit",
    [
        ("squash", (96, 64), (0, 48, 0, 32)),
        ("crop", (96, 64), (16, 48, 0, 32)),
        ("crop", (64, 96), (0, 32, 16, 48)),
        ("pad", (128, 64), (0, 64, 0, 32)),
    ],
)
def test_a_heat_map_lies_on_the_photo_where_the_network_saw_it(fit, size, lit):
    """Of a map whose upper left quarter is hot."""
    heat = np.zeros((32, 32), "float32")
    heat[:16, :16] = 1
    width, height = size
    placed = on_image(heat, width, height, image_input(fit=fit))
    assert placed.shape == (height, width)
    expected = np.zeros((height, width))
    left, right, upper, lower = lit
    expected[upper:lower, left:right] = 1
    assert ((placed > 0.38) == expected).all()  # between cells it falls from 1 to 0, at corners in both ways


def test_what_the_network_did_not_see_has_no_heat():
    placed = on_image(np.ones((4, 4), "float32"), 40, 20, image_input(fit="crop"))
    assert (placed[:, 10:30] == 1).all() and placed.sum() == 20 * 20


def test_the_heat_of_the_border_around_a_photo_is_cut_away():
    heat = np.ones((4, 4), "float32")
    heat[1:3] = 0  # where a photo twice as wide as high lies
    placed = on_image(heat, 40, 20, image_input(fit="pad"))
    assert not placed[5:15].any() and placed.max() < 0.5  # halfway to the border's cells at its edges


def browse(page: Path, *options: str) -> subprocess.CompletedProcess:
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *options]
    return subprocess.run([*command, page.absolute().as_uri()], capture_output=True, text=True, timeout=60)


def measure_on_a_phone(page: Path) -> str:
    """Return the width of the page, that of its window, 390 pixels, and the number of broken images.

    The page lets no script run, so that a copy without this rule is measured, in a frame: Chromium's
    own windows are not as narrow.
    """
    copy, frame = page.with_name("copy.html"), page.with_name("frame.html")
    copy.write_text(
        re.sub("<meta http-equiv=.*", "", page.read_text())
        + "<script>onload = () => document.title = [document.documentElement.scrollWidth, innerWidth, "
        "[...document.images].filter(image => !image.naturalWidth).length]</script>"
    )
    frame.write_text(
        f'<iframe src="{copy.name}" width="390" height="800" style="border: 0"></iframe>'
        "<script>onload = () => document.title = frames[0].document.title</script>"
    )
    shown = browse(frame, "--dump-dom", "--allow-file-access-from-files")
    return search("<title>(.*?)</title>", shown.stdout)[1]


def test_thumbnails_do_not_carry_comments():
    """A GIF's may be longer than a JPEG's, which ended the report."""
    file = BytesIO()
    Image.new("P", (8, 8)).save(file, "GIF", comment=b"a secret" * 10_000)
    with opened(file.getvalue()) as read:
        _, _, encoded = as_uri(decode(read, white_16_bit=65535)).partition(",")
    assert b"secret" not in b64decode(encoded)


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_in_a_browser_nothing_runs_and_nothing_is_wider_than_a_phone(inside):
    shown = browse(PAGE, "--dump-dom", "--enable-logging=stderr")
    assert "CONSOLE" not in shown.stderr
    assert "<title>Freezepoint: report of a run</title>" in shown.stdout
    assert measure_on_a_phone(PAGE) == "390,390,0"


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_both_colour_schemes(inside):
    brightness = []
    for scheme in (1, 0):  # Blink's numbers for light and dark
        browse(PAGE, f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={inside / 'shot.png'}")
        brightness.append(np.asarray(Image.open("shot.png").convert("L")).mean())
    assert brightness[0] > 200 and brightness[1] < 60


def test_which_images_are_wrong_and_uncertain(monkeypatch):
    """Uncertain is what is near the threshold, on either side."""
    monkeypatch.setattr(examples, "thumbnail", lambda image, *_: image["path"])
    dog = np.array([0.95, 0.70, 0.66, 0.50, 0.05, 0.90], "float32")
    probabilities, truth = np.column_stack([1 - dog, dog]), np.array([1, 1, 1, 0, 0, 0])
    predicted = (dog > 0.68).astype(int)
    images = pd.DataFrame(
        {
            "path": list("abcdef"),
            "class_index": truth,
            "confidence": probabilities[np.arange(6), predicted],
            "right": predicted == truth,
        }
    )
    found = {
        "threshold": 0.68,
        "confusion_matrix": [[2, 1], [1, 2]],
        "per_class": [{"f1": 0.6}],
        "brier_score": 0.2,
        "calibration_error": 0.1,
    }
    columns = [f"{split}_{figure}" for split in ("train", "validation") for figure in ("accuracy", "loss")]
    history = pd.DataFrame(0.5, index=[1], columns=columns)
    found |= {"temperature": 1.5, "calibration_error_before": 0.25, "unlike": 0.125}
    result = results.Result(found, images, probabilities, pd.DataFrame(), history)
    described = results.describe("head", result, ["cat", "dog"], open_folder("images"), 65535)
    assert [image["path"] for image in described["wrong"]] == ["f", "c"]
    assert [image["path"] for image in described["uncertain"]] == ["b", "c", "d", "f", "a", "e"][
        : examples.SHOWN
    ]
