"""The store of single results: nothing is computed twice, and no output's bytes differ for it."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, closing, redirect_stdout
from errno import ENOSPC
from io import StringIO
from pathlib import Path

import pytest
import tensorflow as tf

from stages.shared.images.reading import BLOCK
from stages.shared.network import environment, gpu
from stages.shared.pipeline import arrays
from stages.shared.pipeline.checksums import checksum
from stages.shared.store import results
from stages.shared.store.fingerprint import take_fingerprint
from stages.shared.store.results import FILE, Store
from tests.conftest import (
    SIZE,
    TINY,
    arguments,
    change,
    class_folders,
    draw_images,
    place_weights,
    refused,
    run,
    states,
    variables_for,
    write_parameters,
)

KEYS = [bytes([number]) * 32 for number in range(256)]


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(folder=str(tmp_path / "store"), gigabytes=0.02)


def test_what_was_written_is_read(store):
    store.write({KEYS[0]: b"zero", KEYS[1]: b"one"})
    assert store.read(KEYS[:3]) == [b"zero", b"one", None]


def test_a_store_without_bound(tmp_path):
    endless = Store(folder=str(tmp_path), gigabytes=1e300)  # bytes that no float can count
    endless.write({b"key": b"value"})
    assert endless.read([b"key"]) == [b"value"]


def test_without_room_nothing_is_kept(tmp_path):
    store = Store(folder=str(tmp_path / "store"), gigabytes=0)
    store.write({KEYS[0]: b"zero"})
    store.mark_used(KEYS[:1])
    assert store.read(KEYS[:1]) == [None] and not (tmp_path / "store").exists()


def test_the_least_recently_used_go_first_and_the_file_stays_small(store, tmp_path):
    for number in range(200):
        store.write({KEYS[number]: os.urandom(300_000)})
        store.mark_used(KEYS[3:5])
    held = [number for number, value in enumerate(store.read(KEYS[:200])) if value is not None]
    assert held == [3, 4, *range(202 - len(held), 200)]
    kept, limit = len(held) * 300_000, store.gigabytes * 1e9
    assert limit * 0.8 < kept < (tmp_path / "store" / FILE).stat().st_size <= limit


def test_what_is_superseded_is_gone_and_its_room_used_again(store, tmp_path):
    store.write({KEYS[0]: bytes(5_000_000), KEYS[1]: b"one"})
    before = (tmp_path / "store" / FILE).stat().st_size
    store.write({KEYS[3]: bytes(5_000_000)}, instead_of=[KEYS[0], KEYS[2]])
    assert store.read(KEYS[:2]) == [None, b"one"] and store.read(KEYS[3:4]) == [bytes(5_000_000)]
    assert (tmp_path / "store" / FILE).stat().st_size == before


def test_a_damaged_result_counts_as_missing_until_it_is_written_again(store, tmp_path):
    values = {KEYS[0]: b"a" * 100_000, KEYS[1]: b"b" * 100_000}
    store.write(values)
    replace_bytes(tmp_path / "store", (b"a" * 3000, b"a" * 2999 + b"x"))
    assert store.read(KEYS[:2]) == [None, b"b" * 100_000]
    store.write(values)
    assert store.read(KEYS[:2]) == list(values.values())


def test_no_damage_hands_out_the_bytes_of_another_result(store, tmp_path):
    one, other = (KEYS[0], b"a" * 100), (KEYS[1], b"b" * 100)
    for first, second in ((one[0], other[0]), (one[1], other[1])):  # of the keys, then of the values
        store.write(dict([one, other]))
        replace_bytes(tmp_path / "store", (first, second), (second, first))
        assert store.read(KEYS[:2]) == [None, None]
        (tmp_path / "store" / FILE).unlink()
    store.write(dict([one, other]))
    replace_bytes(tmp_path / "store", (KEYS[1], KEYS[2]))
    assert store.read(KEYS[:3]) == [one[1], None, None]


@pytest.mark.parametrize("kind, found", [("CAST(value AS TEXT)", b"zero"), ("7", None), ("NULL", None)])
def test_a_flipped_bit_that_makes_another_type_of_a_value(store, tmp_path, kind, found):
    store.write({KEYS[0]: b"zero"})
    with closing(sqlite3.connect(tmp_path / "store" / FILE)) as connection, connection:
        connection.execute(f"UPDATE results SET value = {kind}")
    assert store.read(KEYS[:1]) == [found]


def replace_bytes(folder: Path, *pairs: tuple[bytes, bytes]) -> None:
    """Put in the file of the store in `folder` the second of each pair wherever the first stood."""
    content, new = (folder / FILE).read_bytes(), dict(pairs)
    places = re.compile(b"|".join(re.escape(old) for old in new))
    changed = places.sub(lambda place: new[place[0]], content)
    assert changed != content and len(changed) == len(content)
    (folder / FILE).write_bytes(changed)


def test_a_file_cut_at_any_length(tmp_path, capsys):
    store = Store(folder=str(tmp_path), gigabytes=1)
    values = {key: bytes([number]) * 1500 for number, key in enumerate(KEYS[:20])}
    store.write(values)
    whole = (tmp_path / FILE).read_bytes()
    said = []
    for length in range(0, len(whole), 512):
        (tmp_path / FILE).write_bytes(whole[:length])
        found = Store(folder=str(tmp_path), gigabytes=1).read(list(values))
        said.append(capsys.readouterr().err)
        assert all(value in (None, values[key]) for key, value in zip(values, found, strict=True))
        assert said[-1].count("\n") == (1 if said[-1] else 0)
    assert said[0] == "" and states(said[1], tmp_path, "malformed")


def test_without_a_store_that_works_a_stage_goes_on_and_says_so_once(tmp_path, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "folder" / FILE).mkdir(parents=True)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / FILE).write_bytes(b"no such thing" * 1000)
    Store(folder=str(tmp_path / "name"), gigabytes=1).write({KEYS[0]: b"zero"})
    replace_bytes(
        tmp_path / "name", (b"CREATE TABLE results", b"CREATE\xd4TABLE results")
    )  # which no message can decode
    for folder in ("file", "folder", "damaged", "name", "~nobody-of-that-name/store"):
        fails_and_says_so_once(tmp_path / folder if folder[0] != "~" else Path(folder), capsys)


def fails_and_says_so_once(folder: Path, capsys) -> None:
    store = Store(folder=str(folder), gigabytes=0.02)
    assert store.read(KEYS[:2]) == [None, None]
    store.write({KEYS[0]: b"zero"}, instead_of=KEYS[1:2])
    store.mark_used(KEYS[:1])
    assert store.read(KEYS[:1]) == [None]
    said = capsys.readouterr().err
    assert states(said, folder, "without", "store.folder") and said.count("\n") == 1


def test_a_store_that_another_process_holds_for_long(store, tmp_path, monkeypatch, capsys):
    store.write({KEYS[0]: b"zero"})
    monkeypatch.setattr(results, "PATIENCE", 0.1)
    with closing(sqlite3.connect(tmp_path / "store" / FILE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        fails_and_says_so_once(tmp_path / "store", capsys)
    assert store.read(KEYS[:1]) == [b"zero"]


def test_a_folder_that_vanishes_meanwhile(store, tmp_path, capsys):
    store.write({KEYS[0]: b"zero"})
    shutil.rmtree(tmp_path / "store")
    assert store.read(KEYS[:1]) == [None]
    store.write({KEYS[0]: b"zero"})
    assert store.read(KEYS[:1]) == [b"zero"] and capsys.readouterr().err == ""

    writer = start_writer(tmp_path / "store", "0")
    while writer.poll() is None:
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
    said = writer.communicate()[1]
    assert writer.returncode == 0 and said.count("\n") <= 1


def test_threads_and_child_processes_share_a_store(store):
    def write_and_read(number: int) -> bool:
        store.write({KEYS[number]: bytes([number]) * 1000})
        return store.read([KEYS[number]]) == [bytes([number]) * 1000]

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(write_and_read, range(20)))
    if (child := os.fork()) == 0:
        os._exit(0 if write_and_read(20) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert None not in store.read(KEYS[:21])


@pytest.mark.parametrize("resource, limit", [("RLIMIT_AS", 2 * 10**9), ("RLIMIT_FSIZE", 350_000)])
def test_a_limit_on_memory_is_kept_and_a_full_disk_stops_nothing(tmp_path, resource, limit):
    """The limit on the size of a file stands for the disk's."""
    command = [sys.executable, "-c", LIMITED, str(tmp_path), resource, str(limit)]
    ended = subprocess.run(command, env=variables_for(), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    kept = Store(folder=str(tmp_path), gigabytes=20).read(KEYS[:5])
    if resource == "RLIMIT_AS":
        assert ended.stderr == "" and kept == [bytes(100_000)] * 5
    else:
        assert states(ended.stderr, tmp_path, "without") and ended.stderr.count("\n") == 1
        assert kept == [bytes(100_000)] * 3 + [None] * 2


LIMITED = """
import resource, signal, sys
from stages.shared.store.results import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(getattr(resource, sys.argv[2]), (int(sys.argv[3]),) * 2)
store = Store(folder=sys.argv[1], gigabytes=20)
for number in range(5):
    store.write({bytes([number]) * 32: bytes(100_000)})
"""


WRITE = """
import os, sys
from stages.shared.store.results import Store
store = Store(folder=sys.argv[1], gigabytes=0.5)
for number in range(int(sys.argv[2]), int(sys.argv[2]) + 200):
    store.write({number.to_bytes(32): number.to_bytes(4) * 25_000})
    print(number, flush=True)
"""


def start_writer(folder: Path, first: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITE, str(folder), first]
    return subprocess.Popen(
        command, env=variables_for(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_two_writers_and_a_killed_one_leave_whole_results(tmp_path):
    writers = [start_writer(tmp_path / "store", first) for first in ("0", "1000", "2000")]
    output = writers[2].stdout
    assert output
    told = [int(output.readline()) for _ in range(20)][-1]
    writers[2].kill()
    assert [writer.wait() for writer in writers] == [0, 0, -signal.SIGKILL]
    assert [writer.communicate()[1] for writer in writers] == ["", "", ""]
    store = Store(folder=str(tmp_path / "store"), gigabytes=0.5)
    for first in (0, 1000, 2000):
        values = store.read([number.to_bytes(32) for number in range(first, first + 200)])
        whole = [number.to_bytes(4) * 25_000 for number in range(first, first + 200)]
        held = told - 1999 if first == 2000 else 200
        assert values[:held] == whole[:held]
        assert all(value in (None, expected) for value, expected in zip(values, whole, strict=True))


def from_store(output: str) -> dict[str, tuple[int, int]]:
    """Return, from what a stage printed, how many images of each file came from the store, and of how many."""
    return {
        file: (int(taken), int(total))
        for file, taken, total in re.findall(
            r"^(\S+): .* (\d+) of (\d+) images from the store", output, re.MULTILINE
        )
    }


def outputs() -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(Path("data").glob("*/*.npy"))}


def extract(**changes) -> dict[str, tuple[int, int]]:
    """Split and extract with the store, see that the same comes out without it, and return `from_store`."""
    change(store__gigabytes=0.1, store__folder="store", **changes)
    run("split_dataset")
    with redirect_stdout(StringIO()) as printed:
        run("extract_features", "extract_views")
    taken, with_store = from_store(printed.getvalue()), outputs()
    change(store__gigabytes=0)
    run("extract_features", "extract_views")
    assert outputs() == with_store
    return taken


@pytest.fixture(scope="module")
def extracted_once(build_once, vgg16_weights) -> Path:
    """A project folder of 30 images, split by fractions, with their results in the store."""

    def fill(folder: Path) -> None:
        write_parameters(folder, {**TINY, "image_size": SIZE, "augmentation.include_original": False})
        draw_images(folder / "images", class_folders())
        with chdir(folder):
            place_weights(vgg16_weights)
            taken = extract(split__train=None, split__validation=0.25, split__test=0.25)
        assert sum(total for _, total in taken.values()) > 30 and {count for count, _ in taken.values()} == {
            0
        }

    return build_once("filled", fill)


@pytest.fixture
def filled(extracted_once, tmp_path, monkeypatch) -> None:
    """A workspace with a copy of it."""
    monkeypatch.chdir(shutil.copytree(extracted_once, tmp_path / "project", symlinks=True))


def test_only_what_is_new_is_computed(filled):
    def computed(taken: dict) -> dict[str, int]:
        return {Path(file).stem: total - count for file, (count, total) in taken.items() if total != count}

    assert computed(extract()) == {}

    images = Path("images")
    draw_images(images, ["apple/new.png", "pear/new.png"])
    (images / "apple/0.png").unlink()
    (images / "apple/1.png").rename(images / "pear/relabelled.png")
    (images / "apple/2.png").rename(images / "apple/renamed.png")
    draw_images(images, ["pear/3.png"], seed=9)
    new = computed(extract())
    assert sum(new.get(name, 0) for name in ("train", "validation", "test")) == 3
    assert new["activations"] == 2 * new["train"]

    more = extract(augmentation__views=3)
    held, total = more["data/views/activations.npy"]
    assert (held, total) == (2 * total // 3, total)

    lower = extract(fine_tune__freeze_through="block3_pool")
    assert lower["data/views/features.npy"] == (total, total)
    assert lower["data/views/activations.npy"] == (0, total)


def test_nothing_is_taken_that_was_computed_otherwise(filled, capsys):
    for section, other in {
        "image_size": 48,
        "fit": "pad",
        "interpolation": "nearest",
        "white_16_bit": 4095,
        "conv_base__preprocessing": "rescale",
        "conv_base__precision": "bfloat16",
        "conv_base__weights": "random",
    }.items():
        change(store__gigabytes=0.1, **{section: other})
        if section == "conv_base__weights":
            Path("data/weights/conv_base.weights.h5").unlink()
            run("fetch_weights")
        capsys.readouterr()
        run("extract_features")
        taken = from_store(capsys.readouterr().out)
        assert len(taken) == 6 and {count for count, _ in taken.values()} == {0}, section


def test_on_another_number_of_cores_all_is_taken(filled, monkeypatch):
    monkeypatch.setattr(environment.os, "sched_getaffinity", lambda _: range(17))
    assert environment.describe()["cores"] == 17
    change(store__gigabytes=0.1)
    with redirect_stdout(StringIO()) as printed:
        run("extract_features", "extract_views")
    assert all(taken == total for taken, total in from_store(printed.getvalue()).values())


@pytest.mark.parametrize("flags, taken", [("avx512_bf16", True), ("avx2", False)])
def test_emulated_bfloat16_depends_on_the_number_of_cores(filled, monkeypatch, flags, taken):
    monkeypatch.setattr("stages.shared.network.precision.describe_processor", lambda: f"flags : {flags}")
    change(store__gigabytes=0.1, conv_base__precision="bfloat16")
    run("extract_features")
    monkeypatch.setattr(environment.os, "sched_getaffinity", lambda _: range(17))
    with redirect_stdout(StringIO()) as printed:
        run("extract_features")
    assert {found == total for found, total in from_store(printed.getvalue()).values()} == {taken}


def test_another_gpu_is_another_machine(monkeypatch, tmp_path):
    """Its name, its compute capability, CUDA, cuDNN, the driver, and whether products are rounded to TF32."""
    details = {"device_name": "NVIDIA H100", "compute_capability": (9, 0)}
    build = {"cuda_version": "12.5.1", "cudnn_version": "9", "is_cuda_build": True}
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda: [tf.config.PhysicalDevice("/gpu:0", "GPU")]
    )
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: details)
    monkeypatch.setattr(tf.sysconfig, "get_build_info", lambda: build)
    seen = {take_fingerprint([], [])}
    for values, key, other in (
        (details, "device_name", "NVIDIA A100"),
        (details, "compute_capability", (8, 0)),
        (build, "cuda_version", "12.6.0"),
        (build, "cudnn_version", "8"),
    ):
        monkeypatch.setitem(values, key, other)
        seen.add(take_fingerprint([], []))
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    seen.add(take_fingerprint([], []))
    monkeypatch.setattr(gpu, "DRIVER", tmp_path / "version")
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15\n")
    seen.add(take_fingerprint([], []))
    assert len(seen) == 7


def test_another_draw_is_computed_anew(filled, capsys):
    for section, other in {"seed": 1, "zoom": 0.1, "fill": "reflect"}.items():
        change(store__gigabytes=0.1, **{f"augmentation__{section}": other})
        run("extract_views")
        assert from_store(capsys.readouterr().out)["data/views/features.npy"][0] == 0, section


def stored_in(folder: Path) -> int:
    """Return the number of results that a store holds by now, while another process writes into it."""
    try:
        with closing(sqlite3.connect(f"file:{folder / FILE}?mode=ro", uri=True, timeout=60)) as connection:
            return connection.execute("SELECT count(*) FROM results").fetchone()[0]
    except sqlite3.OperationalError:  # it is not there yet
        return 0


def test_a_row_that_cannot_be_written_ends_the_stage(filled, monkeypatch):
    def refuse(content: bytes, *row: int) -> bytes:
        if row:  # of an array whose header is there
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        return checksum(content)

    shutil.rmtree("data/features")
    monkeypatch.setattr(arrays, "checksum", refuse)
    change(store__gigabytes=0)
    with refused("data/features", "No space left"):
        run("extract_features")
    assert not list(Path("data/features").iterdir())


def test_a_killed_run_resumes_where_it_was(workspace, vgg16_weights, capsys):
    place_weights(vgg16_weights)
    draw_images(Path("images"), class_folders(each=120))
    change(image_size=SIZE, store__gigabytes=0.1, store__folder="store")
    change(split__train=None, split__validation=0.1, split__test=0.1)
    run("split_dataset")
    command = [sys.executable, "-m", "stages.extract_features", *arguments("extract_features")]
    stage = subprocess.Popen(command, env=variables_for(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while stored_in(Path("store")) < 4 * BLOCK:  # two layers of each image
        assert stage.poll() is None
        time.sleep(0.01)
    stage.kill()
    stage.communicate()
    assert not Path("data/features/train.npy").exists()
    capsys.readouterr()
    run("extract_features")
    held, total = from_store(capsys.readouterr().out)["data/features/train.npy"]
    assert 2 * BLOCK <= held < total
    resumed = outputs()
    change(store__gigabytes=0)
    run("extract_features")
    assert outputs() == resumed


def test_an_image_that_changed_is_noticed_though_its_result_is_in_the_store(filled):
    change(store__gigabytes=0.1)
    draw_images(Path("images"), ["pear/3.png"], seed=9)
    with refused("images/pear/3.png", "changed"):
        run("extract_features")
