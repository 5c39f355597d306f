"""The files in the workspace and in DVC's cache, against the hashes that dvc.lock and the .dvc files record."""

import hashlib
import json
import os
import shlex
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from dvc.repo import Repo

from stages.shared.pipeline.cached import mending
from tools.check.findings import Findings
from tools.check.objects import Kept, hash_all, read_outputs

Hashes = dict[tuple[int, int], str | None]  # by device and inode, so that links are read once


def check_stored(findings: Findings) -> None:
    """Hash every file that DVC keeps, and find what is damaged or missing. Nothing is believed of its time or size."""
    started = time.monotonic()
    repo = Repo(".")
    files: list[Kept] = []
    for output in read_outputs(repo):
        if not os.path.lexists(output.path):
            report_absent(output, findings)
        elif not output.is_list:
            files.append(output)
        elif not output.cached:  # nor is its list
            findings.problems += judge_uncached(repo, output)
        else:
            try:
                files += output.files(output.object.read_bytes())
            except (OSError, ValueError):
                findings.problems.append(
                    f"{output.object}, the list of what is in {output.path}, is missing or damaged: {mend_list(output)}"
                )
    hashes, size = hash_files([*(file.path for file in files), *(file.object for file in files)])
    findings.problems += judge(files, hashes)
    findings.checked.append(
        f"{len(files)} files and DVC's cache behind them ({size / 1e9:.2f} GB read in "
        f"{time.monotonic() - started:.0f} s)"
    )


def report_absent(output: Kept, findings: Findings) -> None:
    """Say that an output is not in the workspace: a fault where the cache has not even its object, and should."""
    if output.cached and output.object.exists():
        findings.notices.append(
            f"{output.path} is not in the workspace: {shlex.join(['dvc', 'checkout', str(output.path)])}."
        )
    elif output.pushed:
        pull = shlex.join(["dvc", "pull", str(output.path)])
        findings.problems.append(
            f"{output.path} is missing, and so is {output.object}: {pull} where it was pushed, or dvc repro"
        )
    else:
        findings.notices.append(f"{output.path} is not here: dvc repro computes it where it is needed.")


def mend_list(folder: Kept) -> str:
    remove = shlex.join(["rm", "-f", str(folder.object)])
    if not folder.stage.endswith(".dvc"):
        return f"{remove} && dvc repro"
    again = shlex.join(["dvc", "add", str(folder.path)])
    return f"{remove} && {again}, after which git diff {shlex.quote(folder.stage)} shows whether an image has changed"


def judge_uncached(repo: Repo, folder: Kept) -> Iterator[str]:
    """Yield a sentence where the files in a folder do not give the list that was recorded."""
    paths = sorted(map(Path, repo.dvcignore.find(repo.fs, str(folder.path))))
    size = sum(path.stat().st_size for path in paths)
    hashes = hash_all(paths, size, partial(open, mode="rb"), f"hashing {folder.path}")
    entries = [
        {"md5": md5, "relpath": path.relative_to(folder.path).as_posix()}
        for path, md5 in zip(paths, hashes, strict=True)
    ]
    entries.sort(key=lambda entry: entry["relpath"])
    listed = json.dumps(entries, sort_keys=True).encode()
    if f"{hashlib.md5(listed, usedforsecurity=False).hexdigest()}.dir" != folder.md5:
        yield f"{folder.path} is not what {folder.stage} wrote: {shlex.join(['rm', '-rf', str(folder.path)])} && dvc repro"


def judge(files: Iterable[Kept], hashes: Hashes) -> Iterator[str]:
    """Yield a sentence for each object that is not whole here, or in a file of the workspace, with what mends it."""
    sharing = defaultdict(list)
    for file in files:
        sharing[file.object].append(file)
    for found, group in sharing.items():
        whole = [file for file in group if fault(file.path, file.md5, hashes) is None]
        bad = [file for file in group if file not in whole]
        of_object = fault(found, group[0].md5, hashes)
        if of_object == "missing" and not any(file.cached for file in group):
            of_object = None
        if of_object and whole:
            commands = [
                ["rm", "-f", *(str(file.path) for file in bad), str(found)],
                ["dvc", "commit", whole[0].stage],
            ]
            yield f"{found} is {of_object}, and {whole[0].path} is whole: {' && '.join(map(shlex.join, commands))}"
        elif of_object:
            paths = ", ".join(str(file.path) for file in bad)
            yield f"{paths}: {of_object}, with the object {found} behind: {mending(bad[0].path)}"
        else:
            for file in bad:
                yield f"{file.path} is {fault(file.path, file.md5, hashes)}, and its object whole: {restore(file)}"


def restore(file: Kept) -> str:
    """Return how a file of the workspace is taken from the cache again."""
    remove, path = shlex.join(["rm", "-f", str(file.path)]), shlex.quote(str(file.path))
    if not file.cached:
        return f"{remove} && dvc repro"
    again = f"{remove} && dvc checkout {path}"
    if file.stage.endswith(".dvc"):
        return f"{again}; or, where you changed it, dvc add {shlex.quote(str(file.output))}"
    return again


def fault(path: Path, md5: str, hashes: Hashes) -> str | None:
    """Return what is wrong with the content of `path`, None where nothing is."""
    key = inode(path)
    return "missing" if key is None else None if hashes[key] == md5 else "damaged"


def inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def hash_files(paths: Iterable[Path]) -> tuple[Hashes, int]:
    """Return the hash of each file, links to one file once, and the bytes that were read."""
    files = {key: path for path in paths if (key := inode(path))}
    size = sum(path.stat().st_size for path in files.values())
    hashes = hash_all(files.values(), size, partial(open, mode="rb", buffering=0), "hashing")
    return dict(zip(files, hashes, strict=True)), size
