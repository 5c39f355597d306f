"""tools.gate holds test metrics to the rules in params.yaml, in a real git and DVC repository."""

import re
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import refused, states, write_predictions
from tools import gate


def write_rules(evaluated: Path, *rules: str, standard_errors: float = 2, against: str = "main") -> None:
    lines = [f"gate:\n  against: {against}\n  standard_errors: {standard_errors}\n  rules:\n"]
    (evaluated / "params.yaml").write_text("".join([*lines, *(f"    - {rule}\n" for rule in rules)]))


def test_a_line_a_rule_with_a_tolerance_for_the_size_of_the_test_split(evaluated, capsys):
    """The standard error of 80 of 100, sqrt(0.8 · 0.2 / 100), is 0.040."""
    write_rules(
        evaluated,
        "head.accuracy at least 0.87",
        "head.accuracy at least 0.9",
        "head.per_class.dog.recall at least 0.7",
        "fine_tuned.loss at most 0.3",
        "augmented.accuracy falls at most 0.01",
    )
    assert not gate.main()
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert len(lines) == 5
    assert [line.split()[0] for line in lines] == ["holds", "FAILS", "holds", "FAILS", "holds"]
    limit, accuracy, error = map(float, re.findall(r"\d+\.\d+", lines[0]))
    assert (limit, accuracy) == (0.87, 0.8) and 0.035 < error < 0.045
    assert all(states(line, 100) for line in lines) and states(lines[4], "main", "0.000")


def test_a_fall_is_measured_on_the_same_images(evaluated, capsys):
    write_predictions(evaluated, wrong=26)
    rules = ["head.accuracy falls at most 0.01", "head.loss rises at most 0.5"]
    write_rules(evaluated, *rules)
    assert not gate.main()
    accuracy, loss = capsys.readouterr().out.splitlines()
    assert states(accuracy, "FAILS", rules[0], "0.060", "main") and states(
        loss, "holds", rules[1], "0.132", "main"
    )
    error = float(re.findall(r"\d+\.\d+", accuracy)[2])
    assert 0.02 < error < 0.028  # of 6 pairs in 100; 0.06 in unpaired images
    write_rules(evaluated, *rules, standard_errors=3)
    assert gate.main()


def test_a_metric_at_its_limit_holds(evaluated, capsys):
    """Though 0.8 - 0.79 is a little more than 0.01."""
    write_predictions(evaluated, wrong=21)
    write_rules(
        evaluated, "head.accuracy falls at most 0.01", "head.accuracy at least 0.79", standard_errors=0
    )
    assert gate.main() and capsys.readouterr().out.count("holds") == 2


@pytest.mark.parametrize(
    "rule, against, facts",
    [
        ("head.accuracy over 0.5", "main", ("gate.rules", "'head.accuracy over 0.5'")),
        (
            "tail.accuracy at least 0.5",
            "main",
            ("'tail.accuracy at least 0.5'", "head", "augmented", "fine_tuned"),
        ),
        ("head.speed at least 0.5", "main", ("'speed'", "accuracy", "loss", "balanced_accuracy")),
        ("head.loss rises at most 0", "absent", ("'absent'", "revision")),
    ],
)
def test_a_rule_that_cannot_be_checked(evaluated, rule, against, facts):
    write_rules(evaluated, rule, against=against)
    with refused(*facts):
        gate.main()


def test_a_class_that_is_new_since_then(evaluated, capsys):
    """Of its images there are none in both, and no curve of a class without images has an area."""
    split = pd.read_csv("data/splits/test.csv")
    fox = pd.DataFrame({"path": ["fox.png"], "label": "fox", "sha256": "f"})
    pd.concat([split, fox]).to_csv("data/splits/test.csv", index=False)
    for model in ("head", "augmented", "fine_tuned"):
        file = f"data/evaluation/{model}_predictions.csv"
        table = pd.read_csv(file).assign(probability_fox=0.0)
        row = fox[["path", "label"]].assign(
            predicted="fox", probability_cat=0, probability_dog=0, probability_fox=1
        )
        pd.concat([table, row]).to_csv(file, index=False)
    write_rules(evaluated, "head.accuracy falls at most 0.01", "head.roc_auc falls at most 0.01")
    with refused("fox", "main", "roc_auc", "cannot be compared"):
        gate.main()
    (line,) = capsys.readouterr().out.splitlines()
    assert states(line, "holds", "did not change", "100 images")
    write_rules(evaluated, "head.roc_auc at least 0.7", "head.per_class.fox.recall at least 1")
    assert gate.main()
