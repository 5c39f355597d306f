"""Images in S3: a real server on loopback, real DVC, and the bytes that the same images on disk give."""

import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from stages.shared.pipeline.splits import COLUMNS
from tests.conftest import call, class_folders, draw_images, states, write_parameters
from tests.remotes import free_port, serving_s3

pytestmark = pytest.mark.slow
IMAGES = "s3://photos/mine"
OUTPUTS = "data/splits/train.csv", "data/unused.csv", "metrics/split.json", "data/features/train.npy"


class Project:
    """A repository whose images lie in a bucket."""

    def __init__(self, folder: Path, bucket: Path, log: Path, port: int) -> None:
        self.folder, self.bucket, self.log = folder, bucket, log
        self.variables = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "id-for-tests",
            "AWS_SECRET_ACCESS_KEY": "secret-for-tests",
        }

    def change(self, **changes: object) -> None:
        dotted = {key.replace("__", "."): value for key, value in changes.items()}
        write_parameters(self.folder, dotted, self.folder / "params.yaml")

    def run(self, *command: str) -> tuple[str, int]:
        """Return what `command` prints, and how many objects were read meanwhile."""
        before = self.log.stat().st_size
        ended = call(self.folder, *command, **self.variables)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout, self.log.read_text()[before:].count("GET OBJECT")


@pytest.fixture
def project(repository, tmp_path) -> Iterator[Project]:
    folder = shutil.copytree(repository, tmp_path / "project", symlinks=True)
    bucket = tmp_path / "buckets/photos/mine"
    draw_images(bucket, class_folders())  # as in the repository, to whose images other tests add files
    port = free_port()
    with serving_s3(tmp_path, port, RCLONE_LOG_LEVEL="DEBUG"):
        found = Project(folder, bucket, tmp_path / "server.log", port)
        found.change(
            data__images=IMAGES,
            data__labels_from="folder",
            store__gigabytes=1,
            store__folder=str(tmp_path / "store"),
        )
        yield found


def test_the_bytes_are_those_of_images_on_disk_and_nothing_is_read_twice_without_need(project, repository):
    said, read = project.run("dvc", "repro", "extract_features")
    assert "Running stage 'split_dataset'" in said and read == 2 * 30  # for the split, and through the base
    for output in OUTPUTS:
        assert (project.folder / output).read_bytes() == (repository / output).read_bytes()

    assert project.run("dvc", "status", "extract_features") == ("Data and pipelines are up to date.\n", 0)
    said, read = project.run("dvc", "repro", "--force", "--single-item", "extract_features")
    assert "14 of 14 images from the store" in said and read == 0
    project.change(split__seed=1)
    said, read = project.run("dvc", "repro", "split_dataset")
    assert "Running stage 'split_dataset'" in said and read == 0

    draw_images(project.bucket, ["pear/3.png"], seed=7)
    said, read = project.run("dvc", "repro", "split_dataset")
    assert "Running stage 'split_dataset'" in said and read == 1


def test_tars_are_read_by_parts_and_nothing_of_them_twice_without_need(project, repository):
    for label in ("apple", "pear"):
        with tarfile.open(project.bucket / f"{label}.tar", "w") as tar:
            tar.add(project.bucket / label, label)
        shutil.rmtree(project.bucket / label)
    said, read = project.run("dvc", "repro", "extract_features")
    assert "Running stage 'split_dataset'" in said and 2 * 30 < read < 3 * 30  # and some for what is in them
    for output in OUTPUTS[2:]:
        assert (project.folder / output).read_bytes() == (repository / output).read_bytes()
    tables = [pd.read_csv(folder / OUTPUTS[0]) for folder in (project.folder, repository)]
    assert tables[0][list(COLUMNS)].equals(tables[1])

    said, read = project.run("dvc", "repro", "--force", "--single-item", "extract_features")
    assert "14 of 14 images from the store" in said and read == 0
    project.change(split__seed=1)
    said, read = project.run("dvc", "repro", "split_dataset")
    assert "Running stage 'split_dataset'" in said and read == 0


def test_labels_in_a_csv_file(project):
    for path in list(project.bucket.rglob("*.png")):
        path.rename(project.bucket / f"{path.parent.name}{path.name}")
    listed = sorted(path.name for path in project.bucket.glob("*.png"))
    (project.bucket / "labels.csv").write_text(
        "\n".join(["file,label", *(f"{name},{name.rstrip('.png0123456789')}" for name in listed)])
    )
    assert len(listed) == 30
    project.change(data__labels_from=f"{IMAGES}/labels.csv")
    said, _ = project.run("python", "-m", "tools.check")
    assert f"{IMAGES} (30 images of 2 classes)" in said
    project.change(data__labels_from="labels.csv")
    ended = call(project.folder, "python", "-m", "tools.check", **project.variables)
    assert ended.returncode == 1 and states(ended.stderr, "data.labels_from", "labels.csv", IMAGES)


@pytest.mark.parametrize("way", ["no server", "wrong secret"])
def test_where_s3_does_not_answer(project, way):
    other = {
        "no server": {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"},
        "wrong secret": {"AWS_SECRET_ACCESS_KEY": "wrong"},
    }
    ended = call(project.folder, "python", "-m", "tools.check", **project.variables | other[way])
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert states(ended.stderr, IMAGES, "cannot be read", "docs/scale.md")


def test_a_folder_without_an_object(project):
    project.change(data__images="s3://photos/none")
    ended = call(project.folder, "python", "-m", "tools.check", **project.variables)
    assert ended.returncode == 1 and states(ended.stderr, "s3://photos/none", "no images")
