"""Engine ray gives what engine local gives, byte for byte, on a cluster that loses a machine, and its driver."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.shared.extraction import on_ray
from stages.shared.extraction.on_ray import check_machines, describe_machine
from stages.shared.extraction.work import Cluster
from tests.conftest import (
    TINY,
    arguments,
    change,
    chdir,
    draw_images,
    place_weights,
    refused,
    run,
    states,
    variables_for,
    write_parameters,
)
from tests.ray_cluster import LoopbackCluster, loopback_cluster

SPLIT = {"split.train": 80, "split.validation": 3, "split.test": 3}
CUT = {"fine_tune.freeze_through": "block3_pool"}  # so that extract_views computes of all splits


@pytest.fixture(scope="module")
def unseen(tmp_path_factory) -> Path:
    """A folder that one machine of the cluster does not see."""
    return tmp_path_factory.mktemp("unseen")


@pytest.fixture(scope="module")
def cluster(unseen) -> Iterator[LoopbackCluster]:
    with loopback_cluster(3, unseen) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def project(vgg16_weights, tmp_path_factory) -> Path:
    """A project whose arrays engine local has computed."""
    folder = tmp_path_factory.mktemp("ray")
    draw_images(
        folder / "images", [f"{name}/{number}.png" for name in ("apple", "pear") for number in range(86)]
    )
    write_parameters(
        folder, {**TINY, **SPLIT, **CUT, "image_size": 32, "data.images": str(folder / "images")}
    )
    with chdir(folder):
        place_weights(vgg16_weights)
        run("split_dataset", "extract_features", "extract_views")
    return folder


def on_ray_in(project: Path, copy: Path, stage: str, cluster: LoopbackCluster | None) -> dict[str, bytes]:
    """Copy `project`, for engine ray, without what `stage` writes; return the arrays that it has to write."""
    shutil.copytree(project, copy, symlinks=True, ignore=shutil.ignore_patterns("images"))
    written = ("views", "activations") if stage == "extract_views" else ("features", "default_activations")
    expected = {}
    for folder in written:
        expected |= {
            str(path.relative_to(copy)): path.read_bytes() for path in copy.glob(f"data/{folder}/*.npy")
        }
        shutil.rmtree(copy / "data" / folder)
    changes = {"engine": "ray", "ray.address": cluster and cluster.address}
    write_parameters(copy, changes, copy / "params.yaml")
    assert len(expected) >= 4
    return expected


def start(folder: Path, stage: str, cluster: LoopbackCluster | None, **others: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", f"stages.{stage}", *arguments(stage)],
        cwd=folder,
        env=variables_for() | (cluster.variables if cluster else {}) | others,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for_rows(file: Path, running: subprocess.Popen) -> None:
    """Wait until some rows of an array, which begins after its header of 128 bytes, are written."""
    while not file.exists() or not any(file.read_bytes()[128 : 128 + 64 * 2048]):
        assert running.poll() is None, running.communicate()
        time.sleep(0.1)


def end_well(running: subprocess.Popen) -> str:
    said, errors = running.communicate(timeout=600)
    assert running.returncode == 0, errors
    return said


def written_by(folder: Path, names: dict[str, bytes]) -> dict[str, bytes]:
    assert not list(folder.rglob("unfinished*")) and not list(folder.rglob("token*"))
    return {name: (folder / name).read_bytes() for name in names}


def test_a_cluster_of_this_machine_alone_gives_the_same_bytes(project, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.2:1")  # another one, which is not meant
    expected = on_ray_in(project, tmp_path / "project", "extract_features", None)
    end_well(start(tmp_path / "project", "extract_features", None))
    assert written_by(tmp_path / "project", expected) == expected


@pytest.mark.cluster
def test_the_bytes_are_those_of_one_machine_though_one_is_lost_and_one_does_not_see_the_project(
    project, cluster, unseen
):
    copy = unseen / "project"
    expected = on_ray_in(project, copy, "extract_views", cluster)
    running = start(copy, "extract_views", cluster)
    wait_for_rows(copy / "data/views/unfinished.features.npy", running)
    cluster.kill("127.0.0.3")
    said = end_well(running)
    assert (
        "data/views/features.npy: (2, 160, 1, 1, 512) float32, 0 of 160 images from the store" in said
    )  # the other view is the originals
    assert written_by(copy, expected) == expected


@pytest.mark.cluster
def test_a_driver_that_was_killed_goes_on(project, cluster, tmp_path, monkeypatch):
    """What the machines had computed is in their stores."""
    copy = tmp_path / "project"
    expected = on_ray_in(project, copy, "extract_features", cluster)
    monkeypatch.chdir(copy)
    change(store__gigabytes=1, store__folder=str(tmp_path / "store"))
    running = start(copy, "extract_features", cluster)
    wait_for_rows(copy / "data/features/unfinished.train.npy", running)
    running.kill()
    running.communicate()
    assert not (copy / "data/features/train.npy").exists()
    said = end_well(start(copy, "extract_features", cluster))
    (from_store,) = re.findall(r"features/train.npy: .*, (\d+) of 160 images from the store", said)
    assert int(from_store) > 0
    assert written_by(copy, expected) == expected


@pytest.mark.cluster
def test_machines_of_another_kind_than_the_driver_compute_only_where_that_is_allowed(
    project, cluster, tmp_path
):
    """By the instructions that its libraries may use the driver is of another kind."""
    copy, kind = tmp_path / "project", {"DNNL_MAX_CPU_ISA": "SSE41"}
    expected = on_ray_in(project, copy, "extract_features", cluster)
    running = start(copy, "extract_features", cluster, **kind)
    _, errors = running.communicate(timeout=600)
    assert running.returncode == 1 and states(errors, "different kinds", "ray.mixed_machines")
    assert not list(copy.glob("data/features/*"))
    write_parameters(copy, {"ray.mixed_machines": True}, copy / "params.yaml")
    end_well(start(copy, "extract_features", cluster, **kind))
    assert written_by(copy, expected) == expected


def test_machines_of_several_kinds_are_named_or_allowed():
    here = describe_machine()
    other = json.dumps(["another digest", "node7", "Some Processor", ["CPU"], {"keras": "3.0"}])
    batch = {"machine": [here, other]}
    with refused("node7", "Some Processor", "different kinds", "ray.mixed_machines", "params.yaml"):
        check_machines(batch, here, Cluster(address=None, mixed_machines=False))
    check_machines(batch, here, Cluster(address=None, mixed_machines=True))
    check_machines({"machine": [here]}, here, Cluster(address=None, mixed_machines=False))


def test_a_machine_is_described_by_what_its_arithmetic_depends_on(monkeypatch):
    here = describe_machine()
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "SSE41")
    assert json.loads(describe_machine())[0] != json.loads(here)[0]


def test_where_no_cluster_answers(trained_copy):
    change(engine="ray", ray__address="127.0.0.2:1")
    with refused("params.yaml", "ray.address", "127.0.0.2:1", "no cluster answers"):
        run("extract_features")


def test_where_ray_is_not_installed(trained_copy, monkeypatch):
    change(engine="ray")
    monkeypatch.setattr(on_ray, "find_spec", lambda name: None)
    with refused("params.yaml", "engine", "ray", "not installed"):
        run("extract_features")
