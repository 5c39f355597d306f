"""What the benchmark says follows from what it measured."""

import json
import re
import subprocess
import sys

import pytest

import stages
from bench import __main__ as bench
from bench import gpu, peers, pipeline, report
from tests.conftest import PROJECT, search, states, variables_for
from tests.warm_python import warm_python


def measured(seconds: float, more: float) -> dict:
    """One round in which a stage takes `seconds` for n images and `more` for as many again."""
    stages = {
        size: {stage: {"seconds": seconds + times * more, "megabytes": 100} for stage in report.STAGES}
        for size, times in (("n", 0), ("4n", 3))
    }
    steps = (
        "extraction",
        "head",
        "augmented",
        "augmented_validation",
        "fine_tuning",
        "fine_tuning_validation",
    )
    return {
        **stages,
        "notebook": dict.fromkeys(steps, 1.0),
        "ceiling": {
            "milliseconds_per_image": {"float32": {"16": 50.0, "32": 40.0}, "bfloat16": {"16": 80.0}},
            "head_milliseconds_per_step": {
                "forward_product": 0.8,
                "gradient_product": 0.9,
                "update": 1.5,
                "copy_of_the_weights": 0.2,
                "training_step": 4.0,
            },
        },
        "store": {"filling": 10.0, "filled": 5.0},
    }


def test_the_whole_work_follows_from_steps_and_from_n_and_4n_images():
    found = report.figures([measured(10, 2), measured(11, 2), measured(12, 2)])
    assert found["notebook"] == (200 + 30 * 100) + 30 * 150 + 100 * 150
    assert found["ours head on stored features"] == 4 * 11 + (19 + 19 + 19) * 2
    assert found["ours frozen base with augmentation"] == 2 * 11 + (299 + 19) * 2
    assert found["ours fine-tuning"] == 11 + 999 * 2
    assert found["ours"] == 10 * 11 + (6 * 19 + 299 + 999) * 2
    assert found["ratio"] == pytest.approx(22700 / 2934)
    assert found["ratio fine-tuning"] == pytest.approx(15000 / (11 + 999 * 2))
    assert found["extract_features milliseconds"] == 10  # 2 s for 200 images
    assert found["extract_features share"] == 4
    assert found["epoch"] == 20 and found["epoch ratio"] == 7.5
    assert found["head share"] == pytest.approx(1.25)


def test_a_run_of_the_whole_work_is_told():
    whole = {
        "images_per_class": {"split.train": 1000, "split.validation": 250, "split.test": 250},
        "stages": {stage: {"seconds": 600} for stage in (*report.STAGES, "report", "model_card")},
        "test_accuracy": {"head": 0.9, "fine_tuned": 0.9625},
    }
    results = json.loads(report.RESULTS.read_text())
    assert "Run as a whole" not in report.tables({**results, "whole": None})
    told = report.tables({**results, "whole": whole})
    assert states(told, "Run as a whole", "1000 / 250 / 250", "1.67 h", "head 0.900", "fine_tuned 0.963")


def test_the_notebook_runs_with_the_settings_of_the_user_alone(tmp_path, monkeypatch):
    (tmp_path / "data/splits").mkdir(parents=True)
    for split in ("train", "validation"):
        (tmp_path / f"data/splits/{split}.csv").write_text(
            f"path,label,class_index,sha256\na.png,cat,0,{'0' * 64}\n"
        )
    monkeypatch.setattr(bench, "run_module", lambda *_, environment: environment)
    for name, value in {**stages.ENVIRONMENT, "TF_NUM_INTRAOP_THREADS": "2"}.items():
        monkeypatch.setenv(name, value)
    given = bench.run_notebook(tmp_path, tmp_path)
    assert not set(stages.ENVIRONMENT) & set(given)
    assert given["TF_NUM_INTRAOP_THREADS"] == "2" and given["PATH"]


def test_the_bench_itself_is_small():
    """Its memory may count as that of the stages which it starts."""
    loaded = "import sys, bench.__main__; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    subprocess.run([sys.executable, "-c", loaded], env=variables_for(), check=True)


def test_the_page_shows_what_was_measured():
    results = json.loads(report.RESULTS.read_text())
    text = (PROJECT / "docs/speed-and-store.md").read_text()
    assert search(report.SECTION.pattern, text, report.SECTION.flags)[0] == report.tables(results)
    assert re.search(r"\*\*\d+\.\d\*\*", report.tables(results))
    measured_peers = json.loads(report.PEERS_RESULTS.read_text())
    shown = search(report.PEERS_SECTION.pattern, text, report.PEERS_SECTION.flags)[0]
    assert shown == report.peers_table(measured_peers)


def peers_round(pytorch: float) -> dict:
    """A round in which a step takes the notebook and the guide a second, and PyTorch `pytorch` seconds."""
    one = measured(10, 2)
    for size, seconds in (("n", 12), ("4n", 18)):
        one[size]["predict"] = {"seconds": seconds}
    steps = one["notebook"]
    return {**one, "keras_guide": {**steps, "prediction": 2}, "pytorch": dict.fromkeys(steps, pytorch)}


def test_the_work_of_the_others_follows_from_steps_and_ours_from_n_and_4n_images():
    one = peers_round(0.5)
    extraction, augmented, fine_tuning, prediction, whole = report.peer_seconds(one["notebook"]).values()
    assert (extraction, augmented, fine_tuning, prediction) == (200, 30 * 150, 100 * 150, 50)
    assert whole == extraction + 30 * 100 + augmented + fine_tuning + prediction
    *_, prediction, more = report.peer_seconds(one["keras_guide"]).values()
    assert prediction == 100 and more == whole + 50
    extraction, augmented, fine_tuning, prediction, whole = report.our_seconds(one).values()
    assert (extraction, augmented, fine_tuning) == (10 + 19 * 2, 2 * 10 + (299 + 19) * 2, 10 + 999 * 2)
    assert prediction == 12 + 4 * 2
    assert whole == 10 * 10 + (6 * 19 + 299 + 999) * 2 + prediction


def test_a_round_on_a_busy_machine_is_none():
    one = peers_round(0.5)
    one["4n"]["fine_tune"] = one["n"]["fine_tune"]
    with pytest.raises(ValueError, match="fine_tune took no longer on 4n images"):
        report.our_seconds(one)


def test_the_table_of_the_others_says_where_we_are_behind():
    machine = dict.fromkeys("cores processor tensorflow keras torch torchvision".split(), "some")
    rounds = [peers_round(seconds) for seconds in (0.5, 0.01, 0.5)]
    table = report.peers_table({"machine": machine, "precision": "float32", "rounds": rounds})
    assert "| extraction of 4,000 images | 3.3 | 3.3 | 1.7 | 0.8 | 2.1 |" in table  # 200, 100 and 48 s
    assert "| the whole | 379.2 | 380.0 | 189.6 | 49.1 | 3.9 |" in table
    assert states(table, "in: no row", "23.3 minutes more", "PyTorch's whole then takes 2.6 times ours")
    slow = report.peers_table({"machine": machine, "precision": "float32", "rounds": rounds[1:2]})
    assert states(slow, "in: extraction of 4,000 images, 30 augmented epochs", "the whole.")


@pytest.mark.slow
def test_the_script_for_a_gpu_runs_on_a_processor(monkeypatch):
    monkeypatch.setattr(sys, "executable", str(warm_python() / "python"))
    found = gpu.main(gpu.TINY)
    assert states(found["tests"], "passed") and "failed" not in found["tests"]
    assert set(found["seconds"]["stages"]) == set(pipeline.STAGES)
    assert min(found["seconds"]["stages"].values()) > 0
    (one,) = found["passes"]
    assert one["base"] == "mobilenet" and one["images a second"] > 0 and found["peak"]["float32"] > 0
    assert min(found["photos a second"].values()) > 0


def test_pytorch_trains_what_we_train():
    """VGG16's block 5, on what its block 4 gives; where make bench-peers made the environment."""
    if not peers.PEERS_PYTHON.exists():
        pytest.skip("no .venv-peers")
    code = """
import torch
from torchvision.models import vgg16
from bench.pytorch import BLOCK5
with torch.device("meta"):
    features = vgg16().features
    print(features[:BLOCK5](torch.empty(1, 3, 150, 150)).shape[1:].numel())
    print(sum(weights.numel() for weights in features[BLOCK5:].parameters()))
"""
    run = subprocess.run([peers.PEERS_PYTHON, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, check=True)
    assert list(map(int, run.stdout.split())) == [9 * 9 * 512, 3 * (3 * 3 * 512 * 512 + 512)]
