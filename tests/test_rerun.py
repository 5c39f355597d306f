"""A change runs again what depends on it, and nothing else: real DVC and stages, tiny images.

What has to run for each parameter is read from the table in docs/what-runs-again.md.
"""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from stages.shared.images.image_folder import NAMES
from tests.conftest import (
    PIPELINE,
    PROJECT,
    call,
    commit,
    reproduce,
    run_in,
    search,
    states,
    write_parameters,
)

TABLE = search(
    r"^\| parameter \|.*?\n\n", (PROJECT / "docs/what-runs-again.md").read_text(), re.DOTALL | re.MULTILINE
)[0]
HEADINGS, _, *ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.replace("`", "").strip().splitlines()
]
RERUNS = {row[0]: {stage for stage, mark in zip(HEADINGS[1:], row[1:], strict=True) if mark} for row in ROWS}
# What may stay as it is: what the stage ran on, counts, and files in no split.
UNCHANGED = ("data/environment/", "data/records/", "metrics/", "data/unused.csv")
CHANGES = {
    "data.images": {"data.images": "data/raw/other photos"},
    "data.labels_from, data.columns, data.unlisted, data.on_bad_image, data.max_megapixels": {
        "data.on_bad_image": "exclude"
    },
    "data.labels_corrected": {"data.labels_corrected": "data/decided.csv"},
    "split.*": {"split.seed": 1},
    "image_size, fit, interpolation": {"image_size": 48},
    "white_16_bit": {"white_16_bit": 4095},
    "conv_base.name, conv_base.weights": {"conv_base.name": "mobilenet", "conv_base.weights": "random"},
    "conv_base.preprocessing, conv_base.precision": {"conv_base.preprocessing": "rescale"},
    "leakage.*": {"leakage.cosine_similarity": 0.1, "leakage.hash_bits": 64},
    "cross_validation.*": {"cross_validation.seed": 1},
    "augmentation.*": {"augmentation.zoom": 0.1},
    "head.*": {"head.units": 6},
    "augmented.*": {"augmented.units": 4},
    "fine_tune.freeze_through": {"fine_tune.freeze_through": "block5_conv1"},
    "fine_tune.* (others)": {"fine_tune.learning_rate": 1e-4},
    "calibration.*": {"calibration.abstain_below": 0.6, "calibration.unlike": 0.5},
    "store.*, engine, ray.*, gate.*": {
        "store.gigabytes": 0.1,
        "engine": "ray",
        "ray.mixed_machines": True,
        "gate.standard_errors": 1,
    },
}


@pytest.fixture
def reproduced(repository):
    """The repository as it was after its first run, and again after the test."""
    yield repository
    run_in(repository, "git", "checkout", "--quiet", ".")
    run_in(repository, "dvc", "checkout", "--quiet", "--force", "--allow-missing")


def test_nothing_changed_nothing_runs(reproduced):
    assert reproduce(reproduced) == set()
    assert run_in(reproduced, "git", "status", "--porcelain") == ""


def test_dvc_knows_the_images_that_the_user_added(reproduced):
    """A pattern in .gitignore that covers data/raw would hide them, and dvc exp run would remove them."""
    shutil.rmtree(reproduced / "data/raw/mine")
    run_in(reproduced, "dvc", "checkout", "--quiet", "--allow-missing")
    assert len(list((reproduced / "data/raw/mine").rglob("*.png"))) == 30


def test_what_other_programs_leave_among_images_starts_nothing(reproduced):
    """DVC does not see it, nor does split_dataset take it for an image."""
    ignored = (PROJECT / ".dvcignore").read_text().splitlines()
    assert {line.removeprefix("\\") for line in ignored if line[:2] != "# "} == {
        ".*",
        "__pycache__/",
        "",
        *NAMES,
    }
    images = reproduced / "data/raw/mine"
    for name in (*NAMES, ".DS_Store", "._0.png", ".directory", ".ipynb_checkpoints"):
        (images / "apple" / name).write_text("no image")
        shutil.copytree(images / "pear", images / name)
    assert reproduce(reproduced) == set()
    assert reproduce(reproduced, "--force", targets=("split_dataset",)) == {"split_dataset"}
    assert run_in(reproduced, "git", "status", "--porcelain") == ""
    run_in(reproduced, "dvc", "add", "data/raw/mine")
    assert run_in(reproduced, "git", "status", "--porcelain") == ""


def test_every_parameter_is_in_the_table():
    assert set(RERUNS) == set(CHANGES)
    values = YAML(typ="safe").load(PROJECT / "params.yaml")
    keys = {
        f"{section}.{key}" for section, value in values.items() if isinstance(value, dict) for key in value
    }
    keys |= {section for section, value in values.items() if not isinstance(value, dict)}
    assert {key for key in keys if row_of(key) is None} == set()


def row_of(key: str) -> str | None:
    """Return the most specific row of the table for the parameter `key`."""
    rows = {pattern: row for row in RERUNS for pattern in row.removesuffix(" (others)").split(", ")}
    return rows.get(key) or rows.get(key.split(".")[0] + ".*")


def test_all_parameters_of_a_row_reach_the_same_stages():
    """So that changing one of them, as test_row does, stands for all."""
    values = YAML(typ="safe").load(PROJECT / "params.yaml")
    reached: dict[str, set] = {}
    for section, value in values.items():
        for key in [f"{section}.{name}" for name in value] if isinstance(value, dict) else [section]:
            stages = with_what_follows(
                {
                    name
                    for name, stage in PIPELINE["stages"].items()
                    if {key, section} & set(stage.get("params", []))
                }
            )
            assert stages == reached.setdefault(row_of(key) or key, stages), key


def with_what_follows(stages: set[str]) -> set[str]:
    """Return `stages` and all that read, directly or through others, what these write."""
    while True:
        written = {
            out if isinstance(out, str) else next(iter(out))
            for name in stages
            for out in PIPELINE["stages"][name]["outs"]
        }
        more = stages | {
            name
            for name, stage in PIPELINE["stages"].items()
            if any(Path(dep).is_relative_to(out) for dep in stage["deps"] for out in written)
        }
        if more == stages:
            return stages
        stages = more


# Rows whose first stages alone run here, all of whose outputs change, those in SAME excepted. What follows when splits, features, a head and
# a fine-tuned model change is run for real by the other rows.
FIRST = {
    "data.labels_corrected": ("split_dataset",),
    "split.*": ("split_dataset",),
    "image_size, fit, interpolation": ("extract_features", "extract_views"),
    "white_16_bit": ("split_dataset", "extract_features"),
    "conv_base.name, conv_base.weights": ("fetch_weights", "extract_features"),
    "conv_base.preprocessing, conv_base.precision": ("extract_features", "extract_views"),
    "augmentation.*": ("extract_views",),
    "leakage.*": ("audit_leakage",),
    "head.*": ("train_head",),
    "fine_tune.* (others)": ("fine_tune",),
}


ALONE = {  # what reads only a file that stays as it is in a folder where others change
    "head.*": {"explain"},
    "leakage.*": {"explain"},
}
SAME = {  # what these stages write as before: test images are never augmented, and none has 16 bits
    "augmentation.*": {"data/activations/test.npy"},
    "white_16_bit": {"data/splits", "data/features", "data/default_activations"},
}


@pytest.mark.parametrize("row", [row for row in RERUNS if row not in FIRST])
def test_row(reproduced, row):
    write_parameters(reproduced, CHANGES[row], reproduced / "params.yaml")
    assert reproduce(reproduced) == RERUNS[row]


@pytest.mark.parametrize("row", FIRST)
def test_first_stages_of_a_row(reproduced, row):
    def results() -> dict[str, str]:
        lock = YAML(typ="safe").load(reproduced / "dvc.lock")["stages"]
        return {out["path"]: out["md5"] for stage in FIRST[row] for out in lock[stage]["outs"]}

    before = results()
    write_parameters(reproduced, CHANGES[row], reproduced / "params.yaml")
    assert reproduce(reproduced, targets=FIRST[row]) == set(FIRST[row])
    same = {path for path, md5 in results().items() if before[path] == md5}
    assert {path for path in same if not path.startswith(UNCHANGED)} == SAME.get(row, set())
    keys = {key for key in CHANGES[row]} | {key.split(".")[0] for key in CHANGES[row]}
    named = {name for name, stage in PIPELINE["stages"].items() if keys & set(stage.get("params", []))}
    assert with_what_follows(named) - ALONE.get(row, set()) == RERUNS[row]


def test_a_comment_runs_only_the_stages_that_name_the_folder(reproduced):
    """And none that reads what these write, as its bytes are the same."""
    module = reproduced / "stages/split_dataset/assignment.py"
    module.write_text(module.read_text() + "\n# A comment.\n")
    naming = {name for name, stage in PIPELINE["stages"].items() if "stages/split_dataset" in stage["deps"]}
    assert naming == {"split_dataset"}
    assert reproduce(reproduced) == naming
    assert run_in(reproduced, "git", "diff", "--stat", "metrics") == ""


def test_a_clone_without_caches_gives_the_same_outputs(reproduced, tmp_path):
    """And tools.verify says so, or which stage differs; here of a project in a larger repository, which has changed."""
    larger, project = tmp_path / "larger", tmp_path / "larger/project"
    run_in(tmp_path, "git", "clone", "--quiet", str(reproduced), str(project))
    (project / ".git").rename(tmp_path / "of the project alone")
    run_in(larger, "git", "init", "--quiet")
    (larger / "notes").write_text("")
    commit(larger)
    (larger / "notes").write_text("changed")
    (project / ".dvc/cache").symlink_to(reproduced / ".dvc/cache")
    ended = call(project, "python", "-m", "tools.verify")
    assert ended.stdout.count("Running stage") == len(PIPELINE["stages"])
    stages = PIPELINE["stages"].values()
    outputs = [
        out for stage in stages for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])
    ]
    compared = len(outputs) - str(outputs).count("data/environment/")
    assert states(ended.stdout.splitlines()[-1], "All", compared, len(stages), "dvc.lock")
    assert ended.returncode == 0
    assert list((project / ".dvc/tmp").glob("verify-*")) == []


def test_only_a_commit_can_be_verified(reproduced):
    write_parameters(reproduced, {"head.units": 3}, reproduced / "params.yaml")
    ended = call(reproduced, "python", "-m", "tools.verify")
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert states(ended.stderr, "commit", "params.yaml")


def test_a_wrong_parameter_leaves_the_last_results_in_place(reproduced):
    write_parameters(reproduced, {"head.units": 0}, reproduced / "params.yaml")
    ended = call(reproduced, "dvc", "repro")
    assert ended.returncode != 0 and "Traceback" not in ended.stderr
    assert states(ended.stderr, "params.yaml", "head.units", 0, 1, 65536)
    run_in(reproduced, "git", "checkout", "--quiet", "params.yaml")
    run_in(reproduced, "dvc", "checkout", "--quiet", "--allow-missing")
    assert reproduce(reproduced) == set()


def test_two_revisions_are_compared(reproduced):
    """By DVC's own commands and by tools.compare, which leaves the workspace as it is."""
    write_parameters(reproduced, {"head.units": 1, "head.learning_rate": 1.0}, reproduced / "params.yaml")
    predictions = reproduced / "data/evaluation/head_predictions.csv"
    before = pd.read_csv(predictions)
    assert reproduce(reproduced) == {
        "train_head",
        "cross_validate",
        "evaluate",
        "draw_plots",
        "report",
        "model_card",
    }
    after = pd.read_csv(predictions)
    shown = run_in(reproduced, "dvc", "metrics", "show", "metrics/evaluation.json", "--md")
    assert "head.accuracy" in shown and "fine_tuned.threshold" in shown and "pear" not in shown
    diff = run_in(reproduced, "dvc", "metrics", "diff", "--md")
    assert "head.loss" in diff and "augmented.loss" not in diff
    diff = run_in(reproduced, "dvc", "params", "diff", "--md")
    assert re.findall(r"head\.(\S+) *\| (\S+) *\| (\S+)", diff) == [
        ("learning_rate", "0.0003", "1.0"),
        ("units", "8", "1"),
    ]
    assert len(diff.split("\n")) == 6  # no other row
    run_in(reproduced, "dvc", "plots", "diff", "--out", "compared")
    page = (reproduced / "compared/index.html").read_text()
    assert "Loss of head" in page and '"rev": "HEAD"' in page and '"rev": "workspace"' in page
    run_in(reproduced, "dvc", "plots", "show", "--out", "plots")
    page = (reproduced / "plots/index.html").read_text()
    for title in ("Accuracy of head", "Loss of fine_tuned", "Confusion matrix of augmented", "ROC curves"):
        assert title in page

    right = [table["label"] == table["predicted"] for table in (before, after)]
    changed = run_in(reproduced, "git", "status", "--porcelain")
    said = run_in(reproduced, "python", "-m", "tools.compare", "HEAD")
    of_head, *of_others = re.split(r"^\w+:$", said, flags=re.MULTILINE)[1:]
    for revision, hits in zip(("HEAD", "workspace"), right, strict=True):
        (line,) = re.findall(rf"^ *{revision}: .*", of_head, re.MULTILINE)
        assert states(line, f"{hits.sum()} of 8", f"{hits.mean():.3f}", "95 %")
    gained, lost = (~right[0] & right[1]).sum(), (right[0] & ~right[1]).sum()
    assert gained + lost > 0 and states(of_head, f"corrected {gained}", f"spoiled {lost}")
    assert len(of_others) == 2 and all(states(part, 8, "no difference") for part in of_others)
    assert run_in(reproduced, "git", "status", "--porcelain") == changed
    (reproduced / "compare.png").unlink()
    ended = call(reproduced, "python", "-m", "tools.compare", "absent")
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert states(ended.stderr, "'absent'", "revision", "experiment") and ended.stderr.count("\n") == 1
