"""How a stage is called, and how it ends when the user's data or parameters are wrong."""

import sys
import time
from collections.abc import Callable
from inspect import signature
from pathlib import Path


class UserError(SystemExit):
    """One clear sentence for the user: Python prints it without a traceback and exits with 1."""


def run(main: Callable[..., None]) -> None:
    """Call a stage's `main` with the paths on the command line, and say how long it took.

    What the machine refuses (a full disk, a missing or unreadable file) ends in one sentence too.
    """
    wanted, given = list(signature(main).parameters), sys.argv[1:]
    if len(given) != len(wanted):
        raise UserError(f"this takes {len(wanted)} paths, not {len(given)}: {' '.join(wanted)}.")
    started = time.monotonic()
    try:
        main(*map(Path, given))
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename or error} is missing: run dvc repro, which makes what a stage needs."
        ) from None
    except OSError as error:
        raise UserError(f"{error.filename or 'a file'}: {error.strerror or error}.") from None
    except KeyboardInterrupt:
        raise UserError("stopped before it was done: run dvc repro to start it again.") from None
    print(f"took {time.monotonic() - started:.0f} s")
