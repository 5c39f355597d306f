"""No epoch is computed twice, and a model has the bytes of an undisturbed run, whatever came from the store."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from stages.shared.network import environment
from stages.shared.store.results import Store
from stages.shared.training.checkpoints import Checkpoints, Stopping, lowest, take_state
from tests.conftest import arguments, change, run, search, variables_for, write_array

MODELS = {"train_head": "head", "fine_tune": "fine_tuned"}


@pytest.fixture
def train(extracted, capsys):
    """Train with a store, and return how many epochs came from there and how many there are."""
    change(store__gigabytes=1, store__folder="store")

    def run_stage(stage: str = "train_head", **changes) -> tuple[int, int]:
        change(**changes)
        capsys.readouterr()
        run(stage)
        found = search(r"(\d+) of (\d+) epochs from the store", capsys.readouterr().out)
        return int(found[1]), int(found[2])

    return run_stage


def written(name: str = "head") -> list[bytes]:
    files = f"data/models/{name}.keras", f"metrics/{name}.json", f"metrics/{name}_curves.csv"
    return [Path(file).read_bytes() for file in files]


def undisturbed(stage: str = "train_head") -> list[bytes]:
    """Return what the stage writes without a store."""
    change(store__gigabytes=0)
    run(stage)
    change(store__gigabytes=1)
    return written(MODELS[stage])


def test_more_epochs_compute_those_alone(train):
    assert train(head__epochs=2) == (0, 2)
    shorter = written()
    assert train(head__epochs=4) == (2, 4)
    assert written() == undisturbed()
    assert train(head__epochs=2) == (2, 2)
    assert written() == shorter


def test_also_of_views_and_in_fine_tuning(train):
    assert train("train_augmented", augmented__epochs=1) == (0, 1)
    assert train("train_augmented", augmented__epochs=2) == (1, 2)
    assert train("fine_tune", fine_tune__decay="none", fine_tune__epochs=1) == (0, 1)
    assert train("fine_tune", fine_tune__epochs=3) == (1, 3)
    assert written("fine_tuned") == undisturbed("fine_tune")


def test_where_the_rate_depends_on_the_total_all_epochs_are_computed(train):
    assert train(head__decay="cosine", head__epochs=2) == (0, 2)
    assert train(head__epochs=3) == (0, 3)
    assert train(head__epochs=2) == (2, 2)


def test_another_patience_or_aim_computes_nothing(train):
    change(head__learning_rate=0.3, head__batch_size=2)
    assert train(head__epochs=12, head__patience_epochs=12) == (0, 12)
    losses = pd.read_csv("metrics/head_curves.csv")["validation_loss"].tolist()
    stored, epochs = train(head__patience_epochs=1)
    assert stored == epochs < 12
    assert json.loads(Path("metrics/head.json").read_text())["epoch"] == 1 + losses.index(
        min(losses[:epochs])
    )
    assert written() == undisturbed()
    assert train(head__patience_epochs=None, head__threshold_for="f1") == (12, 12)
    assert written() == undisturbed()


def test_other_parameters_are_another_training(train):
    assert train() == (0, 2)
    for name, value in {
        "seed": 1,
        "learning_rate": 0.01,
        "batch_size": 3,
        "class_weights": "balanced",
        "units": 5,
    }.items():
        assert train(**{f"head__{name}": value}) == (0, 2), name
    assert train() == (2, 2)


def test_other_data_and_another_machine_are_another_training(train, monkeypatch):
    assert train() == (0, 2)
    features = Path("data/features/train.npy")
    values = np.load(features)
    values[3] *= 1.5
    write_array(features, values)
    assert train() == (0, 2)
    table = Path("data/splits/validation.csv")
    rows = pd.read_csv(table)
    ends, label = [0, len(rows) - 1], ["label", "class_index"]
    rows.loc[ends, label] = rows.loc[ends[::-1], label].to_numpy()
    rows.to_csv(table, index=False)
    assert train() == (0, 2)
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "1")
    assert train() == (0, 2)
    monkeypatch.setattr(environment.os, "sched_getaffinity", lambda _: range(17))
    assert train() == (0, 2)


def test_the_store_keeps_the_last_state_and_those_that_patience_may_choose(train, monkeypatch):
    kept: dict[bytes, str] = {}
    key = Checkpoints._key

    def named(self, kind, epoch=0):
        kept[key(self, kind, epoch)] = f"{kind} {epoch}"
        return key(self, kind, epoch)

    monkeypatch.setattr(Checkpoints, "_key", named)
    train(head__learning_rate=0.3, head__batch_size=2, head__epochs=8)
    losses = pd.read_csv("metrics/head_curves.csv")["validation_loss"]
    history = [{"validation_loss": loss} for loss in losses.tolist()]
    lowered = {lowest(history[:epoch]) for epoch in range(1, 9)}
    assert 1 < len(lowered | {8}) < 8  # else this tests nothing
    store = Store(folder="store", gigabytes=1)
    found = [kept[one] for one, value in zip(kept, store.read(list(kept)), strict=True) if value is not None]
    assert sorted(found) == sorted(
        ["history 0", "optimizer 8", *(f"model {epoch}" for epoch in lowered | {8})]
    )


def test_what_the_store_lost_is_computed_again(train, monkeypatch):
    change(head__patience_epochs=9)
    assert train(head__epochs=6) == (0, 6)
    expected, key, read = written(), Checkpoints._key, Store.read
    for lost, stored in (("optimizer", 6), ("model", 0), ("history", 0)):
        missing = set()

        def named(self, kind, epoch=0, lost=lost, missing=missing):
            if kind == lost:
                missing.add(key(self, kind, epoch))
            return key(self, kind, epoch)

        def read_others(self, keys, missing=missing):
            return [
                None if one in missing else value for one, value in zip(keys, read(self, keys), strict=True)
            ]

        monkeypatch.setattr(Checkpoints, "_key", named)
        monkeypatch.setattr(Store, "read", read_others)
        assert train() == (stored, 6)
        assert written() == expected


def test_a_killed_training_goes_on_where_it_was(train):
    change(head__epochs=25, head__patience_epochs=24)
    rng, metrics, curves = random.Random(0), Path("metrics/head.json"), Path("metrics/head_curves.csv")
    reached = 0
    for _ in range(2):
        metrics.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "stages.train_head", *arguments("train_head")],
            env=variables_for(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and not metrics.exists():
            time.sleep(0.01)
        time.sleep(rng.random() * 0.5)
        process.kill()
        process.wait()
        reached = max(reached, len(pd.read_csv(curves)) if curves.exists() else 0)
    stored, epochs = train()
    assert epochs == 25 and 0 < stored and stored >= reached
    assert written() == undisturbed()


def test_what_is_used_stays_with_its_history(tmp_path):
    """A training that is there as a whole is run again and again, while others fill the store."""
    pixels = keras.Input((1000,))
    model = keras.Model(pixels, keras.layers.Dense(500)(pixels))
    model.compile("sgd", loss="mse")
    model.optimizer.build(model.trainable_variables)
    store, history = Store(folder=str(tmp_path), gigabytes=0.02), [{"validation_loss": 1.0}]
    Checkpoints(store, b"a training", model).keep(history, take_state(model))
    for number in range(20):  # 2 MB each, as the model has
        store.write({bytes([number]): bytes(2_000_000)})
        assert Checkpoints(store, b"a training", model).resume(Stopping(1, None))[0] == history
    assert store.read([bytes([0])]) == [None]  # else this tests nothing


def test_stopping():
    history = [{"validation_loss": loss} for loss in (3.0, 2.0, 2.0, 2.5, 1.0)]
    assert [lowest(history[:epoch]) for epoch in range(6)] == [0, 1, 2, 2, 2, 5]
    never = Stopping(5, None)
    assert [never.is_over(history[:epoch]) for epoch in range(6)] == [False] * 5 + [True]
    assert [Stopping(9, 2).is_over(history[:epoch]) for epoch in range(6)] == [False] * 4 + [True, False]
    assert Stopping(9, 2).kept(history[:4]) == 2 and never.kept(history[:4]) == 4
