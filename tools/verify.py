"""Answer whether the results in dvc.lock are what the code gives.

    python -m tools.verify    exits with 0 where they are, with 1 where they are not

Runs the last commit's pipeline again, in a temporary clone with neither DVC's cache nor the store of
single results, and compares the hash of every output with dvc.lock. Names the first stage that
differs, and says whether the machine explains it: data/environment has what each stage ran on.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from dvc.exceptions import DvcException
from dvc_data.index import DataIndexError
from ruamel.yaml import YAML

from stages.shared.pipeline.command import UserError
from tools.shared.revisions import Files, call, project_folder
from tools.shared.scratch import left_behind, scratch_folder

ENVIRONMENT = "data/environment/"
RAW = "*.dvc"  # files that dvc add made: their images are no result, and have to come from the cache


def main() -> bool:
    """Print what came out, and return whether every output is the same."""
    if changed := call("git", "status", "--porcelain", "--untracked-files=no", "--", "."):
        raise UserError(f"this verifies the last commit: commit your changes first.\n{changed}")
    if not Path("dvc.lock").exists():
        raise UserError("dvc.lock is missing: run dvc repro and commit what it wrote.")
    scratch = Path(".dvc/tmp")  # on the same file system; a fresh clone does not have it yet
    scratch.mkdir(exist_ok=True)
    for clone in left_behind("verify-", scratch):
        shutil.rmtree(clone)
    with scratch_folder("verify-", scratch) as folder:
        clone = run_again(folder / "clone")
        recorded, found = (
            YAML(typ="safe").load(project / "dvc.lock")["stages"] for project in (Path("."), clone)
        )
        differing = compare(recorded, found)
        print()
        for stage, paths in differing.items():
            print(f"{stage}: {', '.join(paths)} {'differs' if len(paths) == 1 else 'differ'}")
        if differing:
            first = next(iter(differing))
            print(f"{first} is the first stage that differs. {explain(first, recorded, found, clone)}")
        else:
            outputs = sum(len(results(stage)) for stage in found.values())
            print(f"All {outputs} outputs of {len(found)} stages are what dvc.lock says.")
    return not differing


def run_again(repository: Path) -> Path:
    """Clone the last commit into `repository`, run its pipeline from nothing but the images, and return where."""
    call("git", "clone", "--quiet", call("git", "rev-parse", "--show-toplevel").rstrip("\n"), str(repository))
    clone = repository / project_folder()
    parameters = YAML()
    values = parameters.load(clone / "params.yaml")
    values["store"]["gigabytes"] = 0
    parameters.dump(values, clone / "params.yaml")
    if added := call("git", "ls-files", "-z", RAW).split("\0")[:-1]:
        cache = Path(call("dvc", "cache", "dir").strip()).resolve()
        call("dvc", "--cd", str(clone), "remote", "add", "--quiet", "--local", "original", str(cache))
        call("dvc", "--cd", str(clone), "pull", "--quiet", "--remote", "original", *added)
    if reproduce(clone):
        raise UserError("the pipeline does not run in a clone of the last commit: see above.")
    return clone


def reproduce(clone: Path) -> int:
    """Run the pipeline in `clone` and return DVC's exit status; where we are stopped, DVC and its stage are too."""
    command = ["dvc", "repro", "--force", "--no-run-cache"]
    stops = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)  # until it is known whom to take along
    with subprocess.Popen(
        command,
        cwd=clone,
        start_new_session=True,
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, stops),  # noqa: PLW1509 (no other thread)
    ) as running:
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, stops)
            return running.wait()
        finally:
            if running.returncode is None:
                os.killpg(running.pid, signal.SIGKILL)  # the clone goes with it


def results(stage: dict) -> dict[str, str]:
    """Return path and hash of what `stage`, an entry of dvc.lock, wrote, without its environment."""
    return {out["path"]: out["md5"] for out in stage["outs"] if not out["path"].startswith(ENVIRONMENT)}


def compare(recorded: dict, found: dict) -> dict[str, list[str]]:
    """Return the outputs that differ, by stage, in the order in which the stages run."""
    order = YAML(typ="safe").load(Path("dvc.yaml"))["stages"]
    differing = {}
    for stage in order:
        then, now = (results(lock[stage]) if stage in lock else {} for lock in (recorded, found))
        if paths := [path for path in sorted(then | now) if then.get(path) != now.get(path)]:
            differing[stage] = paths
    return differing


def explain(stage: str, recorded: dict, found: dict, clone: Path) -> str:
    """Return a sentence on whether the machine explains that `stage` gave something else."""
    if stage not in recorded:
        return "dvc.lock does not have it: run dvc repro and commit dvc.lock."
    path = f"{ENVIRONMENT}{stage}.json"
    then, now = (
        next((out["md5"] for out in lock[stage]["outs"] if out["path"] == path), None)
        for lock in (recorded, found)
    )
    if now is None:
        return "It does not record its environment: the data, the code or a library do not fit dvc.lock."
    if then == now:
        return (
            "The machine does not explain it: processor, libraries, settings and precision are the "
            "recorded ones. The data, the code or another library do not fit dvc.lock."
        )
    try:
        before = json.loads(Files("HEAD").read(path))
    except (OSError, DvcException, DataIndexError):
        return (
            "It ran on another machine or with other libraries than here, which explains differences "
            f"in the last digits (to see what: dvc pull {path})."
        )
    here = json.loads((clone / path).read_text())
    changes = [
        f"{key}: {before.get(key)} then, {here.get(key)} here" for key in here if before.get(key) != here[key]
    ]
    return "What it ran on explains differences in the last digits:\n  " + "\n  ".join(changes)


if __name__ == "__main__":
    sys.exit(not main())
