"""Engine ray gives what engine local gives, byte for byte, on a cluster that loses machines."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.shared.extraction import on_ray
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

EXTRACTIONS = "extract_features", "extract_views"


@pytest.fixture(scope="module")
def cluster() -> Iterator[LoopbackCluster]:
    with loopback_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def project(vgg16_weights, tmp_path_factory) -> Path:
    """A project whose arrays engine local has computed, of 300 images."""
    folder = tmp_path_factory.mktemp("ray")
    write_parameters(
        folder, {**TINY, "split.train": 150, "split.validation": 3, "split.test": 3, "image_size": 32}
    )
    draw_images(
        folder / "images", [f"{name}/{number}.png" for name in ("apple", "pear") for number in range(156)]
    )
    with chdir(folder):
        place_weights(vgg16_weights)
        run("split_dataset", *EXTRACTIONS)
    return folder


@pytest.fixture
def copy(project, cluster, tmp_path, monkeypatch) -> Path:
    """A copy of it without its arrays, for engine ray."""
    folder = shutil.copytree(project, tmp_path / "copy", symlinks=True)
    for array in arrays(folder):
        (folder / array).unlink()
    monkeypatch.chdir(folder)
    change(engine="ray", ray__address=cluster.address)
    return folder


def arrays(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted((folder / "data").rglob("*.npy"))
    }


def start(folder: Path, stage: str, cluster: LoopbackCluster) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", f"stages.{stage}", *arguments(stage)],
        cwd=folder,
        env=variables_for() | cluster.variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def extract(folder: Path, cluster: LoopbackCluster) -> str:
    """Run both stages, and return what they print."""
    said = ""
    for stage in EXTRACTIONS:
        running = start(folder, stage, cluster)
        printed, errors = running.communicate(timeout=600)
        assert running.returncode == 0, errors
        said += printed
    return said


def wait_for_rows(folder: Path, running: subprocess.Popen) -> None:
    """Wait until some rows, and not all, of the first array are written."""
    file = folder / "data/features/unfinished.train.npy"
    while not file.exists() or not any(file.read_bytes()[128:][: 100 * 2048]):
        assert running.poll() is None, running.communicate()
        time.sleep(0.1)


def test_it_gives_the_same_bytes(project, copy, cluster):
    said = extract(copy, cluster)
    assert "data/features/train.npy: (300, 1, 1, 512) float32, 0 of 300 images from the store" in said
    assert arrays(copy) == arrays(project)
    assert not list((copy / "data").rglob("unfinished*"))


def test_also_where_a_machine_is_lost(project, copy, cluster):
    running = start(copy, "extract_features", cluster)
    wait_for_rows(copy, running)
    cluster.kill("127.0.0.3")
    _, errors = running.communicate(timeout=600)
    assert running.returncode == 0, errors
    cluster.restart("127.0.0.3")
    for name in ("train", "validation", "test"):
        array = f"data/features/{name}.npy"
        assert (copy / array).read_bytes() == (project / array).read_bytes()


def test_a_driver_that_was_killed_goes_on(project, copy, cluster, tmp_path):
    """What the machines had computed is in their stores."""
    change(store__gigabytes=1, store__folder=str(tmp_path / "store"))
    running = start(copy, "extract_features", cluster)
    wait_for_rows(copy, running)
    running.kill()
    running.communicate()
    assert not (copy / "data/features/train.npy").exists()
    said = extract(copy, cluster)
    (from_store,) = re.findall(r"features/train.npy: .*, (\d+) of 300 images from the store", said)
    assert int(from_store) > 0
    assert arrays(copy) == arrays(project)


def test_machines_of_several_kinds(project, copy, cluster):
    """Which oneDNN computes otherwise on, here by a setting of its own."""
    cluster.kill("127.0.0.4")
    cluster.restart("127.0.0.4", DNNL_MAX_CPU_ISA="SSE41")
    running = start(copy, "extract_features", cluster)
    _, errors = running.communicate(timeout=600)
    assert running.returncode == 1 and "Traceback" not in errors
    assert states(errors, "different kinds", "ray.mixed_machines", "params.yaml")
    assert not list((copy / "data").rglob("*.npy*"))
    change(ray__mixed_machines=True)
    extract(copy, cluster)
    assert set(arrays(copy)) == set(arrays(project))
    cluster.kill("127.0.0.4")
    cluster.restart("127.0.0.4")


def test_rows_come_through_the_driver_where_its_folder_is_not_seen(project, copy, cluster):
    hidden = copy / "data/features"
    hidden.mkdir(exist_ok=True)
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("only root may hide a folder from a process")
    for ip in ("127.0.0.3", "127.0.0.4"):
        cluster.kill(ip)
        cluster.restart(
            ip, "unshare", "--mount", "sh", "-c", f'mount -t tmpfs tmpfs "{hidden}" && exec "$@"', "sh"
        )
    extract(copy, cluster)
    assert arrays(copy) == arrays(project)


def test_where_no_cluster_answers(copy):
    change(ray__address="127.0.0.2:1")
    with refused("params.yaml", "ray.address", "127.0.0.2:1", "no cluster answers"):
        run("extract_features")


def test_where_ray_is_not_installed(copy, monkeypatch):
    monkeypatch.setattr(on_ray, "find_spec", lambda name: None)
    with refused("params.yaml", "engine", "ray", "not installed"):
        run("extract_features")
