"""What the report says of forms that were tried, and of limits."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..report import megabytes

TAKEN, BEATEN, OVER, NOT_TRIED = "TAKEN", "beaten", "over", "not tried"


@dataclass
class Tried:
    """A form of the model that was tried, or was not, and what came of it.

    `status` is `TAKEN`, `BEATEN` (another one is better for the goal), `OVER` (a budget or a limit) or `NOT_TRIED`;
    `why` says more. `size` is in bytes of a file, `seconds` of a run by `timed` (MEASURED or ESTIMATED), `faster` how
    many times as fast as without any of this. `error` is the relative L2 error, `score` that of --metric.
    """

    form: str
    status: str = ""
    why: str = ""
    recipe: str = ""
    size: int | None = None
    memory: int | None = None
    seconds: float | None = None
    faster: float | None = None
    timed: str = ""
    error: float | None = None
    score: float | None = None
    unlock: str = ""

    @property
    def name(self) -> str:
        """The form, with the recipe that it is of where there are several."""
        return f"{self.form} ({self.recipe})" if self.recipe else self.form

    def line(self) -> str:
        """For the summary."""
        found = [] if self.size is None else [f"{megabytes(self.size)} MB"]
        if self.memory is not None:
            found.append(f"{megabytes(self.memory)} MB to run")
        if self.faster is not None:
            found.append(f"x{self.faster:.2f} {self.timed}")
        if self.error is not None:
            found.append(f"off by {self.error:.2%}" if math.isfinite(self.error) else "wrong")
        if self.score is not None:
            found.append(f"scores {self.score:.4f}")
        said = f"{self.name}: {', '.join(found)}" if found else self.name
        why = f": {self.why}" if self.why else ""
        unlock = f"; {self.unlock} allows it" if self.unlock else ""
        return f"{said}   {self.status}{why}{unlock}"


@dataclass
class Limit:
    """``--max-size`` or ``--max-memory``: what was found, in bytes, and how: WRITTEN, MEASURED or ESTIMATED."""

    option: str
    limit: int
    found: int
    how: str
    advice: str = ""  # what would meet it, where nothing does

    @property
    def ok(self) -> bool:
        """True if it is met."""
        return self.found <= self.limit

    def text(self) -> str:
        """What is said of one that is not met."""
        missed = f"{megabytes(self.found)} MB, {megabytes(self.found - self.limit)} MB over {self.option}"
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.how} {missed}={megabytes(self.limit)}MB{advice}"
