"""What the report says to do next, from made metrics of many shapes."""

import re
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from stages.report.findings import FEWEST, Findings
from stages.report.next_steps import MOST, STEPS, next_steps
from stages.shared.evaluation.intervals import even_chances, mcnemar, wilson
from stages.shared.evaluation.metrics import measure_classes
from stages.shared.pipeline.splits import SPLITS
from stages.shared.reporting.wording import MODELS, quoted
from tests.conftest import split_record, states


def made(
    *matrices: list[list[int]],
    learnt: tuple[int, ...] = (300, 300),
    alike: tuple[int, int] = (0, 0),
    suspects: int = 0,
    curve: dict | None = None,
    differences: dict[tuple[str, str], tuple[int, int]] | None = None,
    history: dict | None = None,
    error: float = 0.01,
) -> Findings:
    """Return findings, by default of three equal models and a curve that rises.

    `matrices` are the confusion matrix of each model, or one of all; `alike` the test images with a near-duplicate,
    and how many of them are right; `differences` the images that were corrected and spoiled from one model to another.
    """
    matrices = matrices or ([[270, 30], [30, 270]],)
    confusions = dict(zip(MODELS, matrices if len(matrices) > 1 else 3 * matrices, strict=True))
    names = [f"class {index}" for index in range(len(learnt))]
    counts = np.array(confusions["head"]).sum(axis=1).tolist()
    images = sum(counts)
    measured = {}
    for model, matrix in confusions.items():
        right = int(np.trace(matrix))
        without = (right - alike[1]) / (images - alike[0]) if alike[0] < images else None
        measured[model] = {
            "accuracy": right / images,
            "accuracy_interval": wilson(right, images),
            "accuracy_without_near_duplicates": without,
            "calibration_error": error,
            "per_class": measure_classes(np.array(matrix), names),
            "confusion_matrix": matrix,
        }
    per_split = {"train": learnt, "validation": learnt, "test": counts}
    pairs = [
        {
            "after": after,
            "before": before,
            "corrected": gained,
            "spoiled": lost,
            "p_value": even_chances(gained, lost),
        }
        for before, after in combinations(confusions, 2)
        for gained, lost in [(differences or {}).get((before, after), (0, 0))]
    ]
    flat = {f"{part}_{kind}": [0.9, 0.9] for part in ("train", "validation") for kind in ("accuracy", "loss")}
    epochs = pd.DataFrame(flat | (history or {}))
    return Findings(
        split_record({part: dict(zip(names, sizes, strict=True)) for part, sizes in per_split.items()}),
        {"test_images": alike[0]},
        {
            "suspects": {**dict.fromkeys(SPLITS, 0), "train": suspects},
            "accuracy": 0.9,
            "accuracy_without_suspects": 0.95,
        }
        if suspects
        else {"suspects": dict.fromkeys(SPLITS, 0)},
        {"images": sum(learnt)} | (foretold(0.85, low=0.82) if curve is None else curve),
        measured,
        pairs,
        dict.fromkeys(confusions, epochs.join(epochs.add_suffix("_smoothed"))),
    )


def foretold(
    twice: float, low: float, images: int | None = 900, out_of_reach: bool = False, gain: float = 0.0
) -> dict:
    """Return a learning curve that is at 0.8, and foretells `twice`; its band begins at `low`."""
    return {
        "on_the_curve": 0.8,
        "twice": {"images": 1200, "accuracy": twice, "interval": [low, 0.95]},
        "half_the_errors": {"accuracy": 0.9, "images": images, "at_most": None, "out_of_reach": out_of_reach},
        "per_class": [
            {"class": "class 0", "recall": 0.8, "twice": 0.8},
            {"class": "class 1", "recall": 0.7, "twice": 0.7 + gain},
        ],
    }


def said(found: Findings) -> dict[str, str]:
    """Return what each step that is taken says, by the name of its function, in order, however many there are."""
    steps = {say.__name__: say(found) for say in STEPS}
    return {name: " ".join(filter(None, step)) for name, step in steps.items() if step}


def test_a_calm_run_has_two_steps():
    found = said(made())
    assert list(found) == ["take_a_model", "photograph"]
    assert states(found["take_a_model"], "Use the head", "no evidence", "0 corrected, 0 spoiled, p = 1")
    assert states(found["photograph"], "0.800 to 0.850", "0.820 to 0.950", "1,200", "tools.select")


def test_five_at_most_in_the_order_of_their_rank():
    """Of a run with every fault at once: what the other numbers rest on comes first."""
    overfitted = {"train_accuracy": [0.9, 1.0], "validation_accuracy": [0.7, 0.7]}
    weak = [[5, 25], [1, 29]]
    found = made(
        weak,
        learnt=(20, 300),
        alike=(30, 30),
        suspects=9,
        curve=foretold(0.81, 0.7, None),
        differences={("head", "augmented"): (0, 9)},
        history=overfitted,
        error=0.4,
    )
    steps = next_steps(found)
    ranked = said(found)
    assert list(ranked) == [
        "review_labels",
        "separate_near_duplicates",
        "take_a_model",
        "add_test_images",
        "try_another_base",
        "change_augmentation",
        "help_the_weakest_class",
        "train_longer_or_less",
        "mistrust_probabilities",
    ]
    assert [" ".join(filter(None, step)) for step in steps] == list(ranked.values())[:MOST]


@pytest.mark.parametrize(
    "differences, taken, facts",
    [
        ({}, "the head", ("no evidence", "augmented training", "fine-tuning")),
        (
            {("head", "fine_tuned"): (29, 17)},
            "the head",
            ("29 corrected, 17 spoiled, p = 0.1", "no evidence"),
        ),
        (
            {("head", "augmented"): (30, 5)},
            "the augmented model",
            ("better than the head", "30 corrected", "fine-tuning"),
        ),
        (
            {("head", "augmented"): (5, 30)},
            "the head",
            ("no evidence of a gain by augmented training", "30 spoiled"),
        ),
        (
            {("head", "fine_tuned"): (40, 9), ("augmented", "fine_tuned"): (20, 12)},
            "the fine-tuned model",
            (
                "better than the head",
                "40 corrected",
                "no evidence that it is better than the augmented model",
            ),
        ),
        (
            {("head", "augmented"): (30, 5), ("augmented", "fine_tuned"): (30, 5)},
            "the fine-tuned model",
            ("better than the augmented model", "no evidence that it is better than the head"),
        ),
        ({("augmented", "fine_tuned"): (30, 5)}, "the head", ("fine-tuning (0 corrected",)),
    ],
)
def test_a_dearer_model_takes_evidence(differences, taken, facts):
    assert states(said(made(differences=differences))["take_a_model"], f"Use {taken}", *facts)


def test_no_model_that_is_no_better_than_one_answer():
    found = said(made([[10, 90], [30, 270]], learnt=(100, 300)))
    assert states(found["take_a_model"], "Use no model", quoted("class 1"), "0.750", "0.700", "no evidence")


@pytest.mark.parametrize(
    "pair, which",
    [(("augmented", "fine_tuned"), "change_fine_tuning"), (("head", "augmented"), "change_augmentation")],
)
def test_techniques_that_paid_or_did_harm(pair, which):
    assert which not in said(made(differences={pair: (12, 8)}))
    more, less = (said(made(differences={pair: changes}))[which] for changes in ((32, 12), (12, 32)))
    assert states(more, "32 corrected, 12 spoiled") and states(less, "12 corrected, 32 spoiled")
    assert re.search("lower layer|more views", more) and re.search("gently|mildly", less)


def test_labels():
    assert states(
        said(made(suspects=9))["review_labels"], "9 of 1,200", "0.950", "0.900", "do harm", "make review"
    )
    found = made(suspects=9)
    found.label_audit["accuracy_without_suspects"] = 0.85
    assert "harm" not in said(found)["review_labels"]


@pytest.mark.parametrize(
    "alike, harm",
    [
        ((0, 0), False),
        ((1, 1), False),
        ((300, 272), False),
        ((300, 290), True),
        ((300, 250), False),
        ((600, 540), True),
    ],
)
def test_near_duplicates_on_which_a_model_is_better(alike, harm):
    """Of 600 test images the models got 540 right; 272 of 300 is chance, and 250 no leak."""
    assert ("separate_near_duplicates" in said(made(alike=alike))) == harm


def test_groups_that_are_there_already():
    found = made(alike=(300, 290))
    found.split["groups"] = dict.fromkeys(SPLITS, 9)
    assert states(
        said(found)["separate_near_duplicates"], "300 of 600", "0.967", "0.833", "p < 0.001", "widen"
    )


@pytest.mark.parametrize(
    "curve, photograph, base",
    [
        ({}, ("600 are too few",), ()),
        (foretold(0.85, 0.82), ("0.820",), ()),
        (foretold(0.85, 0.82, gain=0.1), (quoted("class 1"), "0.700 to 0.800"), ()),
        (foretold(0.85, 0.8), (), ("may bring nothing", "0.800 to 0.850")),
        (foretold(0.85, 0.82, None), ("0.820",), ("more than 100 times", "0.900")),
        (foretold(0.81, 0.7, None, True), (), ("will not halve", "0.900", "tools.bases")),
    ],
)
def test_more_images_or_another_base(curve, photograph, base):
    found = said(made(curve=curve))
    for name, facts in (("photograph", photograph), ("try_another_base", base)):
        assert (name in found) == bool(facts) and states(found.get(name, ""), *facts)


def test_a_test_that_tells_too_little():
    assert "add_test_images" not in said(made())
    small = said(made([[27, 3], [3, 27]]))["add_test_images"]
    assert states(small, 60, "0.799", "0.953", 150) and np.ptp(wilson(135, 150)) <= 0.1 < np.ptp(
        wilson(126, 140)
    )
    easy = said(made([[300, 0], [FEWEST - 1, 295]]))
    assert states(easy["add_test_images"], "got 5 of 600 wrong", "fewer than 6", "cameras")
    assert "try_another_base" not in easy and even_chances(FEWEST, 0) <= 0.05 < even_chances(FEWEST - 1, 0)


def test_the_weakest_class():
    weak = [[60, 40, 0], [5, 93, 2], [0, 2, 98]]
    rarer = said(made(weak, learnt=(100, 300, 300)))["help_the_weakest_class"]
    assert states(rarer, quoted("class 0"), "60 of its 100", "0.600", "0.955", "head.class_weights=balanced")
    alike = said(made(weak, learnt=(300, 300, 300)))["help_the_weakest_class"]
    assert (
        states(alike, quoted("class 0"), f"40 are taken for {quoted('class 1')}") and "weights" not in alike
    )
    chance = [[90, 5, 5], [2, 96, 2], [2, 2, 96]]
    assert "help_the_weakest_class" not in said(made(chance, learnt=(100, 300, 300)))


@pytest.mark.parametrize(
    "history, facts",
    [
        ({"validation_loss": [0.5, 0.4]}, ("more epochs", "0.400", "head.epochs=4")),
        ({"validation_loss": [0.5, 0.499]}, ()),
        ({"validation_loss": [0.4, 0.5]}, ()),
        ({"validation_loss": [0.4, np.nan]}, ()),
        ({"validation_loss": [np.nan, np.nan], "train_accuracy": [0.9, 0.99]}, ()),
        ({"train_accuracy": [0.9, 0.99]}, ("0.990", "0.900", "head.dropout")),
        ({"train_accuracy": [0.9, 0.94]}, ()),
    ],
)
def test_trainings_that_ended_too_early_or_learnt_by_heart(history, facts):
    found = said(made(history=history))
    assert ("train_longer_or_less" in found) == bool(facts)
    assert states(found.get("train_longer_or_less", ""), *facts)


def test_what_is_no_longer_said_of_few_images():
    """A gap or a calibration error that few images explain."""
    few = [[9, 1], [1, 9]]
    history = {"train_accuracy": [0.9, 0.99]}
    assert "mistrust_probabilities" in said(made(error=0.1))
    found = said(made(few, learnt=(10, 10), history=history, error=0.1))
    assert not {"mistrust_probabilities", "train_longer_or_less"} & set(found)


def test_any_run_has_from_one_to_five_steps_with_figures():
    rng = np.random.default_rng(0)
    taken = set()
    for _ in range(400):
        found = draw_findings(rng)
        steps = next_steps(found)
        assert 1 <= len(steps) <= MOST and any(step.instruction.startswith("Use ") for step in steps)
        assert len({step.instruction for step in steps}) == len(steps)
        for step in steps:
            assert re.search(r"\d", step.evidence) and not step.evidence.endswith(".")
            assert not re.search(r"\b(nan|inf|None|-\d)", f"{step.instruction} {step.evidence}")
        taken |= set(said(found))
    assert taken == {say.__name__ for say in STEPS}


def draw_findings(rng: np.random.Generator) -> Findings:
    """Return findings of two to twelve classes, of one image or of hundreds, and of any quality."""
    classes = int(rng.integers(2, 13))
    each = rng.integers(1, rng.choice([2, 10, 300]), classes, endpoint=True)
    truth = np.repeat(np.arange(classes), each)
    confusions, right = {}, {}
    for model in MODELS:
        wrong = rng.random(len(truth)) < rng.choice([0, 0.02, 0.3, 1])
        predicted = np.where(wrong, rng.integers(0, classes, len(truth)), truth)
        right[model] = predicted == truth
        confusions[model] = (
            np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, -1).tolist()
        )
    differences = {}
    for before, after in combinations(MODELS, 2):
        pair = mcnemar(right[before], right[after])
        differences[before, after] = (pair["corrected"], pair["spoiled"])
    near = rng.random(len(truth)) < rng.choice([0, 0.01, 0.5, 1])
    curve = foretold(
        0.85,
        rng.choice([0.7, 0.82]),
        None if rng.integers(2) else 900,
        bool(rng.integers(2)),
        rng.choice([0, 0.1]),
    )
    history = {
        name: rng.random(2).tolist() for name in ("train_accuracy", "validation_accuracy", "validation_loss")
    }
    history["train_loss"] = rng.choice([np.nan, 0.5], 2).tolist()
    found = made(
        *confusions.values(),
        learnt=tuple(rng.integers(1, 500, classes).tolist()),
        alike=(int(near.sum()), 0),
        suspects=int(rng.choice([0, 1, 40])),
        curve=curve if rng.integers(3) else {},
        differences=differences,
        history=history,
        error=float(rng.random() / 5),
    )
    for model in MODELS:
        found.measured[model]["accuracy_without_near_duplicates"] = (
            None if near.all() else right[model][~near].mean()
        )
    return found
