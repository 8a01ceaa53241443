"""Everything that one compilation did, as an object and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ...ir.errors import UsageError
from ..versions import geoc_version
from .facts import WRONG, Accuracy, Device, Fired, GraphSize, Refusal, Repair, Score, Speed, Stays

if TYPE_CHECKING:
    from ..recipes.said import Limit, Tried

SCHEMA = 1
"""Version of the JSON; raised when a field changes its meaning or goes away."""
SUFFIXES = (".json", ".html")


def check_suffix(path: str | None, allowed: Sequence[str]) -> None:
    """Raise UsageError for a file of --report that is none of these."""
    if path is not None and os.path.splitext(path)[1].lower() not in allowed:
        raise UsageError(f"a report is written as {' or '.join(allowed)}, not {path}", source="--report")


@dataclass
class Report:
    """Everything the summary says. `model` is the optimized model; `ok` False: checked and wrong, or over a limit."""

    source: str = ""
    output: str = ""
    files: list[str] = field(default_factory=list)  # what was written
    reused: list[str] = field(default_factory=list)  # data files of the source that these refer to
    target: str = ""
    target_description: str = ""
    level: int | None = 2  # None: --passes
    pipeline: str = ""
    engine: dict[str, Any] = field(default_factory=dict)  # what a runtime's compiler made: layers, kernels
    precision: str = ""  # what nodes were brought to, "" for that of the source
    seconds: float = 0.0
    before: GraphSize = field(default_factory=GraphSize)
    after: GraphSize = field(default_factory=GraphSize)
    opset: int | None = None
    rewrites: dict[str, int] = field(default_factory=dict)
    accuracy: Accuracy = field(default_factory=Accuracy)
    refused: list[Refusal] = field(default_factory=list)
    repairs: list[Repair] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    recipe: dict[str, Any] = field(default_factory=dict)  # its name, path, description and options
    tried: list[Tried] = field(default_factory=list)  # forms, in the order in which they were tried
    limits: list[Limit] = field(default_factory=list)
    metric: Score | None = None
    stays: Stays | None = None
    speed: Speed | None = None
    device: Device | None = None
    timing: dict[str, Any] | None = None  # the tree of passes, for --time-passes and --report
    rules: list[Fired] = field(default_factory=list)  # the rules that fired, for --report
    quantization: dict[str, Any] | None = None  # layer by layer, for --report (`quantreport.data`)
    provenance: dict[str, Any] = field(default_factory=dict)  # versions and hashes, for --report (`provenance`)
    again: str = ""
    model: Any = field(default=None, repr=False)

    @property
    def ok(self) -> bool:
        """False when the result was compared and is wrong, or is over a limit (nothing was written then)."""
        return self.accuracy.status != WRONG and all(limit.ok for limit in self.limits)

    @property
    def failure(self) -> str:
        """Why it is not `ok`, in one line."""
        missed = [limit.text() for limit in self.limits if not limit.ok]
        if self.accuracy.status == WRONG:
            missed.insert(0, f"wrong: {self.accuracy.reason}")
        return "; ".join(missed)

    def to_json(self) -> dict[str, Any]:
        """Plain data, with the schema's and geoc's versions. Times in seconds, sizes in bytes."""


        model, self.model = self.model, None  # a model is no plain data
        try:
            data = asdict(self)
        finally:
            self.model = model
        del data["model"]
        data["seconds"] = round(self.seconds, 3)
        data["speed"] = {"status": "NOT MEASURED"} if self.speed is None else {"status": "MEASURED", **data["speed"]}
        return {"schema": SCHEMA, "geoc": geoc_version(), "ok": self.ok, **data}

    def write(self, path: str) -> None:
        """Write it to a file, a page if its name ends in .html, else JSON. Raises OSError."""
        from ...lowering.emit import write_text

        if os.path.splitext(path)[1].lower() == ".html":
            from .page import page

            write_text(path, page(self))
        else:
            write_text(path, json.dumps(self.to_json(), indent=2) + "\n")

    def __str__(self) -> str:
        return self.summary()

    def summary(self, colour: bool = False, verbose: bool = False) -> str:
        """The summary; `colour` adds terminal colours, `verbose` the pipeline and every count of rewrites."""
        from .summary import summary

        return summary(self, colour, verbose)
