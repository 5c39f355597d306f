"""The model card: its numbers are those of the run, and its diff shows what has changed and nothing else."""

import json
import subprocess
import sys
import zipfile
from difflib import ndiff
from hashlib import sha256
from pathlib import Path
from typing import Any

import keras
import pytest
from markdown_it import MarkdownIt

from stages.model_card.facts import read_model
from stages.model_card.markdown import escape
from stages.shared.network import model_file
from stages.shared.network.conv_base import build
from stages.shared.network.freeze_point import freeze
from stages.shared.pipeline.checksums import seal
from stages.shared.reporting.comparison import describe_difference
from stages.shared.reporting.data import describe_leakage
from stages.shared.reporting.wording import LABELS, MODELS
from stages.shared.training.head import Head, add_head
from tests.conftest import PROJECT, change, refused, run, split_record, states
from tests.models import some_classifier

CARD, WEIGHTS = Path("metrics/model_card.md"), Path("data/weights/conv_base.weights.h5")
ODD = "a|b *c* `d` <e> [f](g) &lt; _h_ \\"
TRAINED = ("train_accuracy", "validation_accuracy", "train_loss", "validation_loss")
JUDGED = ("loss", "balanced_accuracy", "average_precision", "brier_score", "calibration_error")


def write_run(names: list[str]) -> None:
    """Write what the model card reads of a run on images of the classes `names`, every number another."""
    numbers = iter(range(1, 10_000))

    def fraction() -> float:
        return next(numbers) / 997

    def interval() -> list[float]:
        return [fraction(), fraction()]

    two = len(names) == 2
    counts = {split: {name: next(numbers) for name in names} for split in ("train", "validation", "test")}
    excluded = [{"path": f"{ODD}.png", "reason": "is | cut"}]
    write_json("split", split_record(counts, identical_images=2, excluded_images=excluded))
    write_json("leakage", {"test_images": 1})
    evaluation: dict = {}
    Path("data/models").mkdir(parents=True)
    for model in MODELS:
        epochs = {"epoch": next(numbers), **{key: fraction() for key in TRAINED}}
        chosen = {"threshold": fraction(), "validation_accuracy_at_threshold": fraction()} if two else {}
        write_json(model, epochs | chosen)
        found: dict[str, Any] = {
            "accuracy": fraction(),
            "roc_auc": fraction(),
            **{key: fraction() for key in JUDGED},
        }
        found |= {"accuracy_interval": interval(), "roc_auc_interval": interval()}
        found["per_class"] = [
            {
                "class": name,
                **{key: fraction() for key in ("precision", "recall", "f1")},
                "f1_interval": interval(),
            }
            for name in names
        ]
        found["confusion_matrix"] = [[next(numbers) for _ in names] for _ in names]
        found["accuracy_without_near_duplicates"] = fraction()
        found |= {key: fraction() for key in ("temperature", "calibration_error_before", "unlike")}
        if two:
            found |= {"threshold": chosen["threshold"], "accuracy_at_half": fraction()}
        evaluation[model] = found
        write_model(model, f"layer_of_{model}")
    evaluation["differences"] = [
        {"after": "augmented", "before": "head", "corrected": 5, "spoiled": 60, "p_value": 1e-9},
        {"after": "fine_tuned", "before": "head", "corrected": 7, "spoiled": 8, "p_value": 0.9},
    ]
    write_json("evaluation", evaluation)
    WEIGHTS.parent.mkdir()
    WEIGHTS.write_bytes(b"weights")
    seal(WEIGHTS)


def write_json(name: str, content: dict) -> None:
    Path("metrics").mkdir(exist_ok=True)
    Path(f"metrics/{name}.json").write_text(json.dumps(content, ensure_ascii=False))


def write_model(model: str, trained_from: str) -> None:
    layers = [
        {"name": "pixels", "config": {}},
        {"name": "frozen", "config": {"trainable": False}},
        {"name": trained_from, "config": {"trainable": True}},
        {"name": "probability", "config": {"trainable": True}},
    ]
    with zipfile.ZipFile(f"data/models/{model}.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"config": {"layers": layers}}))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("model.weights.h5", b"")


def write_card() -> list[str]:
    run("model_card")
    return CARD.read_text().splitlines()


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def three(*numbers: float) -> list[str]:
    return [f"{number:.3f}" for number in numbers]


def changed(before: list[str], after: list[str]) -> tuple[list[str], list[str]]:
    """Return the lines that went and those that came."""
    lines = list(ndiff(before, after))
    gone, come = ([line[2:] for line in lines if line.startswith(sign)] for sign in ("- ", "+ "))
    return gone, come


@pytest.mark.parametrize("names", [["cat", "dog"], [f"class {i:02}" for i in range(30)]], ids=["two", "many"])
def test_its_numbers_are_those_of_the_run(workspace, names):
    write_run(names)
    card = write_card()
    split = json.loads(Path("metrics/split.json").read_text())
    evaluation = json.loads(Path("metrics/evaluation.json").read_text())
    for pair in evaluation.pop("differences"):
        assert f"- {describe_difference(**pair)}" in card
    images = split["images"]["test"]
    assert f"- {describe_leakage({'test_images': 1}, evaluation, images)}" in card
    for one in split["per_class"]:
        assert row(one["class"], *(str(one[part]) for part in ("train", "validation", "test"))) in card
    for model, found in evaluation.items():
        label = LABELS[model]
        trained = json.loads(Path(f"metrics/{model}.json").read_text())
        assert row(label, f"layer_of_{model}", "float32", "3.15.1", str(trained["epoch"])) in card
        assert row(label, *three(*(trained[key] for key in TRAINED))) in card
        intervals = [
            "{:.3f}, {:.3f} to {:.3f}".format(found[key], *found[f"{key}_interval"])
            for key in ("accuracy", "roc_auc")
        ]
        assert row(label, *intervals) in card
        assert row(label, *three(*(found[key] for key in JUDGED))) in card
        for one in found["per_class"]:
            f1 = "{:.3f}, {:.3f} to {:.3f}".format(one["f1"], *one["f1_interval"])
            assert row(label, one["class"], *three(one["precision"], one["recall"]), f1) in card
        if len(names) == 2:
            at = trained["validation_accuracy_at_threshold"], found["accuracy"], found["accuracy_at_half"]
            assert row(label, f"{found['threshold']:.4f}", *three(*at)) in card
        digest = sha256(Path(f"data/models/{model}.keras").read_bytes())
        assert any(line.endswith(row("", digest.hexdigest())[2:]) for line in card)
    assert any(line.startswith("| model | threshold |") for line in card) == (len(names) == 2)
    assert row(str(WEIGHTS), "23", sha256(WEIGHTS.read_bytes()).hexdigest()) in card
    assert "- `head.units`: 8" in card and "- `split.train`: 7" in card and "- `image_size`: 64" in card


def test_its_limits_follow_from_the_numbers(workspace):
    write_run(["cat", "dog"])
    images = {
        "train": {"cat": 9, "dog": 4},
        "validation": {"cat": 3, "dog": 3},
        "test": {"cat": 5, "dog": 15},
    }
    write_json("split", split_record(images))
    evaluation = json.loads(Path("metrics/evaluation.json").read_text())
    evaluation["augmented"] |= {"accuracy": 0.9, "accuracy_interval": [0.2, 0.75]}
    for model, recall in (("head", 0.5), ("augmented", 0)):
        evaluation[model]["per_class"][1]["recall"] = recall
        evaluation[model]["per_class"][0]["recall"] = 0.25
    write_json("evaluation", evaluation)
    card = write_card()
    for facts in (
        ("Naming every image “cat”", "0.250", "no 95 % interval"),
        ("fewer images to learn from", "“dog”", 4),
        ("fewer test images", "“cat”", 5, "0.200", "recall"),
        ("0.0500 of accuracy", "20 test images", "95 %", "0.550"),
        ("The head misses", "“cat”", "0.250"),
        ("The augmented model misses", "“dog”", "0.000"),
    ):
        (line,) = [line for line in card if line.startswith("- ") and str(facts[0]) in line]
        assert states(line, *facts)


@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16", "float16"])
@pytest.mark.slow
def test_what_a_real_model_says_of_itself(tmp_path, arithmetic):
    base = build("mobilenet", 32, computes_in=arithmetic)
    classifier = add_head(base, Head(pooling="average", units=2, dropout=0), 3, seed=0)
    freeze(classifier, "conv_pw_11_relu")
    model_file.save(some_classifier(classifier, "abc"), tmp_path / "fine_tuned.keras")
    assert read_model(tmp_path / "fine_tuned.keras") == {
        "keras": keras.__version__,
        "arithmetic": arithmetic,
        "trained_from": "conv_pad_12",
    }


def test_odd_names_are_shown_as_they_are(workspace):
    names = [ODD, "two\nlines\u202e", "{{ x }} $y$ **z** https://a_b.c", "_", "~~-~~ # 1. `"]
    write_run(names)
    change(data__labels_from=ODD)
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse("\n".join(write_card()))
    inline = [part for token in tokens if token.type == "inline" for part in token.children or ()]
    assert {part.type for part in inline} == {"text", "code_inline"}
    shown = [
        "".join(part.content for part in token.children or ()) for token in tokens if token.type == "inline"
    ]
    seen = [name.replace("\n", " ").replace("\u202e", "") for name in names]
    cells = shown[shown.index("class") : shown.index("trained from this layer on")]
    assert [text for text in cells if text in seen] == seen
    assert f"Left out: {ODD}.png: is | cut." in shown and f"data.labels_from: {ODD}" in shown
    assert any(text.startswith(f"Classes: “{ODD}”, “two lines”, ") for text in shown)
    assert not any(token.type.startswith("html") for token in tokens)


def test_a_value_that_is_no_text_is_written_as_in_yaml():
    assert [escape(value) for value in (None, True, 3e-05, 20, [1, 2])] == [
        "null",
        "true",
        "3e-05",
        "20",
        r"\[1, 2\]",
    ]


def test_the_same_run_gives_the_same_bytes(workspace):
    write_run(["cat", "dog"])
    write_card()
    before = CARD.read_bytes()
    write_card()
    assert CARD.read_bytes() == before


def test_a_change_shows_in_its_lines_alone(workspace):
    write_run(["cat", "dog"])
    first = write_card()
    change(head__units=16)
    second = write_card()
    assert changed(first, second) == (["- `head.units`: 8"], ["- `head.units`: 16"])
    write_model("head", "elsewhere")
    gone, come = changed(second, write_card())
    assert [line.split(" |")[0] for line in gone] == ["| data/models/head.keras", "| head"]
    assert come[1] == gone[1].replace("layer_of_head", "elsewhere")
    evaluation = json.loads(Path("metrics/evaluation.json").read_text())
    evaluation["augmented"]["per_class"][1]["precision"] = 0.125
    write_json("evaluation", evaluation)
    gone, come = changed(CARD.read_text().splitlines(), write_card())
    assert len(gone) == 1 and come[0].startswith("| augmented | dog | 0.125 | ")


@pytest.mark.parametrize(
    "name, weights, facts",
    [
        ("vgg16", "imagenet", ("ImageNet", "K. Simonyan and A. Zisserman", "CC BY 4.0")),
        ("xception", "imagenet", ("ImageNet", "F. Chollet")),
        ("mobilenet", "imagenet", ("ImageNet",)),
        ("vgg16", "random", ("at random", "not pretrained")),
        ("vgg16", "mine.h5", ("file", "mine.h5")),
    ],
)
def test_where_the_weights_come_from(workspace, name, weights, facts):
    write_run(["cat", "dog"])
    change(conv_base__name=name, conv_base__weights=weights)
    (line,) = [line for line in write_card() if line.startswith("- Conv base: ")]
    assert states(line, name, *facts) and ("Simonyan" in line) == ((name, weights) == ("vgg16", "imagenet"))


def test_the_license_of_the_sample_images(workspace):
    write_run(["cat", "dog"])
    assert not any("CC BY-NC-SA" in line for line in write_card())
    change(data__images="data/raw/elpv")
    assert any("CC BY-NC-SA" in line for line in write_card())


def test_the_hash_of_damaged_weights_is_not_recorded(workspace):
    write_run(["cat", "dog"])
    WEIGHTS.write_bytes(WEIGHTS.read_bytes().replace(b"w", b"v"))
    with refused(WEIGHTS, "damaged"):
        run("model_card")
    assert not Path("metrics/model_card.md").exists()


def test_it_imports_no_tensorflow():
    code = (
        "import sys, stages.model_card.__main__; sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True)
