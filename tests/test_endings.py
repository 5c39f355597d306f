"""How a stage or tool ends that is stopped, or whose output nobody takes: in one sentence, with the status that shells give."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import psutil
import pytest

from stages.shared.pipeline.ending import explain
from tests.conftest import (
    PROJECT,
    arguments,
    change,
    refused,
    reproduce,
    run_in,
    search,
    states,
    variables_for,
)
from tools.export import __main__ as export
from tools.export.runtimes import FILES

TOOLS = {
    "audit": [],
    "bases": [],
    "check": [],
    "compare": ["HEAD"],
    "demo": [],
    "export": ["--format", "onnx"],
    "gate": [],
    "predict": ["."],
    "review": [],
    "select": ["."],
    "show_results": [],
    "verify": [],
}
SLOW = "print('importing', flush=True); import time; time.sleep(60)"


def start(
    folder: Path, *arguments: str, stdout: int | IO = subprocess.PIPE, **others: str
) -> subprocess.Popen:
    """Start a Python module in `folder`, whose own modules come first, with `others` in its environment."""
    variables = variables_for() | others
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=variables | {"PYTHONPATH": os.pathsep.join([str(folder), str(PROJECT)])},
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (a shell's & ignores it)
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


def test_all_tools_are_tried():
    files = [*PROJECT.glob("tools/*.py"), *PROJECT.glob("tools/*/__main__.py")]
    names = {file.parent.name if file.stem == "__main__" else file.stem for file in files}
    assert set(TOOLS) == names - {"__init__", "tools"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "module", [*(f"tools.{tool}" for tool in TOOLS if tool != "audit"), "stages.train_head"]
)
def test_stopped_while_it_imports(tmp_path, module, number):
    """The longest part of many a call; each imports one of these two, except audit, which is done at once."""
    for library in ("pandas", "dvc"):
        (tmp_path / f"{library}.py").write_text(SLOW)
    with start(tmp_path, module, *TOOLS.get(module.removeprefix("tools."), [])) as running:
        assert running.stdout and running.stdout.readline() == "importing\n"
        running.send_signal(number)
        _, said = running.communicate(timeout=30)
    assert running.returncode == 128 + number and said.count("\n") == 1 and states(said, "stopped")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_half_done_goes_however_often_somebody_asks(tmp_path, number):
    (tmp_path / "half.py").write_text(
        "import sys; sys.argv = ['-m']\n"
        "from tools.export.__main__ import atomic_folder; from pathlib import Path; import os, time\n"
        "with atomic_folder(Path('new/export')) as folder:\n"
        "    (folder / 'part').touch()\n"
        "    try:\n"
        "        print('half', flush=True); time.sleep(60)\n"
        "    finally:\n"
        f"        os.kill(os.getpid(), {number.value})\n"
    )
    before = set(tmp_path.iterdir())
    with start(tmp_path, "half") as running:
        assert running.stdout and running.stdout.readline() == "half\n"
        assert len(set(tmp_path.iterdir()) - before) > 0
        running.send_signal(number)
        running.communicate(timeout=30)
    assert running.returncode == 128 + number
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"half.py"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stage_that_is_stopped_leaves_nothing_half_done(extracted, number):
    change(head__epochs=10_000)
    with start(extracted, "stages.train_head", *arguments("train_head")) as running:
        wait_for(Path("metrics/head_curves.csv").exists)
        running.send_signal(number)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 128 + number and "Traceback" not in said
    assert states(said.splitlines()[-1], "stopped before it was done")
    assert not Path("data/models").exists() and not list(extracted.rglob("unfinished.*"))


@pytest.mark.parametrize("number, shell", [(signal.SIGTERM, "/bin/bash"), (signal.SIGKILL, "/bin/sh")])
def test_a_stage_ends_with_its_dvc(repository, monkeypatch, number, shell):
    """Whoever asks DVC alone to end, as systemd and container engines do, means the stage too."""
    monkeypatch.chdir(repository)
    before = (repository / "params.yaml").read_bytes()
    change(head__epochs=10_000)
    curves = repository / "metrics/head_curves.csv"
    curves.unlink()
    with start(repository, "dvc", "repro", "train_head", SHELL=shell) as running:
        wait_for(curves.exists)
        (stage,) = psutil.Process(running.pid).children(recursive=True)
        assert "stages.train_head" in stage.cmdline()
        running.send_signal(number)
        _, said = running.communicate(timeout=60)  # the stage had the same standard error
    assert states(said, "stopped before it was done") and has_ended(stage)
    (repository / "params.yaml").write_bytes(before)
    run_in(repository, "python", "-m", "tools.check")
    reproduce(repository)
    assert run_in(repository, "git", "status", "--porcelain", "dvc.lock", "metrics") == ""


def has_ended(process: psutil.Process) -> bool:
    return (
        not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    )  # where nobody asks how it ended


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("starting", [0, 1], ids=["later", "while it starts"])
def test_verify_takes_its_pipeline_with_it(tmp_path, starting):
    """DVC's shell and the stage in it are no children of ours."""
    (tmp_path / "dvc").write_text("#!/bin/sh\nsleep 60 &\necho $!\nwait\n")
    (tmp_path / "dvc").chmod(0o755)
    (tmp_path / "reproduce.py").write_text(
        "import sys; sys.argv = ['-m']\n"
        "import tools, os; os.environ['PATH'] = '.:' + os.environ['PATH']\n"
        "import subprocess, time\n"
        "class Starting(subprocess.Popen):\n"
        "    def __init__(self, *arguments, **others):\n"
        "        super().__init__(*arguments, **others)\n"
        f"        time.sleep({starting})\n"
        "subprocess.Popen = Starting\n"
        "from tools.verify import reproduce; reproduce('.')\n"
    )
    with start(tmp_path, "reproduce") as running:
        assert running.stdout
        stage = int(running.stdout.readline())
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=30)
    assert running.returncode == 143
    status = Path(f"/proc/{stage}/status")
    assert not status.exists() or search(r"State:\s+(\w)", status.read_text())[1] == "Z"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_nobody_reads_what_it_prints(tmp_path, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    with start(tmp_path, "tools", stdout=writer, PYTHONUNBUFFERED=unbuffered) as running:
        os.close(writer)
        assert running.communicate()[1] == ""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_it_prints_finds_no_room(tmp_path, unbuffered):
    with (
        open("/dev/full", "w") as full,
        start(tmp_path, "tools", stdout=full, PYTHONUNBUFFERED=unbuffered) as running,
    ):
        said = running.communicate()[1]
    assert states(said, "the output", "No space left on device") and len(said.splitlines()) == 1
    assert running.returncode == 1


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(tmp_path, closed):
    command = f"exec '{sys.executable}' -m tools {closed}"
    ended = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=variables_for(), capture_output=True, text=True
    )
    assert (ended.stderr, ended.returncode) == ("", 0)
    assert bool(ended.stdout) == (">&-" not in closed.replace("2>&-", ""))


def test_what_the_machine_refuses(capsys):
    for error, said in (
        (PermissionError(13, "Permission denied", "params.yaml"), "params.yaml: Permission denied.\n"),
        (OSError("no room in HDF5"), "a file or the output: no room in HDF5.\n"),
    ):
        explain(type(error), error, None)
        assert capsys.readouterr().err == said
    explain(ValueError, ValueError("ours"), None)
    assert states(capsys.readouterr().err, "ValueError: ours")


@pytest.mark.parametrize("form", FILES)
def test_an_export_that_finds_no_room(trained, tmp_path, monkeypatch, form):
    """What was exported before stays."""
    for name in ("data", "images", "params.yaml"):
        (tmp_path / name).symlink_to(trained / name)
    monkeypatch.chdir(tmp_path)
    earlier = tmp_path / f"export/head_{form}/model.json"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, limits[1]))  # the model has 59 MB
    try:
        with refused("not exported", FILES[form], "File too large"):
            export.main("head", form, Path("export"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(tmp_path.rglob("*")) == before and earlier.read_text() == "{}"
