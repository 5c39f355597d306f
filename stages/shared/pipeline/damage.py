"""What to say of a file that is not as the pipeline wrote it."""

from pathlib import Path

from stages.shared.pipeline.cached import mending, object_behind
from stages.shared.pipeline.command import UserError


def damaged(file: Path, fault: str) -> UserError:
    """Return the error for `file`, which has a `fault`: it names DVC's object behind it, and what mends both."""
    behind = object_behind(file)
    where = f", which is {behind} in DVC's cache," if behind else ""
    return UserError(f"{file}{where} is damaged: {fault}. To mend it: {mending(file)}.")
