"""A real Ray cluster on loopback, for the tests of the engine ray and for its measurement."""

import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

import psutil

from tests.conftest import variables_for
from tests.remotes import free_port

HEAD = "127.0.0.2"  # Ray takes 127.0.0.1 for the machine's other address


class LoopbackCluster:
    """Nodes that are process groups; from the last one a folder `unseen` is hidden, where this user may do that."""

    def __init__(self, folder: Path, count: int, unseen: Path | None) -> None:
        self.folder, self.nodes = folder, {}
        (folder / "token").write_text(secrets.token_hex(32))
        self.variables = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_raylet_start_wait_time_s": "300",  # seconds, on a busy machine
        }
        self.address = f"{HEAD}:{free_port()}"
        may_hide = subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0
        hide = f'mount -t tmpfs tmpfs "{unseen}" && exec "$@"'
        hidden = ["unshare", "--mount", "sh", "-c", hide, "sh"] if unseen and may_hide else []
        try:
            self._start(
                HEAD, ["--head", f"--port={self.address.partition(':')[2]}", "--include-dashboard=false"]
            )
            for number in range(1, count):
                around = hidden if number == count - 1 else []
                self._start(f"127.0.0.{2 + number}", [f"--address={self.address}"], *around)
        except BaseException:
            self.stop()
            raise

    def _start(self, ip: str, options: list[str], *around: str) -> None:
        """Start a node; two that start at once may take the same names."""
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", *options]
        command += [f"--node-ip-address={ip}", "--num-cpus=1", "--object-store-memory=100000000"]
        file = self.folder / f"{ip}.log"
        with file.open("w") as log:
            self.nodes[ip] = subprocess.Popen(
                [*around, *command],
                env={**variables_for(), **self.variables, "RAY_TMPDIR": str(self.folder)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while "Ray runtime started" not in file.read_text():
            assert self.nodes[ip].poll() is None, file.read_text()
            time.sleep(0.1)

    def kill(self, ip: str) -> None:
        """Kill a node and all of its processes, as a power cut does."""
        node = psutil.Process(self.nodes.pop(ip).pid)
        for process in [node, *node.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)

    def stop(self) -> None:
        for ip in list(reversed(self.nodes)):  # without the head the others end by themselves
            self.kill(ip)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def loopback_cluster(count: int, unseen: Path | None = None) -> Iterator[LoopbackCluster]:
    """Give a cluster of `count` nodes, 127.0.0.2 and on."""
    folder = Path(mkdtemp(prefix="ray"))  # of sockets, whose paths have 107 characters at most
    cluster = LoopbackCluster(folder, count, unseen)
    try:
        yield cluster
    finally:
        cluster.stop()
