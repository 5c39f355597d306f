"""What the checks have found so far."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from stages.shared.pipeline.command import UserError


@dataclass
class Findings:
    """Sentences on what is wrong, on what to know beforehand, and on what was looked at."""

    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Take down the UserError that the block ends with, and go on after the block.

        Of two checks that stumble over the same line of params.yaml, one is enough.
        """
        try:
            yield
        except UserError as error:
            self.problems += [line for line in str(error).splitlines() if line not in self.problems]
