"""What to say of a file that is not as the pipeline wrote it."""

from pathlib import Path

from stages.shared.pipeline.command import UserError


def damaged(file: Path, fault: str) -> UserError:
    """Return the error for `file`, which has a `fault`."""
    return UserError(f"{file} is damaged: {fault}.")
