"""The learning curve: nested subsets, a law that is found again, and what the sentences say of it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.learning_curve.__main__ import foretell, foretell_classes
from stages.learning_curve.power_law import fit, fit_curves
from stages.learning_curve.subsets import DRAWS, halve, order, take
from stages.shared.probe.linear_probe import fit_probe
from stages.shared.reporting.more_images import describe_more_images
from tests.conftest import run, shows_something, states, write_set

SIZES = (25, 50, 100, 200, 400, 800)


def table(limit: float, scale: float, exponent: float, scatter: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Return what measure_subsets would give where accuracy follows a law, with a scatter between draws."""
    rng = np.random.default_rng(seed)
    rows = [
        {"draw": draw, "images": n, "accuracy": limit - scale * n**-exponent + scatter * rng.normal()}
        for n in SIZES
        for draw in range(DRAWS if n < SIZES[-1] else 1)
    ]
    return pd.DataFrame(rows).assign(**{"0": 0.9}).rename(columns={"0": 0})


def said_of(measured: pd.DataFrame) -> tuple[dict, list[str]]:
    content = foretell(measured, fit_curves(measured, "accuracy"))
    content |= {"images": SIZES[-1], "per_class": foretell_classes(measured, ["cat"])}
    return content, describe_more_images(content)


def test_subsets_are_nested_and_have_all_classes_in_their_shares(workspace):
    split, _ = write_set(3, train=300)
    counts = halve(split)
    assert [half.tolist() for half in counts] == [[n] * 3 for n in (100, 50, 25, 13, 7)]
    subsets = [take(split, order(split, 1), half) for half in counts]
    for larger, smaller, half in zip(subsets, subsets[1:], counts[1:], strict=False):
        assert set(smaller) < set(larger)
        assert np.bincount(split["class_index"][smaller]).tolist() == half.tolist()
    other = take(split, order(split, 2), counts[1])
    assert set(other) != set(subsets[1])
    shuffled = split.sample(frac=1, random_state=0).assign(path="other").reset_index(drop=True)
    again = take(shuffled, order(shuffled, 1), counts[1])
    assert set(shuffled["sha256"][again]) == set(split["sha256"][subsets[1]])


def test_groups_come_one_after_the_other():
    split = pd.DataFrame({"class_index": 0, "sha256": [f"{n:064x}" for n in range(40)]})
    split["group"] = [f"{n % 8}" for n in range(40)]
    assert split["group"][take(split, order(split, 0), np.array([20]))].value_counts().tolist() == [5] * 4


@pytest.mark.parametrize("law", [(0.95, 1.2, 0.5), (1.0, 0.8, 0.3), (0.8, 3, 1)])
def test_a_known_law_is_found_again(law):
    limit, scale, exponent = law
    images = np.array(SIZES, "float64")
    shares = (limit - scale * images**-exponent)[np.newaxis]
    found = np.array(fit(images, shares))[:, 0]
    assert found == pytest.approx(law, rel=0.12) and found[0] == pytest.approx(limit, abs=0.01)
    foretold = found[0] - found[1] * 1600 ** -found[2]
    assert foretold == pytest.approx(limit - scale * 1600**-exponent, abs=5e-4)


def test_no_law_falls_and_none_passes_one():
    images = np.array(SIZES, "float64")
    shares = np.array([np.linspace(0.9, 0.8, 6), np.linspace(0.5, 0.999, 6)])
    limit, scale, exponent = fit(images, shares)
    assert (scale >= 0).all() and (limit <= 1).all()
    assert limit[0] == pytest.approx(shares[0].mean()) and scale[0] == 0
    assert (limit - scale * 6400.0**-exponent <= 1).all()


def test_the_band_is_as_wide_as_the_draws_scatter():
    held = 0
    for seed in range(20):
        curves = fit_curves(table(0.95, 1.2, 0.5, scatter=0.01, seed=seed), "accuracy")
        low, high = curves.band(1600)
        held += low <= 0.95 - 1.2 * 1600**-0.5 + 0.01 * np.random.default_rng([1, seed]).normal() <= high
        assert 0.02 < high - low < 0.15
    assert held >= 17


def test_sentences_on_a_curve_that_rises():
    content, (twice, half, of_class) = said_of(table(1.0, 0.8, 0.3))
    assert content["on_the_curve"] == pytest.approx(0.8923, abs=2e-3)
    assert content["twice"]["accuracy"] == pytest.approx(0.9125, abs=2e-3)
    assert states(
        twice, "1,600", f"{content['on_the_curve']:.3f}", f"{content['twice']['accuracy']:.3f}", "95 %"
    )
    assert 7000 < content["half_the_errors"]["images"] < 9000  # 800 · 2 ** (1 / 0.3) = 8,063
    assert states(half, f"{content['half_the_errors']['images']:,}", "images")
    assert states(of_class, "No class", 0.005)


def test_sentences_on_a_curve_that_is_flat():
    content, (_, half, _) = said_of(table(0.9, 2, 1))
    assert content["half_the_errors"] == {
        "accuracy": pytest.approx(0.949, abs=1e-3),
        "images": None,
        "at_most": None,
        "out_of_reach": True,
    }
    assert states(half, "0.949", "not get there")


def test_sentences_where_all_is_right():
    content, (twice, half, _) = said_of(table(1.0, 0, 1))
    assert content["half_the_errors"]["images"] is None
    assert states(twice, "1,600", "1.000") and states(half, "no errors")


def test_the_class_that_gains_most():
    measured = table(0.9, 2, 1)
    measured[1] = table(0.95, 1.2, 0.5)["accuracy"]
    content = foretell(measured, fit_curves(measured, "accuracy")) | {"images": 800}
    content["per_class"] = foretell_classes(measured, ["cat", "dog"])
    assert states(describe_more_images(content)[-1], "dog", "0.908", "0.920")


def test_measured_on_the_validation_images(workspace):
    split, values = write_set(3, train=200, validation=90)
    run("learning_curve")
    files = [Path(f"metrics/learning_curve.{kind}") for kind in ("json", "csv", "png")]
    before = [file.read_bytes() for file in files]
    content, measured = json.loads(before[0]), pd.read_csv(files[1])
    averages, truth = values.mean(axis=(1, 2)), split["class_index"].to_numpy()
    right = fit_probe(averages[:200], split[:200], 0).predict(averages[200:]).argmax(axis=1) == truth[200:]
    assert content["accuracy"] == pytest.approx(right.mean()) == measured["accuracy"].iloc[-1]
    assert measured["recall_class 2"].iloc[-1] == pytest.approx(right[truth[200:] == 2].mean())
    assert measured.groupby("images").size().to_dict() == {27: 10, 51: 10, 101: 10, 200: 1}
    assert [point["images"] for point in content["points"]] == [27, 51, 101, 200, 400, 800]
    assert {one["class"] for one in content["per_class"]} == {"class 0", "class 1", "class 2"}
    assert shows_something(files[2])
    run("learning_curve")
    assert before == [file.read_bytes() for file in files]


def test_too_few_images_for_a_curve(workspace):
    write_set(2, train=30, validation=10)
    run("learning_curve")
    content = json.loads(Path("metrics/learning_curve.json").read_text())
    assert set(content) == {"images", "judged_images", "accuracy"}
    assert states(*describe_more_images(content), 30, "too few")
