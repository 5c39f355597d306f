"""Measure the ceiling, the notebook as written and this pipeline, in turn, on this machine.

    python -m bench FOLDER --labels-from filename        a few minutes a round
    python -m bench FOLDER --labels-from filename --full the notebook's work as a whole: hours

Writes bench/results.json, from which `python -m bench.report` makes docs/speed-and-store.md's tables and a picture.
The quick measurement runs the pipeline on n and on 4n images and on two views, and gives the
notebook's whole work from what an image more, or an epoch more, costs. The store is off.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import stages
from bench.pipeline import measure, run_pipeline, run_stage, write_parameters
from stages.shared.pipeline.splits import read_split

RESULTS = Path(__file__).with_name("results.json")
# Images per class, for n, 4n and the notebook itself, and what else is the notebook's.
SMALL = {"split.train": 50, "split.validation": 25, "split.test": 25}
LARGE = {key: 4 * images for key, images in SMALL.items()}
NOTEBOOK = {"split.train": 1000, "split.validation": 500, "split.test": 500}
SETTINGS = {
    "data.unlisted": "fail",
    "data.on_bad_image": "fail",
    "split.given": None,
    "split.group_by": None,
    "image_size": 150,
    "fit": "squash",
    "conv_base.name": "vgg16",
    "conv_base.weights": "imagenet",
    "conv_base.precision": "auto",
    "augmentation.views": 30,
    "augmentation.include_original": False,
    "augmentation.precision": "auto",
    "head.pooling": "flatten",
    "head.units": 256,
    "augmented.pooling": "flatten",
    "augmented.units": 256,
    "head.epochs": 30,
    "augmented.epochs": 30,
    "fine_tune.epochs": 100,
    "fine_tune.freeze_through": "default",
    "calibration.abstain_below": None,
    "calibration.set_coverage": None,
    "store.gigabytes": 0,
}
SECTIONS = ("head", "augmented", "fine_tune")
TRAINING = {"batch_size": 20, "patience_epochs": None, "threshold_for": "accuracy"}
QUICK = {"augmentation.views": 2, "fine_tune.epochs": 2}


def main() -> None:
    options = read_options()
    settings = settings_for(options.folder, options.labels_from)
    sizes = {key: getattr(options, key.split(".")[1]) for key in NOTEBOOK}
    results = {"machine": None, "rounds": [], "whole": None}
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        enough = Path(scratch, "enough")
        enough.mkdir()
        write_parameters(enough, {**settings, **(sizes if options.full else LARGE)})
        run_stage("split_dataset", enough)
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            folder = Path(scratch, str(number))
            small = run_pipeline(folder / "n", {**settings, **SMALL, **QUICK})
            large = run_pipeline(folder / "4n", {**settings, **LARGE, **QUICK})
            notebook = run_notebook(folder / "4n", options.folder)
            ceiling = run_module(folder, "bench.ceiling")
            around = run_module(folder / "4n", "bench.around")
            results["machine"] = describe_machine(ceiling.pop("machine"))
            store = run_store(folder / "4n", folder / "store")
            results["rounds"].append(
                {
                    "n": small,
                    "4n": large,
                    "notebook": notebook,
                    "ceiling": ceiling,
                    "around": around,
                    "store": store,
                }
            )
            shutil.rmtree(folder)
            write(results)
        if options.full:
            print("the notebook's work as a whole", file=sys.stderr)
            folder = Path(scratch, "whole")
            measured = run_pipeline(folder, {**settings, **sizes})
            evaluation = json.loads((folder / "metrics/evaluation.json").read_text())
            accuracies = {
                model: evaluation[model]["accuracy"] for model in ("head", "augmented", "fine_tuned")
            }
            results["whole"] = {"images_per_class": sizes, "stages": measured, "test_accuracy": accuracies}
            write(results)
    print(
        f"{RESULTS}: {options.rounds} rounds; python -m bench.report puts them into docs/speed-and-store.md"
    )


def settings_for(images: Path, labels_from: str) -> dict[str, object]:
    """Return the parameters of the notebook's work on these images, by dotted keys."""
    return {
        **SETTINGS,
        **{f"{section}.{key}": value for section in SECTIONS for key, value in TRAINING.items()},
        "data.images": str(images.resolve()),
        "data.labels_from": labels_from,
    }


def write(results: dict) -> None:
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="images of two classes, 400 or more of each")
    parser.add_argument("--labels-from", default="folder", help="as data.labels_from in params.yaml")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--full", action="store_true", help="the notebook's work as a whole too")
    for name in ("train", "validation", "test"):
        size = NOTEBOOK[f"split.{name}"]
        parser.add_argument(
            f"--{name}", type=int, default=size, help=f"with --full: images per class ({size})"
        )
    parser.add_argument("--scratch", type=Path, help="a folder for arrays: some 30 GB with --full")
    return parser.parse_args()


def run_module(
    folder: Path,
    module: str,
    *arguments: str,
    environment: Mapping[str, str] = os.environ,
    python: str = sys.executable,
) -> dict:
    """Run a module that prints a line of JSON, and return that."""
    measure([python, "-m", module, *arguments], folder, environment)
    lines = (folder / "log.txt").read_text().splitlines()
    return json.loads(next(line for line in reversed(lines) if line.startswith("{")))


def run_notebook(folder: Path, images: Path) -> dict[str, float]:
    """Lay the pipeline's split out as the notebook wants it, and run the notebook's steps on it."""
    lay_out(folder, images)
    weights = "data/weights/conv_base.weights.h5"
    return run_module(folder, "bench.notebook", "notebook", weights, environment=without_ours())


def lay_out(folder: Path, images: Path) -> None:
    """Write `folder`/notebook/{train,validation}/CLASS with links to the images of the pipeline's split."""
    for split in ("train", "validation"):
        table = read_split(folder / f"data/splits/{split}.csv")
        for number, (path, label) in enumerate(zip(table["path"], table["label"], strict=True)):
            link = folder / "notebook" / split / label / f"{number}{Path(path).suffix}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((images / path).resolve())


def without_ours() -> dict[str, str]:
    """Return the environment with the user's settings of TensorFlow, not with those of our stages."""
    return {name: value for name, value in os.environ.items() if stages.ENVIRONMENT.get(name) != value}


def run_store(folder: Path, store: Path) -> dict[str, float]:
    """Return the seconds of extract_views that fills a store, and of one that finds all in it."""
    changes = {"store.gigabytes": 20, "store.folder": str(store)}
    write_parameters(folder, changes, folder / "params.yaml")
    return {name: run_stage("extract_views", folder)["seconds"] for name in ("filling", "filled")}


def describe_machine(described: dict) -> dict[str, object]:
    """Return what the results say of the machine, given `environment.describe`.

    That is called in a process of its own, as it loads TensorFlow: on some kernels the peak memory of the
    stages would count from what this process, their parent, has in memory.
    """
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": described["cores"],
        "python": platform.python_version(),
        **described["libraries"],
    }


if __name__ == "__main__":
    main()
