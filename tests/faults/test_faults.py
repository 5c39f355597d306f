"""A few of each fault that `python -m tests.faults` tries for some 40 minutes, on the stages that take least."""

import random
import shutil
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from threading import Event, Timer

import pytest
from ruamel.yaml import YAML

from tests.conftest import PIPELINE, reproduce, write_parameters
from tests.faults import damage, dying_remotes, full_disks, kills, together
from tests.faults.__main__ import rows, table, unfold
from tests.faults.fuzz import KINDS, try_fuzz
from tests.faults.trying import STORE, Try, Undisturbed, hash_files, read_lock

pytestmark = pytest.mark.slow
LATE = "train_head draw_plots".split()  # one that trains, and one that does not load TensorFlow


@pytest.fixture(scope="module")
def undisturbed(repository, build_once) -> Undisturbed:
    """The repository, and before its stages LATE have run."""

    def make(folder: Path) -> None:
        done = shutil.copytree(repository, folder / "done/project", symlinks=True)
        write_parameters(done, STORE, done / "params.yaml")
        assert reproduce(done) == set()
        bare = shutil.copytree(done, folder / "bare/project", symlinks=True)
        shutil.rmtree(bare / ".dvc/cache/runs")
        lock = YAML(typ="safe").load(bare / "dvc.lock")
        for stage in LATE:
            del lock["stages"][stage]
            for kind in ("outs", "metrics", "plots"):
                for out in PIPELINE["stages"][stage].get(kind, []):
                    path = bare / (out if isinstance(out, str) else next(iter(out)))
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        YAML().dump(lock, bare / "dvc.lock")

    made = build_once("late", make)
    done = made / "done/project"
    return Undisturbed(made / "bare/project", done, hash_files(done), read_lock(done))


def survived(tries: Iterator[Try], count: int) -> bool:
    """Whether the first `count` tries were all survived; those that were not are shown."""
    found = list(islice(tries, count))
    assert [one for one in found if not one.survived] == []
    return len(found) == count


def test_kills(undisturbed, tmp_path):
    enough, lasts = Event(), defaultdict(lambda: 1.0)
    Timer(4, enough.set).start()
    tried = kills.try_chain(tmp_path / "chain", undisturbed, random.Random(1), lasts, enough)
    assert survived(iter(tried), len(tried)) and len(tried) > 1


def test_damage(undisturbed, tmp_path):
    """Six files that stages read, and ten that DVC keeps; by this seed no stage takes long that is not stopped."""
    assert survived(damage.try_damage(tmp_path, undisturbed, seed=3), 16)


def test_a_full_store(undisturbed, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if not full_disks.may_mount(disk):
        pytest.skip("this user may not mount a file system")
    with full_disks.small_disk(disk, 2**31):
        one = full_disks.try_store(tmp_path, undisturbed, 0, random.Random(1))
    assert survived(iter([one]), 1)


def test_two_clones(undisturbed, tmp_path):
    assert survived(iter([together.try_two_clones(tmp_path, undisturbed, random.Random(1))]), 1)


def test_a_remote_that_dies(undisturbed, tmp_path):
    with dying_remotes.vanishing_folder(tmp_path) as (settings, remote):
        tries = dying_remotes.try_push_and_pull(tmp_path, undisturbed, settings, remote, random.Random(1))
        assert survived(tries, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_mutants(kind, tmp_path):
    tries = try_fuzz(kind)(tmp_path, None, 1)
    assert survived(tries, {"foreign weights": 1, "params.yaml": 4, "models": 30}.get(kind, 100))
    tries.close()


def test_a_defect_is_shown():
    tries = [Try("b", True, "x"), Try("a", False, "y"), Try("b", True, "x"), Try("b", True, "z")]
    said = table({"kills": rows(tries)})
    assert said.splitlines()[2:] == ["| a | 1 | 0 | y (1) |", "| b | 3 | 3 | x (2), z (1) |"]
    assert table({"kills": rows(unfold(rows(tries)))}) == said
    with pytest.raises(AssertionError, match="'y'"):
        survived(iter(tries), 3)
