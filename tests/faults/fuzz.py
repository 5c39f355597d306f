"""Mutated inputs, for the readers of what comes from outside: each is refused in a sentence or read as what it says.

    python -m tests.faults.fuzz KIND FOLDER SEED    prints a line a try, until it is ended

In a process of its own, which none of it may crash, hang or have run anything. A mutant that gives a new answer
is mutated further. One that shows a defect is kept in the folder for temporary files.
"""

import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tarfile
import tempfile
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import redirect_stderr, redirect_stdout
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from stages.shared.images.decoding import decode
from stages.shared.images.fit import resize
from stages.shared.images.image_folder import open_folder
from stages.shared.images.opening import fault_of, opened
from stages.shared.pipeline.arrays import StoredArray
from stages.shared.pipeline.checksums import SIZE, checksum
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.splits import read_split
from tests.conftest import DEFAULTS, draw_images, image_input, variables_for, write_array
from tests.faults.damaged_store import damage_store, read_store, store_seeds
from tests.faults.trying import Try, Undisturbed, last_line

HANGS = 60  # seconds for one input, on a busy machine
MEMORY = 2**30  # bytes more than before the first input
LARGE = 10**5  # bytes of a mutant that is not mutated further
NUMBERS = [0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1]
RUNS = {
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "subprocess.Popen",
    "socket.connect",
    "pickle.find_class",
}
REFUSED = "refused in a sentence"
VALUES = [
    None, True, 0, -1, 1, 2.5, -0.0, 1e308, 10**30, float("nan"), float("inf"), "", "a\0b", "~", "\ud83d", "é" * 300,
    [], [1, "a"], {}, {"a": {"b": 1}}, {1: 2}, "*x", "2024-02-30", "null", "column:", "column:x", "(a+)+", "[", "../..",
]  # fmt: skip


class Kind(NamedTuple):
    """A kind of input: what is mutated, how, and what a reader makes of it."""

    seeds: Callable[[], list[bytes]]
    mutate: Callable[[bytes, list[bytes], random.Random], bytes]
    read: Callable[[bytes], str]  # what is seen; anything but a UserError that it raises is a defect


def flip(content: bytes, corpus: list[bytes], rng: random.Random) -> bytes:
    """Return `content` with one to four changes of bytes."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(changed) + 1)
        size = rng.choice((1, 2, 4, 16, 256))
        match rng.randrange(8):
            case 0 | 1 if place < len(changed):
                changed[place] ^= 1 << rng.randrange(8)
            case 2:
                number = rng.choice(NUMBERS) & (2 ** (8 * min(size, 4)) - 1)
                changed[place : place + min(size, 4)] = number.to_bytes(
                    min(size, 4), rng.choice(("big", "little"))
                )
            case 3:
                del changed[place : place + size]
            case 4:
                changed[place:place] = rng.randbytes(size)
            case 5:
                changed[place:place] = changed[place : place + size] * rng.choice((1, 2, 50))
            case 6:
                other = rng.choice(corpus)
                start = rng.randrange(len(other) + 1)
                changed[place : place + size] = other[start : start + size]
            case _:
                if rng.random() < 0.2:
                    del changed[place:]
    return bytes(changed)


# Images


def draw_seeds() -> list[bytes]:
    """Return small images of every mode in every format that Pillow, or its plugin for HEIC, writes and reads."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    Image.init()
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (24, 20, 3), "uint8"))
    grey = Image.fromarray(rng.integers(0, 65536, (24, 20), "uint16"))
    images = [*(noise.convert(mode) for mode in ("RGB", "L", "RGBA", "LA", "P", "1", "CMYK", "I", "F")), grey]
    exif = Image.Exif()
    exif[0x0112] = 6
    options: dict[str, list[dict]] = {
        "PNG": [{"exif": exif}, {"optimize": True}],
        "JPEG": [{"exif": exif}, {"progressive": True}],
        "GIF": [{"save_all": True, "append_images": images[:2]}],
        "TIFF": [
            {"compression": c} for c in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits", "group4", "raw")
        ],
        "WEBP": [{"lossless": True}, {"exif": exif}],
    }
    seeds = []
    for kind in Image.SAVE:
        for image in images if kind in Image.OPEN or kind in ("HEIF", "EPS") else []:
            for given in ({}, *options.get(kind, [])):
                file = io.BytesIO()
                try:
                    image.save(file, kind, **given)
                except Exception:  # noqa: S112  not every format takes every mode
                    continue
                seeds.append(file.getvalue())
    return seeds


def mutate_image(content: bytes, corpus: list[bytes], rng: random.Random) -> bytes:
    changed = flip(content, corpus, rng)
    return with_checksums(changed) if content.startswith(b"\x89PNG") and rng.random() < 0.7 else changed


def with_checksums(png: bytes) -> bytes:
    """Return a PNG whose chunks have right checksums, so that what reads them sees what is in them."""
    changed, place = bytearray(png), 8
    while place + 12 <= len(changed):
        length = int.from_bytes(changed[place : place + 4])
        end = place + 8 + length
        changed[end : end + 4] = (
            zlib.crc32(changed[place + 4 : end]).to_bytes(4) if end + 4 <= len(changed) else b""
        )
        place = end + 4
    return bytes(changed)


def read_image(content: bytes) -> str:
    """As split_dataset does, and where it takes the image then as extract_features does."""
    try:
        with opened(content, 1) as file:
            kind = file.format
            decode(file, 65535)
    except Exception as error:  # as there
        if isinstance(error, MemoryError) or not fault_of(error):
            raise
        return "a bad image, with its reason"
    with opened(content) as file:
        pixels = resize(decode(file, 65535), image_input())
    with opened(content) as file:
        assert (pixels == resize(decode(file, 65535), image_input())).all(), "other pixels at the second time"
    assert pixels.shape == (32, 32, 3) and pixels.dtype == np.uint8 and kind
    return "an image"


# Labels


def write_seeds_of_labels() -> list[bytes]:
    names = [f"{label}/{number}.png" for label in ("apple", "pear") for number in range(5)]
    draw_images(Path("images"), names)
    rows = [f"{name},{name.split('/')[0]},{number % 3},train" for number, name in enumerate(names)]
    plain = "\n".join(["file,label,patient,part", *rows, ""])
    return [
        plain.encode(),
        plain.encode("utf-16"),
        plain.replace(",", ";").encode("utf-8-sig"),
        plain.replace(",apple,", ',"äp,f""el",').replace("\n", "\r\n").encode(),
    ]


def read_labels(content: bytes) -> str:
    from stages.split_dataset.assignment import Split
    from stages.split_dataset.checks import check_labels
    from stages.split_dataset.labels import Columns, Data, list_images

    Path("images/labels.csv").write_bytes(content)
    data = Data(
        images="images",
        labels_from="images/labels.csv",
        columns=Columns(file="file", label="label"),
        labels_corrected="labels_corrected.csv",
        unlisted="ignore",
        on_bad_image="fail",
        max_megapixels=1,
    )
    split = Split(given=None, seed=0, train=None, validation=0.2, test=0.2, group_by="column:patient")
    folder = open_folder("images")
    table, _ = list_images(folder, data, split)
    check_labels(table.assign(sha256=table["path"]), folder)
    assert table["path"].is_unique and all(Path("images", path).is_file() for path in table["path"])
    assert all(text and text.strip() == text for text in [*table["label"], *table["group"]])
    return "read, each image once"


# Tars of images


def write_seeds_of_tars() -> list[bytes]:
    Path("images").mkdir(exist_ok=True)
    seeds = []
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        for names in (["a.png", "b.png"], ["cat/é.png", f"dog/{'long' * 60}.png", "dog/.hidden"]):
            file = io.BytesIO()
            with tarfile.open(fileobj=file, mode="w", format=kind) as tar:
                for name in names[: 1 if kind == tarfile.USTAR_FORMAT else None]:
                    member = tarfile.TarInfo(name)
                    member.size = 700
                    tar.addfile(member, io.BytesIO(bytes(range(70)) * 10))
            seeds.append(file.getvalue())
    return seeds


def mutate_tar(content: bytes, corpus: list[bytes], rng: random.Random) -> bytes:
    """Half of the time as a hostile hand does, with right checksums of changed headers."""
    mutant = flip(content, corpus, rng)
    if rng.random() < 0.5:
        return mutant
    blocks = [bytearray(mutant[place : place + 512]) for place in range(0, len(mutant), 512)]
    for block in blocks:
        if block[257:262] == b"ustar" and len(block) == 512:
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
    return b"".join(blocks)


def read_tar(content: bytes) -> str:
    from stages.split_dataset.shards import read_members

    Path("images/x.tar").write_bytes(content)
    members = read_members(open_folder("images"), "x.tar")
    assert all(path and not {"..", ""} & set(path.split("/")) for path, _, _ in members)
    assert all(512 <= offset and 0 <= length <= len(content) - offset for _, offset, length in members)
    return "read, each member a part of it"


# Parameters


def mutate_parameters(content: bytes, corpus: list[bytes], rng: random.Random) -> bytes:
    if rng.random() < 0.4:
        return flip(content, corpus, rng)
    yaml = YAML()
    try:
        values = yaml.load(content)
        section = rng.choice([values, *(value for value in values.values() if isinstance(value, dict))])
        section[rng.choice(list(section)) if rng.random() < 0.9 else rng.choice(VALUES[:18])] = rng.choice(
            VALUES
        )
        text = io.BytesIO()
        yaml.dump(values, text)
    except Exception:  # what an earlier change has made no YAML, or YAML cannot write
        return flip(content, corpus, rng)
    return text.getvalue()


def read_parameters(content: bytes) -> str:
    from tools.check.findings import Findings
    from tools.check.parameters import check_parameters

    Path("params.yaml").write_bytes(content)
    findings = Findings()
    check_parameters(findings)
    if findings.problems:
        raise UserError("\n".join(findings.problems))
    return "allowed"


# Arrays

ROWS = np.random.default_rng(0).normal(size=(2, 5, 3, 4)).astype("float16")  # 2 views of 5 images


def write_seeds_of_arrays() -> list[bytes]:
    write_array(Path("array.npy"), ROWS, leading=2)
    return [Path("array.npy").read_bytes()]


def mutate_array(content: bytes, corpus: list[bytes], rng: random.Random) -> bytes:
    """Half of the time as a hostile hand does, which writes the checksum of header and precision anew."""
    if rng.random() < 0.5:
        return flip(content, corpus, rng)
    header, precision = flip(content[:128], corpus, rng), content[-2 * SIZE : -SIZE]
    return header + content[128:-SIZE] + checksum(header + precision)


def read_array(content: bytes) -> str:
    Path("array.npy").write_bytes(content)
    array = StoredArray(Path("array.npy"), 5, (3, 4))
    found = np.stack([array.read(view, range(5)) for view in range(array.views)])
    assert found.dtype == ROWS.dtype and (found == ROWS[: len(found)]).all(), "other numbers"
    return "read as they were"


# Splits


def write_seeds_of_splits() -> list[bytes]:
    rows = [
        f"{c}/{n}.png,{c},{i},{sha256(f'{c}{n}'.encode()).hexdigest()}"
        for i, c in enumerate("ab")
        for n in range(4)
    ]
    in_shards = [f"{row},x.tar,{1024 * number},100" for number, row in enumerate(rows)]
    return [
        "\n".join(["path,label,class_index,sha256", *rows, ""]).encode(),
        "\n".join(["path,label,class_index,sha256,shard,offset,length", *in_shards, ""]).encode(),
    ]


def read_a_split(content: bytes) -> str:
    Path("split.csv").write_bytes(content)
    split = read_split(Path("split.csv"))
    assert split["class_index"].dtype == np.int64 and split["sha256"].str.len().eq(64).all()
    assert split.groupby("label")["class_index"].nunique().eq(1).all()
    assert "shard" not in split or (split[["offset", "length"]] >= 0).all(axis=None)
    return "read, labels and class indices one to one"


# Models and weights


def save_seeds_of_models() -> list[bytes]:
    import keras

    from stages.shared.network import model_file
    from tests.models import some_classifier

    pixels = keras.Input((32, 32, 3))
    hidden = keras.layers.Conv2D(2, 3, activation="relu")(pixels)
    pooled = keras.layers.GlobalAveragePooling2D(name="pooling")(hidden)
    network = keras.Model(pixels, keras.layers.Dense(1, activation="sigmoid")(pooled))
    model_file.save(some_classifier(network, "ab", 0.5), Path("model.keras"))
    return [Path("model.keras").read_bytes()]


def mutate_model(content: bytes, corpus: list[bytes], rng: random.Random) -> bytes:
    """Half of the time as a hostile hand does, which makes an archive with right checksums of changed members."""
    if rng.random() < 0.3:
        return flip(content, corpus, rng)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = rng.choice(list(members))
        if name.endswith(".json") and rng.random() < 0.7:
            members[name] = json.dumps(change_part(json.loads(members[name]), rng)).encode()
        else:
            members[name] = flip(members[name], corpus, rng)
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, member in members.items():
                archive.writestr(name, member)
    except Exception:  # what an earlier change has made no archive
        return flip(content, corpus, rng)
    return file.getvalue()


KINDS_OF_LAYERS = [
    "Lambda",
    "TFSMLayer",
    "Dense",
    "Sequential",
    "TextVectorization",
    "StringLookup",
    "Functional",
]


def change_part(content: object, rng: random.Random) -> object:
    """Return `content`, of JSON, with one value in it exchanged."""
    places = []

    def walk(part: object) -> None:
        if isinstance(part, (dict, list)):
            for key in part if isinstance(part, dict) else range(len(part)):
                places.append((part, key))
                walk(part[key])

    walk(content)
    part, key = rng.choice(places)
    part[key] = rng.choice(
        [*VALUES, *KINDS_OF_LAYERS, rng.choice(places)[0], "builtins", "os", "keras.layers", "system"]
    )
    return content


def read_model(content: bytes) -> str:
    from stages.shared.network import model_file

    Path("model.keras").write_bytes(content)
    classifier = model_file.load(Path("model.keras"))
    assert classifier.network.output_shape == (None, 1) and len(classifier.class_names) == 2
    return "a network of the layers that we save"


def save_seeds_of_weights() -> list[bytes]:
    """Two files with other numbers, so that what they have in common is HDF5's own."""
    from stages.shared.network import conv_base

    files = []
    for _ in range(2):
        conv_base.build("mobilenet", 32).save_weights("seed.weights.h5")
        files.append(Path("seed.weights.h5").read_bytes())
    return files


def mutate_weights(content: bytes, corpus: list[bytes], rng: random.Random) -> bytes:
    one, other = (np.frombuffer(corpus[place], "uint8") for place in (0, 1))
    shared = np.flatnonzero(one[: len(other)] == other[: len(one)])
    start = int(rng.choice(shared[shared < len(content)] if rng.random() < 0.7 else shared[:4096]))
    return content[:start] + flip(content[start : start + 64], corpus, rng) + content[start + 64 :]


def read_weights(content: bytes) -> str:
    from stages.shared.network import conv_base

    Path("foreign.weights.h5").write_bytes(content)
    conv_base.load_weights(conv_base.build("mobilenet", 32), Path("foreign.weights.h5"), "mobilenet")
    return "finite weights of the right shapes"


KINDS = {
    "images": Kind(draw_seeds, mutate_image, read_image),
    "CSV files of labels": Kind(write_seeds_of_labels, flip, read_labels),
    "tars of images": Kind(write_seeds_of_tars, mutate_tar, read_tar),
    "params.yaml": Kind(lambda: [DEFAULTS.read_bytes()], mutate_parameters, read_parameters),
    "arrays": Kind(write_seeds_of_arrays, mutate_array, read_array),
    "splits": Kind(write_seeds_of_splits, flip, read_a_split),
    "models": Kind(save_seeds_of_models, mutate_model, read_model),
    "files of the store": Kind(store_seeds, damage_store, read_store),
    "foreign weights": Kind(save_seeds_of_weights, mutate_weights, read_weights),
}


def fuzz(kind: Kind, seed: str) -> Iterator[tuple[bytes, str, str]]:
    """Yield each mutant, what was seen, and what was wrong with that, or nothing."""
    rng = random.Random(seed)
    originals, answers = kind.seeds(), set()
    corpus = originals.copy()
    ran = []
    for content in originals:  # which imports what is needed
        kind.read(content)
    sys.addaudithook(lambda event, arguments: ran.append((event, arguments)) if event in RUNS else None)
    while True:
        mutant = kind.mutate(rng.choice(originals if rng.random() < 0.5 else corpus), corpus, rng)
        signal.alarm(HANGS)
        answer, wrong = "", ""
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            try:
                answer = seen = kind.read(mutant)
            except UserError as error:
                answer, seen = str(error), REFUSED
                wrong = "" if answer and "Traceback" not in answer else "no sentence"
            except BaseException:
                seen, wrong = "a defect", traceback.format_exc()
        signal.alarm(0)
        if ran:
            wrong += f"it ran {ran}"
            ran.clear()
        shape = "".join(letter for letter in answer if letter.isalpha())
        if shape not in answers and len(corpus) < 2000 and len(mutant) < LARGE:
            answers.add(shape)
            corpus.append(mutant)
        yield mutant, seen, wrong


def try_fuzz(name: str) -> Callable[[Path, Undisturbed | None, int], Generator[Try]]:
    """Return what tries mutants of the kind `name` in another process."""

    def tries(folder: Path, undisturbed: Undisturbed | None, seed: int) -> Generator[Try]:
        for attempt in count():
            command = [sys.executable, "-m", "tests.faults.fuzz", name, str(folder), f"{seed} {attempt}"]
            with (
                (folder / "stderr.txt").open("w") as stderr,
                subprocess.Popen(
                    command, env=variables_for(), stdout=subprocess.PIPE, stderr=stderr, text=True
                ) as process,
            ):
                assert process.stdout
                try:
                    for line in process.stdout:
                        wrong, seen = line.rstrip("\n").split("\t")
                        yield Try(f"mutated {name}", not wrong, wrong or seen)
                finally:
                    process.kill()
            said = last_line((folder / "stderr.txt").read_text(errors="replace"))
            mutant = keep((folder / "last").read_bytes())
            yield Try(f"mutated {name}", False, f"it ended with {process.returncode} on {mutant}: {said}")

    return tries


def keep(mutant: bytes) -> Path:
    file = Path(tempfile.gettempdir(), f"mutant-{sha256(mutant).hexdigest()[:12]}")
    file.write_bytes(mutant)
    return file


def main(name: str, folder: str, seed: str) -> None:
    os.chdir(folder)
    warnings.simplefilter("ignore")
    if name not in ("models", "foreign weights"):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2 * MEMORY, used + 2 * MEMORY))
    last = Path("last")
    read = KINDS[name].read

    def note(content: bytes) -> str:
        last.write_bytes(content)  # what a crash was on
        return read(content)

    for mutant, seen, wrong in fuzz(KINDS[name]._replace(read=note), seed):
        said = f"{' '.join(wrong.split())[-300:]} ({keep(mutant)})" if wrong else ""
        print(f"{said}\t{seen}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
