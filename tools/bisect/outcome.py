"""What a test says of one compilation."""

from __future__ import annotations

from dataclasses import dataclass

GOOD, SKIP = "good", "skip"
STAGES = {"crash": 0, "write": 1, "load": 2, "run": 3, "type": 4, "numbers": 5, "exit": 2, "signal": 2}
"""How far a compilation got before it failed; "skip" has got nowhere."""


@dataclass(frozen=True)
class Outcome:
    """`kind` is "good", "skip" where nothing can be said, else how it failed.

    Kinds of failure: "numbers", "type" (or shape), "load" and "run" (in the runtime), "write" (the target has no form
    of it), "crash NAME" (the compilation raised it), "exit N" and "signal N" (the user's command). `error` and `limit`
    are those of the comparison, where there is one, and `output` the worst one's name.
    """

    kind: str
    message: str = ""
    error: float | None = None
    limit: float | None = None
    output: str = ""

    @property
    def good(self) -> bool:
        return self.kind == GOOD

    @property
    def family(self) -> str:
        """The kind without its details: two crashes are alike, and two exit codes."""
        return self.kind.split()[0]

    @property
    def stage(self) -> int:
        """How far it got, see `STAGES`."""
        return STAGES.get(self.family, -1)

    @property
    def text(self) -> str:
        """In one line."""
        if self.kind in (GOOD, SKIP):
            return f"{self.kind}: {self.message}" if self.message else self.kind
        return self.message or self.kind
