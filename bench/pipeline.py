"""Run this pipeline's stages one by one, each in its own process, and measure time and memory."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from ruamel.yaml import YAML

PROJECT = Path(__file__).parents[1]
STAGES = (
    "fetch_weights split_dataset extract_features audit_leakage audit_labels map_images extract_views "
    "train_head cross_validate learning_curve train_augmented fine_tune evaluate draw_plots explain report model_card"
).split()


def write_parameters(folder: Path, changes: dict, source: Path = PROJECT / "params.yaml") -> None:
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


def measure(
    command: list[str], folder: Path, environment: Mapping[str, str] = os.environ
) -> dict[str, float]:
    """Run `command` in `folder`; return its seconds and the megabytes of memory at its peak."""
    environment = {**environment, "PYTHONPATH": str(PROJECT)}
    with (folder / "log.txt").open("a") as log:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{(folder / 'log.txt').read_text()[-2000:]}\n{' '.join(command)} failed in {folder}")
    return {"seconds": time.perf_counter() - started, "megabytes": usage.ru_maxrss / 1024}


def run_stage(stage: str, folder: Path) -> dict[str, float]:
    arguments = shlex.split(YAML(typ="safe").load(PROJECT / "dvc.yaml")["stages"][stage]["cmd"])
    return measure([sys.executable, *arguments[2:]], folder)


def run_pipeline(folder: Path, changes: dict[str, object]) -> dict[str, dict[str, float]]:
    """Run all stages in `folder`, which must not exist yet, and return what `measure` says of each."""
    folder.mkdir(parents=True)
    write_parameters(folder, changes)
    return {stage: run_stage(stage, folder) for stage in STAGES}
