"""The project around the parameters: the files that have to be here, and what dvc.yaml and dvc.lock say."""

from collections.abc import Callable
from getpass import getuser
from pathlib import Path
from typing import Any, NamedTuple

from dvc.config import Config
from dvc.schema import COMPILED_LOCKFILE_SCHEMA, COMPILED_MULTI_STAGE_SCHEMA, COMPILED_SINGLE_STAGE_SCHEMA
from ruamel.yaml import YAML

from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.parameters import PARAMETERS

PIPELINES = Path("dvc.yaml"), Path("data/raw/dvc.yaml")  # the second writes the sample images


class Project(NamedTuple):
    """The stages as the files dvc.yaml state them and dvc.lock record their last run, by name."""

    stated: dict[str, Any]
    recorded: dict[str, Any]

    def find_writer(self, path: Path) -> str | None:
        """Return the stage that writes `path` or a folder around it, None where it is the user's own."""
        for stage, entry in self.stated.items():
            outs = [out if isinstance(out, str) else next(iter(out)) for out in entry.get("outs", [])]
            if any(path.is_relative_to(out) for out in outs):
                return stage
        return None

    def is_whole(self, stage: str, folder: Path) -> bool:
        """Return whether `folder` has as many files as `stage` wrote there.

        A stage that was stopped leaves fewer, and runs again.
        """
        outs = self.recorded.get(stage, {}).get("outs", [])
        files = sum(path.is_file() for path in folder.rglob("*"))
        return any(Path(out["path"]) == folder and out.get("nfiles") == files for out in outs)

    def is_done(self, stage: str, parameters: dict[str, Any]) -> bool:
        """Return whether `stage` has run with these values of its parameters, and what it wrote is here."""
        entry = self.recorded.get(stage, {})
        known = entry.get("params", {}).get(str(PARAMETERS))
        outs = entry.get("outs", [])
        return known == parameters and bool(outs) and all(Path(out["path"]).exists() for out in outs)


def check_folder() -> None:
    """Raise UserError where the working directory is no project's top folder, or DVC would refuse it."""
    for path in (PARAMETERS, PIPELINES[0], Path(".dvc")):
        if not path.exists():
            raise UserError(f"{path} is missing: run this from the project's top folder.")
    try:
        Path.home()
        getuser()
    except (RuntimeError, KeyError, OSError):  # by Python's version
        raise UserError(
            "this process has no home folder or no user's name, for which DVC asks: set HOME to a folder and "
            "USER to a name."
        ) from None
    here = Path.cwd()
    has_git = any((folder / ".git").exists() for folder in (here, *here.parents))
    if not has_git and not Config.from_cwd()["core"]["no_scm"]:
        raise UserError(
            f"{here} is in no git repository, and DVC wants one: run git init, or, to do without git, "
            "dvc config --local core.no_scm true."
        )


def read_project() -> Project:
    """Return the project in the working directory; raises UserError where DVC would not take one of its files."""
    project = Project({}, {})
    for pipeline in filter(Path.exists, PIPELINES):
        project.stated.update(_read_stages(pipeline, COMPILED_MULTI_STAGE_SCHEMA))
        if (lock := pipeline.with_suffix(".lock")).exists():
            project.recorded.update(_read_stages(lock, COMPILED_LOCKFILE_SCHEMA))
    for added in sorted([*Path("data").glob("*.dvc"), *Path("data").glob("*/*.dvc")]):
        check_added(added)
    return project


def check_added(file: Path) -> None:
    """Raise UserError where a file of dvc add is not whole: DVC would take an empty one for no images at all."""
    try:
        (out,) = COMPILED_SINGLE_STAGE_SCHEMA(YAML(typ="safe").load(file))["outs"]
        whole = "md5" in out and out["path"] == file.stem  # which DVC writes last
    except Exception:  # of ruamel.yaml, of voluptuous, or as it is empty
        whole = False
    if not whole:
        raise UserError(
            f"{file} is not as dvc add writes it: git checkout {file} for the last commit's, or "
            f"dvc add {file.with_suffix('')} again."
        )


def find_outputs() -> list[Path]:
    """Return what the stages in the files dvc.yaml write, metrics and plots with it."""
    stages = [
        stage
        for pipeline in filter(Path.exists, PIPELINES)
        for stage in _read_stages(pipeline, COMPILED_MULTI_STAGE_SCHEMA).values()
    ]
    entries = [
        out for stage in stages for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])
    ]
    return [Path(entry if isinstance(entry, str) else next(iter(entry))) for entry in entries]


def has_conflict(file: Path) -> bool:
    """Return whether git has left a conflict in `file`, which is the user's to resolve."""
    return b"\n<<<<<<< " in b"\n" + file.read_bytes()


def _read_stages(file: Path, schema: Callable[[object], dict[str, Any]]) -> dict[str, Any]:
    """Return the stages in `file`; raises UserError where it is not of DVC's `schema`, as after a kill."""
    try:
        return schema(YAML(typ="safe").load(file))["stages"]
    except Exception as error:  # of ruamel.yaml on what is no YAML, of voluptuous on YAML of another shape
        if has_conflict(file):
            raise UserError(
                f"{file} has a conflict of git in it: docs/team.md says how to merge, and git checkout --ours {file} "
                "takes this branch's."
            ) from None
        reason = " ".join(str(error).split())
        raise UserError(
            f"{file} is not as DVC takes it ({reason}): mend it, or git checkout {file} for the last commit's."
        ) from None
