"""What the tests share: tiny images, and the real stages run on them."""

import fcntl
import gc
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML

from stages import set_variables
from stages.shared.pipeline.arrays import array_file
from stages.shared.pipeline.image_input import ImageInput
from tests.warm_python import warm_python

PROJECT = Path(__file__).parents[1]
PIPELINE, SAMPLE = (YAML(typ="safe").load(PROJECT / file) for file in ("dvc.yaml", "data/raw/dvc.yaml"))
TRAINED = (  # stages that lead to the three models and their evaluation
    "split_dataset extract_features audit_leakage audit_labels map_images learning_curve extract_views train_head "
    "train_augmented fine_tune evaluate"
).split()
TINY = {
    "data.images": "images",
    "split.train": 7,
    "split.validation": 4,
    "split.test": 4,
    "image_size": 64,
    "conv_base.precision": "float32",
    "augmentation.views": 2,
    "cross_validation.folds": 2,
    "cross_validation.repeats": 1,
    "head.units": 8,
    "head.epochs": 2,
    "augmented.units": 8,
    "augmented.epochs": 2,
    "fine_tune.epochs": 1,
    "store.gigabytes": 0,
}
DEFAULTS = Path(__file__).with_name("params.yaml")
CLASSES = ("pear's", 'äp,fel "rot"')  # of `trained`
THREE_CLASSES = ("apple", "fig", "pear")  # of `trained_in_bfloat16`
SIZE = 32  # pixels, of both and of `repository`


REAL = {
    "vgg16_weights",
    "repository",
    "evaluated",
}  # fixtures of the slow tests: real weights or a DVC repository


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what reaches a fixture of REAL, and let each of two processes begin with slow tests.

    pytest-xdist gives one process the first half of all tests and the other the second, and whoever is done
    takes from the end of what the other has left. The tests with a repository, and those with weights, are
    the beginnings of the halves, so that each process makes what the other does not need at that time.
    """
    slow = {"repository": [], "weights": [], "neither": []}
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & REAL:
            item.add_marker("slow")
        kind = (
            "repository"
            if "repository" in fixtures
            else "weights"
            if "vgg16_weights" in fixtures
            else "neither"
        )
        slow[kind].append(item)
    slow["neither"].sort(key=lambda item: item.get_closest_marker("slow") is None)
    half = max(len(items) // 2 - len(slow["repository"]), 0)
    first, second = slow["neither"][:half], slow["neither"][half:]
    items[:] = [*slow["repository"], *first, *slow["weights"], *second]


def write_parameters(folder: Path, changes: dict, source: Path = DEFAULTS) -> None:
    """Write `source` to `folder`/params.yaml with `changes`, given by dotted keys."""
    yaml = YAML()
    values = yaml.load(source)
    for key, value in changes.items():
        *sections, name = key.split(".")
        section = values
        for part in sections:
            section = section[part]
        section[name] = value
    yaml.dump(values, folder / "params.yaml")


def image_input(image_size: int = SIZE, **changes) -> ImageInput:
    """Return how images go into a network by default, with `changes`."""
    default = ImageInput(image_size=image_size, fit="squash", interpolation="bilinear", white_16_bit=65535)
    return ImageInput(**{**default.model_dump(), **changes})


def states(message: str, *facts: object) -> bool:
    """Whether `message` has each of `facts`, not as a part of a longer word or number."""
    for fact in map(str, facts):
        assert re.search(rf"(?<![\w.]){re.escape(fact)}(?!\w|\.\d)", message), (
            f"{fact!r} is not in {message!r}"
        )
    return True


def search(pattern: str, text: str, flags: int = 0) -> re.Match[str]:
    """Return the first place in `text` that `pattern` describes, having seen that there is one."""
    match = re.search(pattern, text, flags)
    assert match, f"{pattern!r} is not in {text!r}"
    return match


def shows_something(picture: Path) -> bool:
    """Whether `picture` is a whole image, and not of one shade only."""
    with Image.open(picture) as image:
        return bool(np.ptp(np.asarray(image.convert("L"))) > 0)


@contextmanager
def refused(*facts: object) -> Iterator[None]:
    """Assert that the block ends as a stage does for a user's mistake, with one line that has all `facts`."""
    with pytest.raises(SystemExit) as end:
        yield
    assert states(str(end.value), *facts) and "\n" not in str(end.value)


def draw_images(folder: Path, names: list[str], seed: int = 0, size: tuple[int, int] = (40, 30)) -> None:
    """Write noise of one tint per class into `folder`, a PNG for each of `names`."""
    for name in names:
        rng = np.random.default_rng([seed, *name.encode()])
        tint = np.random.default_rng(list(name.split("/")[0].encode())).integers(0, 200, 3)
        pixels = tint + rng.integers(0, 56, (*size, 3))
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype("uint8")).save(file)


def class_folders(classes: tuple[str, ...] = ("apple", "pear"), each: int = 15) -> list[str]:
    return [f"{label}/{number}.png" for label in classes for number in range(each)]


@pytest.fixture(autouse=True)
def variables_as_they_were() -> Iterator[None]:
    """Take back what libraries set in this process: DVC names an S3 remote's configuration to all later ones."""
    before = dict(os.environ)
    yield
    for name in {*before, *os.environ}:
        if os.environ.get(name) != before.get(name):  # the others stay untouched: threads read them
            set_variables({name: before.get(name)})


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    """An empty project folder with tiny parameters and images, and the working directory of the test."""
    monkeypatch.chdir(tmp_path)
    write_parameters(tmp_path, TINY)
    draw_images(tmp_path / "images", class_folders())
    return tmp_path


def write_array(path: Path, values: np.ndarray, leading: int = 1, precision: str | None = None) -> None:
    """Write `values` as a stage does, with a checksum for each row; the first `leading` axes count rows.

    They were computed in `precision`, or in that of their dtype.
    """
    precision = precision or values.dtype.name
    with array_file(path, values.shape[:leading], values.shape[leading:], precision) as file:
        file.write(range(file.rows), values.reshape(file.rows, *file.row_shape))


def write_set(classes: int, **sizes: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Write a split of each size and its features, (n, 2, 2, 6), as stages do; return both, one after the other."""
    rng = np.random.default_rng(classes)
    splits, arrays = [], []
    for name, n in sizes.items():
        labels = np.arange(n) % classes
        values = rng.normal(size=(n, 2, 2, 6)) + 2 * np.eye(classes, 6)[labels][:, None, None]
        split = pd.DataFrame(
            {
                "path": [f"{name} {row}.png" for row in range(n)],
                "label": [f"class {label}" for label in labels],
                "class_index": labels,
                "sha256": [f"{number:064x}" for number in rng.permutation(10**6)[:n]],
            }
        )
        Path("data/splits").mkdir(parents=True, exist_ok=True)
        Path("data/features").mkdir(parents=True, exist_ok=True)
        split.to_csv(f"data/splits/{name}.csv", index=False)
        write_array(Path(f"data/features/{name}.npy"), values.astype("float32"))
        splits.append(split)
        arrays.append(values.astype("float32"))
    return pd.concat(splits, ignore_index=True), np.concatenate(arrays)


def split_record(counts: dict[str, dict[str, int]], **others) -> dict:
    """Return the content of metrics/split.json for the images of each split and class."""
    classes = counts["train"]
    return {
        "images": {name: sum(of_class.values()) for name, of_class in counts.items()},
        "per_class": [
            {"class": label, **{name: of_class[label] for name, of_class in counts.items()}}
            for label in classes
        ],
        "identical_images": 0,
        "excluded_images": [],
        **others,
    }


def arguments(stage: str) -> list[str]:
    """Return the named paths with which dvc.yaml calls `stage`."""
    *command, module = (words := shlex.split(PIPELINE["stages"][stage]["cmd"]))[:4]
    assert (*command, module) == ("exec", "python", "-m", f"stages.{stage}")
    return words[4:]


def run(*stages: str) -> None:
    """Run stages in this process and the working directory, as dvc.yaml calls them."""
    for stage in stages:
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "'stages.* found in sys.modules", RuntimeWarning
            )  # a test imports it
            patch.setattr(sys, "argv", [stage, *arguments(stage)])
            patch.setattr(gc, "freeze", lambda: None)  # it is for a process that ends: here models would stay
            runpy.run_module(f"stages.{stage}", run_name="__main__")


def change(**changes) -> None:
    """Change params.yaml in the working directory; keys are written with __ for the dot."""
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    write_parameters(Path.cwd(), dotted, Path("params.yaml"))


def variables_for(project: Path = PROJECT) -> dict[str, str]:
    """Return what a subprocess needs to find the stages of `project` and this Python."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PYTHONPATH": str(project), "PATH": path, "DVC_NO_ANALYTICS": "1"}


@pytest.fixture(scope="session")
def build_once(tmp_path_factory, worker_id) -> Callable[[str, Callable[[Path], None]], Path]:
    """Return a function that gives the folder of a name, and lets one test process fill it for all."""
    common = tmp_path_factory.getbasetemp()
    if worker_id != "master":  # of pytest-xdist, whose processes have a folder each
        common = common.parent

    def build(name: str, fill: Callable[[Path], None]) -> Path:
        folder, unfinished = common / f"built/{name}", common / f"unfinished/{name}"
        for parent in (folder.parent, unfinished.parent):
            parent.mkdir(exist_ok=True)
        with (common / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                fill(unfinished)
                unfinished.rename(folder)
        return folder

    return build


@pytest.fixture(scope="session")
def vgg16_weights(build_once) -> Path:
    """VGG16's real ImageNet weights, as fetch_weights writes them."""

    def fetch(folder: Path) -> None:
        with chdir(folder):
            write_parameters(folder, {})
            run("fetch_weights")

    return build_once("weights", fetch) / "data/weights/conv_base.weights.h5"


@pytest.fixture(scope="session")
def extraction(build_once, vgg16_weights) -> Path:
    """A project folder with splits, weights, features and views of the tiny images."""

    def extract(folder: Path) -> None:
        write_parameters(folder, TINY)
        draw_images(folder / "images", class_folders())
        with chdir(folder):
            place_weights(vgg16_weights)
            run("split_dataset", "extract_features", "audit_leakage", "extract_views")

    return build_once("extraction", extract)


@pytest.fixture
def extracted(workspace, extraction) -> Path:
    """A workspace with a copy of what is in `extraction`."""
    for name in ("data", "metrics"):
        shutil.copytree(extraction / name, workspace / name, symlinks=True)
    return workspace


@pytest.fixture(scope="session")
def trained(build_once, vgg16_weights) -> Path:
    """A project folder with the three models, trained on tiny images of CLASSES, at SIZE. It stays as it is."""
    return build_once("trained", lambda folder: train(folder, vgg16_weights, CLASSES, {}))


@pytest.fixture(scope="session")
def trained_in_bfloat16(build_once, vgg16_weights) -> Path:
    """The same with images of THREE_CLASSES and a conv base that computes in bfloat16."""
    changes = {"conv_base.precision": "bfloat16", "head.epochs": 20}
    return build_once("bfloat16", lambda folder: train(folder, vgg16_weights, THREE_CLASSES, changes))


def train(folder: Path, weights: Path, classes: tuple[str, ...], changes: dict) -> None:
    write_parameters(folder, {**TINY, "image_size": SIZE, **changes})
    draw_images(folder / "images", class_folders(classes))
    with chdir(folder):
        place_weights(weights)
        run(*TRAINED)


@pytest.fixture
def trained_copy(trained, tmp_path, monkeypatch) -> Path:
    """A copy of what is in `trained`, as the working directory."""
    monkeypatch.chdir(shutil.copytree(trained, tmp_path / "copy", symlinks=True))
    return tmp_path / "copy"


def place_weights(file: Path) -> None:
    target = Path("data/weights/conv_base.weights.h5")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(file)


@pytest.fixture(scope="session")
def repository(build_once, tmp_path_factory) -> Path:
    """A repository as `make_repository` makes it, of this test process alone."""
    return shutil.copytree(
        build_once("repository", make_repository), tmp_path_factory.mktemp("own") / "repository"
    )


def make_repository(folder: Path) -> None:
    """Make a git and DVC repository with this pipeline, run on tiny images added with dvc add.

    Its last commit has the results of TINY; DVC's run-cache has those of head.units 4 too.
    """
    start_repository(folder, {})
    assert reproduce(folder) == set(PIPELINE["stages"]) and not (folder / "data/raw/elpv").exists()
    commit(folder)
    write_parameters(folder, {"head.units": 4}, folder / "params.yaml")
    assert reproduce(folder) == {
        "train_head",
        "cross_validate",
        "evaluate",
        "draw_plots",
        "report",
        "model_card",
    }
    run_in(folder, "git", "checkout", "--quiet", ".")
    assert reproduce(folder) == set()


def start_repository(folder: Path, changes: dict) -> None:
    """Make the same, with `changes` of TINY, before its first run."""
    for code in ("stages", "tools"):
        shutil.copytree(PROJECT / code, folder / code, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (
        "dvc.yaml data/raw/dvc.yaml .dvcignore .gitignore data/.gitignore metrics/.gitignore data/labels_corrected.csv"
    ).split():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / file, folder / file)
    write_parameters(folder, {**TINY, "image_size": SIZE, "data.images": "data/raw/mine", **changes})
    run_in(folder, "git", "init", "--quiet", "--initial-branch", "main")
    run_in(folder, "dvc", "init", "--quiet")
    shutil.copy(PROJECT / ".dvc/config", folder / ".dvc/config")
    for name, seed in (("mine", 0), ("other photos", 1)):
        draw_images(folder / "data/raw" / name, class_folders(), seed)
        run_in(folder, "dvc", "add", "--quiet", f"data/raw/{name}")
    digest = sha256((folder / "data/raw/mine/apple/0.png").read_bytes()).hexdigest()
    (folder / "data/decided.csv").write_text(f"sha256,path,decision,label\n{digest},apple/0.png,wrong,pear\n")


def call(folder: Path, *command: str, **others: str) -> subprocess.CompletedProcess:
    """Run `command` in `folder`, with the code that lies there, or else this project's, and `others` as variables."""
    variables = variables_for(folder if (folder / "stages").exists() else PROJECT)
    if command[0] in ("python", "dvc"):
        variables["PATH"] = os.pathsep.join([str(warm_python()), variables["PATH"]])
    return subprocess.run(command, cwd=folder, env=variables | others, capture_output=True, text=True)


def run_in(folder: Path, *command: str) -> str:
    ended = call(folder, *command)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def reproduce(folder: Path, *options: str, targets: tuple[str, ...] = ()) -> set[str]:
    """Run dvc repro on the user's images and return the stages that ran."""
    said = run_in(folder, "dvc", "repro", *options, *targets)
    return set(re.findall(r"Running stage '(\w+)'", said))


def commit(folder: Path) -> None:
    run_in(folder, "git", "add", "--all")
    author = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    run_in(folder, "git", *author, "commit", "--quiet", "-m", "run")


@pytest.fixture
def evaluated(tmp_path, monkeypatch) -> Path:
    """A repository whose last commit, on main, has three models that get 80 of 100 images right."""
    run_in(tmp_path, "git", "init", "--quiet", "--initial-branch", "main")
    run_in(tmp_path, "dvc", "init", "--quiet")
    (tmp_path / "data/splits").mkdir(parents=True)
    (tmp_path / "data/evaluation").mkdir()
    names = [f"{number}.png" for number in range(100)]
    split = pd.DataFrame({"path": names, "label": ["cat", "dog"] * 50, "sha256": range(100)})
    split.to_csv(tmp_path / "data/splits/test.csv", index=False)
    write_parameters(tmp_path, {})
    write_predictions(tmp_path, wrong=20)
    commit(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_predictions(project: Path, wrong: int) -> None:
    """Let every model get the first `wrong` images wrong."""
    split = pd.read_csv(project / "data/splits/test.csv")
    sure = [0.1 if row < wrong else 0.9 for row in range(len(split))]
    cat = [sure[row] if label == "cat" else 1 - sure[row] for row, label in enumerate(split["label"])]
    table = split[["path", "label"]].assign(
        predicted=["cat" if p > 0.5 else "dog" for p in cat],
        probability_cat=cat,
        probability_dog=[1 - p for p in cat],
    )
    for model in ("head", "augmented", "fine_tuned"):
        table.to_csv(project / f"data/evaluation/{model}_predictions.csv", index=False)
