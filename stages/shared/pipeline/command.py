"""How a stage is called, and how it ends when the user's data or parameters are wrong."""

import gc
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from inspect import getdoc, signature
from pathlib import Path
from typing import Any, NoReturn

from stages.shared.pipeline.files import copy_to_records


class UserError(SystemExit):
    """One clear sentence for the user: Python prints it without a traceback and exits with 1."""


class Parser(ArgumentParser):
    """A parser whose errors are a UserError."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}: dvc.yaml has the command of each stage, and dvc repro runs it.")


def run(main: Callable[..., Any], **afterwards: Callable[[Any, Path], None]) -> None:
    """Call a stage's `main` with the paths on the command line, and say how long it took.

    Each of `afterwards` gets what `main` returned and a path under its own name. `--records`, a folder and
    files, has the files copied into the folder at the end; the head of dvc.yaml says why.
    What the machine refuses (a full disk, a missing or unreadable file) ends in one sentence too.
    """
    names = list(signature(main).parameters)
    parser = Parser(description=getdoc(main), formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
    for name in [*names, *afterwards]:
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, required=True, metavar="PATH")
    parser.add_argument("--records", type=Path, nargs="+", metavar="PATH")
    paths = vars(parser.parse_args())
    started = time.monotonic()
    try:
        result = main(**{name: paths[name] for name in names})
        for name, call in afterwards.items():
            call(result, paths[name])
        if paths["records"]:
            folder, *files = paths["records"]
            copy_to_records(folder, files)
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename or error} is missing: run dvc repro, which makes what a stage needs."
        ) from None
    except OSError as error:
        raise UserError(f"{error.filename or 'a file'}: {error.strerror or error}.") from None
    print(f"took {time.monotonic() - started:.0f} s")
    gc.freeze()  # Python would search all that there is for garbage before it ends
