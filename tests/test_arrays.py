"""Arrays on disk: what is read of them is what was written, or an error says which file is damaged."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.format import write_array_header_1_0

from stages.shared.pipeline.arrays import StoredArray, open_array, read_precision
from stages.shared.pipeline.cached import object_behind
from stages.shared.pipeline.checksums import SIZE, check_seal, seal
from tests.conftest import refused, run, run_in, states, write_array

VALUES = np.random.default_rng(0).normal(size=(2, 5, 3, 4)).astype("float16")  # 2 views of 5 images
FILE = Path("array.npy")


@pytest.fixture
def written(tmp_path, monkeypatch) -> bytes:
    """The content of FILE, which holds VALUES."""
    monkeypatch.chdir(tmp_path)
    write_array(FILE, VALUES, leading=2)
    return FILE.read_bytes()


def read_all() -> np.ndarray:
    array = StoredArray(FILE, 5, (3, 4))
    return np.stack([array.read(view, range(5)) for view in range(2)])


def test_a_file_is_read_by_us_and_by_numpy(written):
    assert (read_all() == VALUES).all()
    assert (np.load(FILE) == VALUES).all() and (np.load(FILE, mmap_mode="r")[1, 4] == VALUES[1, 4]).all()
    assert len(written) == 128 + VALUES.nbytes + (10 + 2) * SIZE


def test_every_flipped_bit_is_found_and_says_in_which_row(written):
    rows, header = VALUES.nbytes // 10, 128
    for place in range(len(written)):
        changed = bytearray(written)
        changed[place] ^= 1 << place % 8
        FILE.write_bytes(changed)
        row = (
            (place - header) // rows
            if place < header + VALUES.nbytes
            else (place - header - VALUES.nbytes) // SIZE
        )
        with refused(FILE, "damaged", *([f"row {row}"] if 0 <= row < 10 else [])):
            read_all()


def test_numbers_in_float16_know_whether_they_were_computed_in_bfloat16(written):
    assert read_precision(FILE) == "float16"
    write_array(FILE, VALUES, leading=2, precision="bfloat16")
    assert read_precision(FILE) == "bfloat16" and (np.load(FILE) == VALUES).all()
    assert FILE.read_bytes()[: -2 * SIZE] == written[: -2 * SIZE]
    FILE.write_bytes(FILE.read_bytes().replace(b"bfloat16", b"float16\0"))
    with refused(FILE, "damaged"):
        read_precision(FILE)


def test_only_what_is_read_is_verified(written):
    changed = bytearray(written)
    changed[128 + VALUES.nbytes // 10 * 7] ^= 1
    FILE.write_bytes(changed)
    array = StoredArray(FILE, 5, (3, 4))
    assert (array.read(1, [1, 3, 4]) == VALUES[1, [1, 3, 4]]).all()
    with refused(FILE, "row 7"):
        array.read(1, [1, 2])


def test_a_row_in_the_place_of_another_is_found(written):
    rows = VALUES.nbytes // 10
    changed = bytearray(written)
    for start, size in ((128, rows), (128 + VALUES.nbytes, SIZE)):  # the row and its checksum
        changed[start : start + size] = written[start + size : start + 2 * size]
    FILE.write_bytes(changed)
    with refused(FILE, "row 0"):
        read_all()


def header(**changes: object) -> bytes:
    described = {"descr": "<f2", "fortran_order": False, "shape": VALUES.shape, **changes}
    with Path("header").open("wb") as file:
        write_array_header_1_0(file, described)
    return Path("header").read_bytes()


class Hostile:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


DAMAGED = {
    "empty": lambda written: b"",
    "one byte": lambda written: b"\x93",
    "header only": lambda written: written[:128],
    "cut": lambda written: written[:-1],
    "cut by a row": lambda written: written[: -VALUES.nbytes // 10],
    "longer": lambda written: written + b"\0",
    "no checksums": lambda written: written[: 128 + VALUES.nbytes],
    "zeros": lambda written: bytes(len(written)),
    "pickled": lambda written: header(descr="|O") + pickle.dumps([Hostile()] * 10) + bytes(SIZE * 12),
    "a pickle": lambda written: pickle.dumps(Hostile()),
    "oversized": lambda written: header(shape=(2, 10**12, 3, 4)) + written[128:],
    "beyond numbers": lambda written: header(shape=(2, 10**30, 3, 4)) + written[128:],
    "negative": lambda written: header(shape=(2, -5, 3, 4)) + written[128:],
    "Fortran order": lambda written: header(fortran_order=True) + written[128:],
    "other numbers": lambda written: header(descr="<i2") + written[128:],
    "no YAML, no Python": lambda written: written[:10] + b"{'descr': __import__('os')" + written[36:],
    "a text": lambda written: b"version https://git-lfs.github.com/spec/v1\n" * 20,
    "an archive": lambda written: b"PK\3\4" + written,
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_file_that_is_no_array_of_ours(written, damage):
    FILE.write_bytes(DAMAGED[damage](written))
    with refused(FILE, "damaged"):
        read_all()
    with refused(FILE, "damaged"):
        open_array(FILE)
    assert not Path("executed").exists()


def test_a_row_that_was_never_written_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("stages.shared.pipeline.arrays.ArrayFile.write", lambda file, rows, values: None)
    write_array(tmp_path / FILE, VALUES, leading=2)
    with refused(FILE, "row 0"):
        StoredArray(tmp_path / FILE, 5, (3, 4)).read(0, [0])


def test_a_sealed_file(tmp_path):
    file = tmp_path / "sealed"
    for content in (b"", b"short", bytes(3_000_000)):
        file.write_bytes(content)
        seal(file)
        check_seal(file)
        whole = file.read_bytes()
        assert whole[:-SIZE] == content
        for damage in (
            whole[:-1],
            whole + b"\0",
            whole[1:],
            b"x" + whole[1:],
            whole[:-1] + b"x",
            b"",
            content,
        ):
            file.write_bytes(damage)
            with refused(file, "damaged"):
                check_seal(file)


@pytest.mark.parametrize("value", [np.nan, 3e37])
def test_a_damaged_feature_trains_nothing(extracted, value):
    file = Path("data/features/train.npy")
    with file.open("r+b") as features:
        features.seek(128)
        features.write(np.float32(value).tobytes())
    with refused(file, "damaged", "row 0"):
        run("train_head")
    assert not Path("data/models/head.keras").exists()


@pytest.mark.parametrize(
    "file, stage",
    [
        ("data/features/test.npy", "audit_leakage"),
        ("data/default_activations/validation.npy", "extract_views"),
        ("data/default_activations/test.npy", "extract_views"),
        ("data/views/features.npy", "train_augmented"),
        ("data/weights/conv_base.weights.h5", "extract_features"),
        ("data/weights/conv_base.weights.h5", "train_head"),
    ],
)
def test_each_reader_verifies(extracted, file, stage):
    path = Path(file)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)
    with refused(file, "damaged"):
        run(stage)


@pytest.mark.parametrize(
    "pattern, damage, fact",
    [
        (rb",apple,", b",applf,", "class indices"),
        (rb",0,", b",1,", "class indices"),
        (rb",0,", b",x,", "'x'"),
        (rb"class_index", b"class_inder", "class_index"),
        (rb",[0-9a-f]{64}", b",0", "sha256"),
        (rb"\n[^\n]*,[^\n]*", b"\n\xff", "utf-8"),
        (rb"(?s).*", b"", "columns"),
        (rb"(?s)\n.*", b"\n", "class indices"),
    ],
)
def test_a_damaged_split(extracted, pattern, damage, fact):
    file = Path("data/splits/train.csv")
    file.write_bytes(re.sub(pattern, damage, file.read_bytes(), count=1))
    with refused(file, "damaged", fact):
        run("train_head")


def test_the_error_says_what_mends_file_and_object(repository, monkeypatch):
    """Of an array and a model, which DVC's cache has as well; the command restores the undisturbed bytes."""
    monkeypatch.chdir(repository)
    before = Path("dvc.lock").read_bytes()
    for file, stage in (
        ("data/features/validation.npy", "train_head"),
        ("data/models/head.keras", "evaluate"),
    ):
        path = Path(file)
        content = path.read_bytes()
        damaged = bytearray(content)
        damaged[len(content) // 2] ^= 1
        behind = object_behind(path)
        assert behind and behind.read_bytes() == content
        for written in (path, behind):  # as a disk does where they are one file
            mode = written.stat().st_mode
            written.chmod(0o644)
            written.write_bytes(damaged)
            written.chmod(mode)
        with pytest.raises(SystemExit) as end:
            run(stage)
        said = str(end.value)
        assert states(said, file, behind, "damaged") and "\n" not in said
        run_in(repository, "sh", "-c", said.partition("To mend it: ")[2])
        assert path.read_bytes() == content and behind.read_bytes() == content
        run_in(repository, "git", "checkout", "--quiet", "metrics")
    assert Path("dvc.lock").read_bytes() == before


def test_the_error_where_dvc_lock_is_cut_itself(extracted):
    Path("dvc.lock").write_text("schema: '2.0'\nstages:\n  a:\n   b")
    Path("data/features/train.npy").write_bytes(b"")
    with refused("data/features/train.npy", "damaged", "dvc repro"):
        run("train_head")
