"""Real servers on loopback for the tests of remote storage: OpenSSH, and rclone's S3.

rclone is the most real S3 server in the package registries: it checks signatures, which moto does not.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

SSHD = """
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PasswordAuthentication no
StrictModes no
UsePAM no
PidFile none
Subsystem sftp internal-sftp
"""
# Root needs a user sshd and /run/sshd: both are there for this server alone, in its own mounts.
AS_ROOT = """
(cat /etc/passwd; echo 'sshd:x:65000:65000::/run/sshd:/usr/sbin/nologin') > {folder}/passwd
mount --bind {folder}/passwd /etc/passwd && mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec "$@"
"""


@contextmanager
def serving(command: list[str], port: int, folder: Path, **variables: str) -> Iterator[subprocess.Popen]:
    """Run a server until the block ends; it starts when `port` answers."""
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, env={**os.environ, **variables}, stdout=log, stderr=log)
    try:
        for _ in range(100):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.1)
        yield server
    finally:
        server.terminate()
        server.wait()


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@contextmanager
def shared_folder(folder: Path) -> Iterator[tuple[str, dict, dict]]:
    """Yield a remote's URL, its options for .dvc/config, and those that are each user's own."""
    yield str(folder / "shared"), {}, {}


@contextmanager
def ssh(folder: Path) -> Iterator[tuple[str, dict, dict]]:
    server, libraries = find_sshd(folder)
    for name in ("host_key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "sshd_config").write_text(SSHD.format(folder=folder))
    port = free_port()
    command = [server, "-D", "-e", "-f", str(folder / "sshd_config"), "-p", str(port)]
    if os.geteuid() == 0:
        if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
            pytest.skip(
                "root may not mount here, as in a container: OpenSSH's server has no folder to run in"
            )
        command = ["unshare", "--mount", "sh", "-c", AS_ROOT.format(folder=folder), "sh", *command]
    user = subprocess.check_output(["id", "-un"], text=True).strip()
    with serving(command, port, folder, LD_LIBRARY_PATH=libraries):
        url = f"ssh://127.0.0.1:{port}{folder}/shared"
        yield url, {}, {"user": user, "keyfile": str(folder / "key")}


def find_sshd(folder: Path) -> tuple[str, str]:
    """Return the path of OpenSSH's server and of its libraries, unpacked from Debian's package if need be."""
    if installed := shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin"):
        return installed, ""
    packages = ["openssh-server", "libwrap0"]
    if (
        not shutil.which("apt-get")
        or subprocess.run(["apt-get", "download", *packages], cwd=folder).returncode
    ):
        pytest.skip("there is no OpenSSH server, and no Debian package of it")
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    return str(folder / "usr/sbin/sshd"), str(next(folder.rglob("libwrap.so.0")).parent)


@contextmanager
def s3(folder: Path) -> Iterator[tuple[str, dict, dict]]:
    port = free_port()
    (folder / "buckets/team").mkdir(parents=True)
    # rclone, like other S3 servers than Amazon's, knows no checksums of parts of a file.
    (folder / "aws_config").write_text(
        "[default]\nrequest_checksum_calculation = when_required\nresponse_checksum_validation = when_required\n"
    )
    with serving_s3(folder, port):
        yield (
            "s3://team/freezepoint",
            {"endpointurl": f"http://127.0.0.1:{port}"},
            {
                "access_key_id": "id-for-tests",
                "secret_access_key": "secret-for-tests",
                "configpath": str(folder / "aws_config"),
            },
        )


def serving_s3(folder: Path, port: int, **variables: str) -> AbstractContextManager[subprocess.Popen]:
    """Serve the buckets in `folder` until the block ends, with `variables` that rclone reads."""
    command = "rclone serve s3 --config /dev/null --auth-key id-for-tests,secret-for-tests".split()
    return serving(
        [*command, "--addr", f"127.0.0.1:{port}", str(folder / "buckets")], port, folder, **variables
    )


REMOTES = {"shared folder": shared_folder, "SSH": ssh, "S3": s3}
