"""Measure what people would pick instead, and this pipeline, in turn, on this machine.

    make bench-peers IMAGES=FOLDER LABELS_FROM=filename    runs it, and makes .venv-peers before, where PyTorch is

Writes bench/peers.json, from which `python -m bench.report` makes the second table of docs/speed-and-store.md: the
notebook as written, Keras's own guide, a PyTorch loop, and this pipeline with n and with 4n images. The store is off.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from bench.__main__ import (
    LARGE,
    QUICK,
    SMALL,
    describe_machine,
    run_module,
    run_notebook,
    settings_for,
    without_ours,
)
from bench.pipeline import PROJECT, measure, run_pipeline
from stages.shared.network.precision import describe_processor, multiplies_bfloat16_fast
from stages.shared.pipeline.splits import SPLITS, read_split

RESULTS = Path(__file__).with_name("peers.json")
PEERS_PYTHON = PROJECT / ".venv-peers/bin/python"


def main() -> None:
    options = read_options()
    settings = settings_for(options.folder, options.labels_from)
    precision = "bfloat16" if multiplies_bfloat16_fast(describe_processor()) else "float32"
    rounds = []
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            folder = Path(scratch, str(number))
            measured = {}
            for size, images in (("n", SMALL), ("4n", LARGE)):
                measured[size] = run_pipeline(folder / size, {**settings, **images, **QUICK})
                measured[size]["predict"] = predict(folder / size, options.folder)
            large = folder / "4n"
            notebook = run_notebook(large, options.folder)
            keras = run_module(large, "bench.keras_guide", "notebook", environment=without_ours())
            pytorch = run_module(large, "bench.pytorch", "notebook", precision, python=str(PEERS_PYTHON))
            libraries = keras.pop("versions") | pytorch.pop("versions")
            rounds.append({**measured, "notebook": notebook, "keras_guide": keras, "pytorch": pytorch})
            shutil.rmtree(folder)
            machine = describe_machine({"cores": os.cpu_count(), "libraries": libraries})
            results = {"machine": machine, "precision": precision, "rounds": rounds}
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(
        f"{RESULTS}: {options.rounds} rounds; python -m bench.report puts them into docs/speed-and-store.md"
    )


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="images of two classes, 400 or more of each")
    parser.add_argument("--labels-from", default="folder", help="as data.labels_from in params.yaml")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="a folder for arrays")
    return parser.parse_args()


def predict(folder: Path, images: Path) -> dict[str, float]:
    """Measure python -m tools.predict with the fine-tuned model of a run in `folder`, on all its images."""
    tables = [read_split(folder / f"data/splits/{split}.csv") for split in SPLITS]
    files = [str((images / path).resolve()) for table in tables for path in table["path"]]
    return measure([sys.executable, "-m", "tools.predict", *files], folder)


if __name__ == "__main__":
    main()
