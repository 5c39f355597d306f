"""A real Ray cluster of three nodes on loopback, for the tests of the engine ray."""

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
    """Nodes that are process groups: what `variables` are given to one may make it another kind of machine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.nodes = folder, {}
        (folder / "token").write_text(secrets.token_hex(32))
        self.variables = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self.address = f"{HEAD}:{free_port()}"
        self._start(HEAD, ["--head", f"--port={self.address.partition(':')[2]}", "--include-dashboard=false"])
        self._start("127.0.0.3", [f"--address={self.address}"])
        self._start("127.0.0.4", [f"--address={self.address}"])

    def _start(self, ip: str, options: list[str], *around: str, **variables: str) -> None:
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", *options]
        command += [f"--node-ip-address={ip}", "--num-cpus=1", "--object-store-memory=100000000"]
        file = self.folder / f"{ip}.log"
        with file.open("w") as log:
            self.nodes[ip] = subprocess.Popen(
                [*around, *command],
                env={**variables_for(), **self.variables, "RAY_TMPDIR": str(self.folder), **variables},
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

    def restart(self, ip: str, *around: str, **variables: str) -> None:
        """Start a node that was killed."""
        self._start(ip, [f"--address={self.address}"], *around, **variables)


@contextmanager
def loopback_cluster() -> Iterator[LoopbackCluster]:
    folder = Path(
        mkdtemp(prefix="ray")
    )  # sockets are below it, and the path of one has 107 characters at most
    cluster = LoopbackCluster(folder)
    try:
        yield cluster
    finally:
        for ip in list(reversed(cluster.nodes)):  # without the head the others end by themselves
            cluster.kill(ip)
        shutil.rmtree(folder, ignore_errors=True)
