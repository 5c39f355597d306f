"""The project's files at a revision, wherever in a git repository the project lies."""

import subprocess

from dvc.api import DVCFileSystem

from stages.shared.pipeline.command import UserError


class Files:
    """The files of the revision `rev`, those that DVC keeps too; of the workspace where it is None."""

    def __init__(self, rev: str | None) -> None:
        self.rev = rev
        self.folder = "" if rev is None else project_folder()
        self.system = DVCFileSystem(".", rev=rev, subrepos=True)  # which it is to DVC below git's top folder

    def read(self, path: str) -> bytes:
        """Return the content of `path`; raises OSError, DvcException or DataIndexError where it is not here."""
        return self.system.read_bytes(self.folder + path)


def project_folder() -> str:
    """Return where the project lies below git's top folder, with a slash at its end, or nothing."""
    return call("git", "rev-parse", "--show-prefix").strip()


def call(*command: str) -> str:
    """Return what `command` prints; raises UserError where it fails."""
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise UserError(f"{' '.join(command)} failed: {ended.stderr.strip()}")
    return ended.stdout
