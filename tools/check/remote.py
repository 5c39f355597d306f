"""The objects on the remote, against the hashes that dvc.lock and the .dvc files record.

DVC asks a remote for no file of a folder whose list is there, nor for what its index of the remote has. So
dvc push takes an object for pushed that has been lost there, and what is altered it never replaces.
"""

import time
from collections import defaultdict
from typing import BinaryIO, cast

from dvc.config import NoRemoteError
from dvc.fs import localfs
from dvc.repo import Repo
from dvc_data.hashfile.db import HashFileDB

from stages.shared.pipeline.command import UserError
from tools.check.findings import Findings
from tools.check.objects import Kept, hash_all, read_outputs


def check_remote(findings: Findings, push: bool) -> None:
    """Download and hash every object that dvc push sends for the project as it is, and find what differs.

    With `push`, what is missing or altered is put there again from the cache, where it is whole there.
    Raises UserError where there is no default remote, or it does not answer.
    """
    started = time.monotonic()
    repo = Repo(".")
    try:
        remote = repo.cloud.get_remote_odb()
    except NoRemoteError:
        raise UserError("no remote is the default one: docs/team.md says how to name a storage.") from None
    try:
        remote.fs.exists(remote.path)  # says what is wrong with the way there
        outputs = [output for output in read_outputs(repo) if output.pushed]
        objects = list_objects(outputs, remote, findings)
        size = sum(output.size for output in outputs)

        def read(md5: str) -> BinaryIO:
            return cast(BinaryIO, remote.fs.open(remote.oid_to_path(md5), "rb"))

        found = dict(zip(objects, hash_all(objects, size, read, "downloading"), strict=True))
    except Exception as error:  # of many kinds, by the remote's
        raise UserError(f"the remote {remote.path} cannot be read: {error}.") from None
    for md5, there in found.items():
        if there != md5.removesuffix(".dir"):
            report(objects[md5], there, remote, push, findings)
    findings.checked.append(
        f"{len(objects)} objects on {remote.path} ({size / 1e9:.2f} GB read in {time.monotonic() - started:.0f} s)"
    )


def list_objects(outputs: list[Kept], remote: HashFileDB, findings: Findings) -> dict[str, list[Kept]]:
    """Return what each object is of, by its hash; the lists last, as DVC takes all on a list for pushed."""
    objects = defaultdict(list)
    for output in outputs:
        if output.is_list:
            for file in list_files(output, remote, findings):
                objects[file.md5].append(file)
    for output in outputs:
        objects[output.md5].append(output)
    return objects


def list_files(folder: Kept, remote: HashFileDB, findings: Findings) -> list[Kept]:
    """Return the files on a folder's list, the one here or else the one on the remote."""
    for content in (folder.object.read_bytes, lambda: remote.fs.read_bytes(remote.oid_to_path(folder.md5))):
        try:
            return folder.files(content())
        except (FileNotFoundError, ValueError):
            continue
    findings.problems.append(
        f"what is in {folder.path} is not known, as neither {folder.object} nor the remote has its list whole"
    )
    return []


def report(files: list[Kept], there: str | None, remote: HashFileDB, push: bool, findings: Findings) -> None:
    """Say which object of the remote is not whole, and put it there again if `push`."""
    file = files[0]
    place = remote.oid_to_path(file.md5)
    said = f"{', '.join(str(file.path) for file in files)}: {'altered' if there else 'missing'} on the remote ({place})"
    (here,) = hash_all([file.object], 0, lambda path: path.open("rb"), "hashing")
    if here != file.md5.removesuffix(".dir"):
        findings.problems.append(
            f"{said}, and not whole in the cache here: mend that first (python -m tools.check --stored), or run "
            "python -m tools.check --remote --push where it is"
        )
    elif push:
        if there:
            remote.fs.remove(place)
        remote.add(str(file.object), localfs, file.md5)
        findings.notices.append(f"{said}: put there again.")
    else:
        findings.problems.append(
            f"{said}: python -m tools.check --remote --push puts it there again from here"
        )
