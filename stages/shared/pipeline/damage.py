"""What to say of a file that is not as the pipeline wrote it."""

import shlex
from pathlib import Path

from stages.shared.pipeline.cached import mending, object_behind
from stages.shared.pipeline.command import UserError


def damaged(file: Path, fault: str) -> UserError:
    """Return the error for `file`, which has a `fault`: it names DVC's object behind it, and what mends both."""
    behind = recorded_object(file)
    where = f", which is {behind} in DVC's cache," if behind else ""
    remedy = mending(file) if behind else f"{shlex.join(['rm', '-f', str(file)])} && dvc repro"
    return UserError(f"{file}{where} is damaged: {fault}. To mend it: {remedy}")


def recorded_object(file: Path) -> Path | None:
    """Return DVC's object behind `file`, None also where DVC's records are damaged themselves."""
    try:
        return object_behind(file)
    except Exception:  # of ruamel.yaml on what a kill cut, and of what YAML of another shape lacks
        return None
