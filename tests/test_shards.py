"""Images in tars: each is as good as the file that it would unpack to, and a tar that would not unpack is refused."""

import gzip
import io
import json
import shutil
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest

from stages.extract_features import check_complete
from stages.shared.extraction.decode_on_ray import decode
from stages.shared.images.image_folder import open_folder
from stages.shared.images.reading import read_blocks, read_pixels
from stages.shared.pipeline.splits import COLUMNS, SHARD_COLUMNS, SPLITS, place_of, read_split
from tests.conftest import change, class_folders, draw_images, image_input, refused, run, states
from tools.check.findings import Findings
from tools.check.images import check_images
from tools.check.project import Project

IMAGES = Path("images")


def pack(file: Path, members: dict[str, bytes], **how) -> None:
    """Write a tar of `members`, name and content."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w", **how) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def take(*paths: str) -> dict[str, bytes]:
    """Return the content of images, and take their files away."""
    contents = {path: Path(IMAGES, path).read_bytes() for path in paths}
    for path in paths:
        Path(IMAGES, path).unlink()
    return contents


def pack_classes() -> None:
    """Make a tar of each class folder, by the command of docs/scale.md."""
    for label in ("apple", "pear"):
        subprocess.run(
            ["tar", "--sort=name", "-cf", f"{IMAGES}/{label}.tar", "-C", IMAGES, label], check=True
        )
        shutil.rmtree(IMAGES / label)


def pack_mixed() -> None:
    """Make tars of both classes, of both formats, and one without folders, beside files and what is to be left aside."""
    first, second, third = (range(start, 15, 4) for start in (0, 1, 2))
    others = {"apple/.hidden": b"", "__MACOSX/apple/0.png": b"", "pear/Thumbs.db": b""}
    dotted = {
        f"./{path}": data
        for path, data in take(*(f"{c}/{n}.png" for c in ("pear", "apple") for n in first)).items()
    }
    pack(IMAGES / "shard-0.tar", dotted | others, format=tarfile.GNU_FORMAT)
    pack(IMAGES / "shard-1.TAR", take(*(f"{c}/{n}.png" for n in second for c in ("apple", "pear"))))
    flat = take(*(f"pear/{n}.png" for n in third))
    pack(IMAGES / "pear.tar", {path.removeprefix("pear/"): data for path, data in flat.items()})
    with tarfile.open(IMAGES / "pear.tar", "a") as tar:
        folder = tarfile.TarInfo("empty folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)


def shared(split: str) -> str:
    """Return the columns of a split that it has with and without shards."""
    return pd.read_csv(f"data/splits/{split}.csv", dtype=str)[list(COLUMNS)].to_csv()


def outcome() -> tuple[list[str], str, dict[str, str]]:
    unused = dict(pd.read_csv("data/unused.csv", dtype=str).itertuples(index=False))
    others = {path: reason for path, reason in unused.items() if reason != "holds images"}
    return [shared(split) for split in SPLITS], Path("metrics/split.json").read_text(), others


def fails(*facts: object) -> bool:
    with pytest.raises(SystemExit) as end:
        run("split_dataset")
    assert not Path("data/splits").exists() and "\n" not in str(end.value)
    return states(str(end.value), *facts)


@pytest.mark.parametrize("packed", [pack_classes, pack_mixed])
def test_the_split_is_that_of_the_unpacked_folder(workspace, packed):
    draw_images(IMAGES, [f"pear/{'long name ä' * 12}.png"])
    Path("images/pear/broken.png").write_bytes(b"no image")
    Path("images/pear/empty.png").write_bytes(b"")
    change(data__on_bad_image="exclude", split__train=6, split__group_by="[^/]+$")
    run("split_dataset")
    expected = outcome()
    assert list(pd.read_csv("data/splits/train.csv")) == [*COLUMNS, "group"]

    packed()
    change(data__images=f"{Path.cwd()}/images")
    run("split_dataset")
    assert outcome() == expected and {"pear/broken.png", "pear/empty.png"} < set(expected[2])
    table = read_split(Path("data/splits/train.csv"))
    assert list(table) == [*COLUMNS, "group", *SHARD_COLUMNS]
    for image in table.to_dict("records"):
        assert sha256(open_folder("images").read(place_of(image))).hexdigest() == image["sha256"]


@pytest.mark.parametrize("way", ["given", "filename", "csv"])
def test_labels_and_given_splits_in_tars(workspace, way):
    if way == "given":
        for label in ("apple", "pear"):
            for split, numbers in {"train": range(7), "val": range(7, 11), "test": range(11, 15)}.items():
                images = take(*(f"{label}/{n}.png" for n in numbers))
                renamed = {path.removeprefix(f"{label}/"): data for path, data in images.items()}
                pack(IMAGES / split / f"{label}.tar", renamed)
        change(split__given="folders")
    else:
        images = take(*class_folders())
        named = {path.replace("/", "."): data for path, data in images.items()}
        rows = [f"{name},{name.split('.')[0]}" for name in named]
        if way == "csv":
            named["labels.csv"] = "\n".join(["file,label", *rows]).encode()
        pack(IMAGES / "all.tar", named)
        change(data__labels_from="filename" if way == "filename" else "images/all/labels.csv")
    for empty in ("apple", "pear"):
        Path(IMAGES, empty).rmdir()
    Path("data").mkdir(exist_ok=True)
    Path("data/labels_corrected.csv").write_text("sha256,path,decision,label\n")
    check_images(Project({}, {}), findings := Findings())
    assert findings.checked == ["images (30 images of 2 classes)"] and findings.problems == []
    run("split_dataset")
    assert json.loads(Path("metrics/split.json").read_text())["images"] == {
        "train": 14,
        "validation": 8,
        "test": 8,
    }


def test_features_and_near_duplicates_are_those_of_the_unpacked_folder(extracted):
    written = sorted([*Path("data/features").iterdir(), *Path("data/default_activations").iterdir()])
    expected = [file.read_bytes() for file in written]
    change(leakage__cosine_similarity=1e-9, leakage__hash_bits=64)  # so that all images are looked at
    run("audit_leakage")
    audited = [Path("data/leakage/near_duplicates.csv"), Path("metrics/near_duplicates.png")]
    pairs = [file.read_bytes() for file in audited]
    for file in (*written, *audited):
        file.unlink()

    pack_mixed()
    run("split_dataset", "extract_features", "audit_leakage")
    assert len(written) == 6 and [file.read_bytes() for file in written] == expected
    assert len(pd.read_csv(audited[0])) > 10 and [file.read_bytes() for file in audited] == pairs


def test_heat_maps_map_and_report_are_those_of_the_unpacked_folder(trained_copy):
    run("draw_plots", "explain", "report")
    written = [
        Path("data/heat_maps/maps.npy"),
        Path("data/heat_maps/classes.csv"),
        Path("data/map/places.csv"),
        Path("data/map/thumbnails/0.webp"),
        Path("metrics/report.html"),
    ]
    expected = [file.read_bytes() for file in written]
    pack(Path("all.tar"), take(*(file.relative_to(IMAGES).as_posix() for file in IMAGES.rglob("*.png"))))
    shutil.rmtree(IMAGES)
    IMAGES.mkdir()
    Path("all.tar").rename(IMAGES / "all.tar")
    run("split_dataset", "map_images", "explain", "report")
    assert [file.read_bytes() for file in written] == expected


def test_blocks_are_read_here_and_by_tasks_of_ray(workspace):
    run("split_dataset")
    split = read_split(Path("data/splits/train.csv"))
    expected = [
        read_pixels(open_folder("images"), image, image_input()) for image in split.to_dict("records")
    ]
    pack_mixed()
    run("split_dataset")
    split = read_split(Path("data/splits/train.csv"))
    folder = open_folder("images").absolute()
    ((rows, pixels),) = read_blocks(split, folder, image_input(), 14)
    assert rows == slice(0, 14) and (pixels == expected).all()
    batch = {str(name): column.to_numpy() for name, column in split.items()}
    assert (decode(batch, folder, image_input())["pixels"] == pixels).all()


def test_a_tar_that_changed_or_came_since_the_split_is_noticed(workspace):
    files = Path("data/splits"), Path("data/unused.csv")
    pack_classes()
    pack(IMAGES / "others.tar", {"1.txt": b"none of these is in a split"})
    listed = [f"{path},{path.split('/')[0]}" for path in class_folders()]
    Path("images/labels.csv").write_text("\n".join(["file,label", *listed]))
    change(data__labels_from="images/labels.csv", data__unlisted="ignore")
    run("split_dataset")
    check_complete(*files, open_folder("images"))
    pack(IMAGES / "late.tar", {"1.png": b""})
    with refused(1, "images", "late.tar", "dvc repro --force --single-item split_dataset"):
        check_complete(*files, open_folder("images"))

    split = read_split(Path("data/splits/train.csv"))
    with (IMAGES / "pear.tar").open("r+b") as file:
        file.truncate(split["offset"][split["shard"] == "pear.tar"].max() + 1)
    with refused("images/pear", "changed", "dvc repro"):
        list(read_blocks(split, open_folder("images"), image_input()))
    (IMAGES / "pear.tar").unlink()
    with refused("images/pear", "No such file", "dvc repro"):
        list(read_blocks(split, open_folder("images"), image_input()))


def member(name: str = "apple/1.png", **of_header) -> bytes:
    """Return a tar of one member, without content, as its header says."""
    info = tarfile.TarInfo(name)
    for key, value in of_header.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + bytes(1024)


def packed(*names: str, **how) -> bytes:
    pack(Path("packed.tar"), dict.fromkeys(names, b"content"), **how)
    return Path("packed.tar").read_bytes()


SPARSE = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "1"}
REFUSED = {
    "a link": (
        lambda: member(type=tarfile.SYMTYPE, linkname="../0.png"),
        ("1 members", "apple/1.png", "links"),
    ),
    "a hard link": (lambda: member(type=tarfile.LNKTYPE, linkname="apple/0.png"), ("apple/1.png", "links")),
    "a device": (lambda: member(type=tarfile.CHRTYPE), ("apple/1.png", "no files")),
    "an unknown kind": (lambda: member(type=b"Z"), ("apple/1.png", "no files")),
    "a sparse file": (lambda: packed_with(SPARSE), ("apple/1.png", "sparse")),
    "an absolute name": (lambda: packed("/etc/passwd"), ("/etc/passwd", "leads out")),
    "a name that leads out": (lambda: packed("apple/../../0.png"), ("apple/../../0.png", "leads out")),
    "a name that is neither": (lambda: member("/apple/\udcff.png"), (r"'/apple/\udcff.png'", "leads out")),
    "no name": (lambda: packed("."), ("no name",)),
    "a name that is not UTF-8": (lambda: member("apple/\udcff.png"), (r"'apple/\udcff.png'", "UTF-8")),
    "with folders and without": (
        lambda: packed("1.png", "apple/2.png", "pear/3.png"),
        (1, 3, "in no folder"),
    ),
    "a path twice": (lambda: packed("apple/a.png", "./apple//a.png"), ("2 files", "apple/a.png (x.tar)")),
    "a file's path": (
        lambda: packed("apple/0.png"),
        ("2 files", "apple/0.png (a file)", "apple/0.png (x.tar)"),
    ),
    "hidden files only": (lambda: packed(".DS_Store", "apple/.1.png"), ("holds no files",)),
    "no tar": (lambda: b"\xff\xd8" + bytes(2000), ("cannot be read as a tar",)),
    "an empty file": (lambda: b"", ("cannot be read as a tar", "empty")),
    "a compressed tar": (lambda: gzip.compress(packed("1.png")), ("cannot be read as a tar",)),
    "cut in a file": (lambda: packed("1.png", "2.png")[:1540], ("cannot be read as a tar", "unexpected end")),
    "cut between files": (
        lambda: packed("1.png", "2.png")[:1024],
        ("cannot be read as a tar", "end is missing"),
    ),
    "damaged between files": (
        lambda: packed("1.png", "2.png")[:1024] + bytes([1]) + packed("1.png", "2.png")[1025:],
        ("cannot be read as a tar", "end is missing"),
    ),
    "an endless one": (
        lambda: packed("1.png")[:1024] + member("2.png", size=-512),
        ("cannot be read as a tar", "less than no bytes"),
    ),
    "an endless name": (
        lambda: member(type=tarfile.GNUTYPE_LONGNAME, size=-1024),
        ("cannot be read as a tar",),
    ),
    "a huge file": (lambda: member(size=2**80), ("cannot be read as a tar",)),
    "a huge sparse map": (
        lambda: packed_with({"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}),
        ("as a tar",),
    ),
}


def packed_with(headers: dict[str, str]) -> bytes:
    info = tarfile.TarInfo("apple/1.png")
    info.pax_headers = headers
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape") + bytes(1024)


@pytest.mark.parametrize("kind", REFUSED)
def test_a_tar_that_would_not_unpack_is_refused(workspace, kind):
    content, facts = REFUSED[kind]
    Path("images/x.tar").write_bytes(content())
    assert fails(*facts, "x.tar")


@pytest.mark.parametrize("name", ["a.tar.gz", "b.TGZ", "c.tar.zst", "d.tar.xz", "e.tar.bz2"])
def test_a_compressed_tar_is_to_be_unpacked(workspace, name):
    Path(IMAGES, name).write_bytes(gzip.compress(packed("1.png")))
    assert fails("1 files in images", name, ".tar")


@pytest.mark.parametrize(
    "columns", [{"shard": "x.tar"}, {"shard": "x.tar", "offset": -1, "length": 5}, {"offset": 1, "length": 5}]
)
def test_a_split_without_a_place_is_damaged(workspace, columns):
    run("split_dataset")
    file = Path("data/splits/train.csv")
    pd.read_csv(file).assign(**columns).to_csv(file, index=False)
    with refused(file, "shard"):
        read_split(file)
