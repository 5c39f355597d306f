"""A `python` and a `dvc` for the tests that have imported TensorFlow and DVC before they are called.

Importing them takes longer than most stages do on tiny images. So one process imports them, and forks
for each `python -m stages.…`, `python -m tools.…` and `dvc …`: a process of its own, with the caller's
arguments, folder, environment and standard streams, that imports and runs the module as `python -m` would.
It joins the caller's process group: a signal to that reaches it, and one to the caller alone does not. Its
parent is not the caller.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path

IMPORTED = """
tensorflow keras onnx pandas sklearn.metrics scipy.fft scipy.stats PIL.PngImagePlugin matplotlib.figure
matplotlib.backends.backend_agg matplotlib.backends.backend_svg jinja2 pydantic sqlite3 xxhash ruamel.yaml networkx
dvc.api dvc.cli.parser dvc.cachemgr dvc.data_cloud dvc.render.match dvc.repo.artifacts dvc.repo.datasets
dvc.repo.experiments.queue.celery dvc.repo.experiments.show dvc.repo.graph dvc.repo.index dvc.repo.plots
dvc.repo.reproduce dvc.repo.stage dvc.stage.cache dvc.stage.run dvc_data.hashfile.status dvc_data.index.checkout
dvc_data.index.push dvc_render.html dvc_s3 dvc_ssh dulwich.ignore dulwich.worktree s3fs sshfs
""".split()
CALLER = """#!{python} -IS
import json, os, signal, socket, sys
arguments = sys.argv[1:]
if {command!r} == "dvc":
    arguments = ["-m", "dvc", *arguments]
elif arguments[:1] != ["-m"] or not arguments[1].startswith(("stages.", "tools.")):
    os.execv({python!r}, [{python!r}, *arguments])
call = dict(arguments=arguments[1:], group=os.getpgrp(), folder=os.getcwd(), environment=dict(os.environ))
for number in (signal.SIGINT, signal.SIGTERM):  # to the group: the process that is forked answers them
    signal.signal(number, signal.SIG_IGN)
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
    connection.connect({address!r})
    socket.send_fds(connection, [json.dumps(call).encode()], [0, 1, 2])
    sys.exit((connection.recv(1) or [137])[0])  # as of a killed process
"""


@cache
def warm_python() -> Path:
    """Return a folder for PATH, with a `python` and a `dvc` whose server ends with this process."""
    folder = tempfile.TemporaryDirectory(prefix="warm")
    atexit.register(folder.cleanup)
    address = f"{folder.name}/socket"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen()
    as_stages_do = {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": os.devnull, "MPLBACKEND": "agg"}
    server = subprocess.Popen(
        [sys.executable, __file__, str(listener.fileno())],
        pass_fds=[listener.fileno()],
        env=os.environ | as_stages_do,
    )
    atexit.register(server.kill)
    for command in ("python", "dvc"):
        file = Path(folder.name, command)
        file.write_text(CALLER.format(command=command, python=sys.executable, address=address))
        file.chmod(0o755)
    return Path(folder.name)


def serve(listener: socket.socket) -> None:
    for module in IMPORTED:
        import_module(module)
    gc.freeze()  # a child's collector would copy every page that it looks at
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children that end leave nothing to collect
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            connection.send(bytes([answer(connection)]))
            os._exit(0)  # to take all modules apart, as Python does at its end, takes two seconds
        connection.close()


def answer(connection: socket.socket) -> int:
    """Run the module that is asked for, and return its exit status."""
    message, streams, _, _ = socket.recv_fds(connection, 2**20, 3)
    if not message:  # the caller was killed before it had asked
        return 137
    call = json.loads(message)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with suppress(PermissionError):  # of a caller in another session
        os.setpgid(0, call["group"])
    os.chdir(call["folder"])
    os.environ.clear()
    os.environ.update(call["environment"])
    module, *sys.argv[1:] = call["arguments"]
    sys.path[0:1] = [call["folder"], *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]  waits for threads, as Python does at its end
        atexit._run_exitfuncs()  # what libraries have to tidy up
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
