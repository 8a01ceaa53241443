"""What a folder of --dump-dir holds: the model after each pass that changed it, and every rewrite in between."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

from ...ir.core import Model, Node
from ...ir.errors import FormatError, UsageError
from ..files import load_any
from ..watch import TRACE, old_dumps


@dataclass
class Rewrite:
    """A line of the trace: which rule did it where, and what stood there before and after."""

    number: int
    rule: str
    at: str  # FILE:LINE of the rule; "" for a rewrite that a pass makes itself
    before: list[tuple[str, tuple[str, ...]]]  # operators and source names
    after: list[str]  # statements


@dataclass
class Step:
    """A dump: the model behind a pass, and the rewrites of that pass."""

    name: str
    path: str
    rewrites: list[Rewrite] = field(default_factory=list)

    def load(self) -> Model:
        """The model. Raises GeocError or OSError."""
        return load_any(self.path)


def steps_of(folder: str) -> list[Step]:
    """The dumps of a folder in order, the input first. Raises UsageError where there are none, FormatError for a bad
    trace."""
    paths = sorted(old_dumps(folder), key=lambda path: int(os.path.basename(path).partition("_")[0]))
    if not paths:
        raise UsageError("no dumps are in this folder; `geoc MODEL --dump-dir FOLDER` writes them", source=folder)
    numbered = {}
    for path in paths:
        number, _, name = os.path.basename(path).removesuffix(".gir").partition("_")
        numbered[int(number)] = Step(name, path)
    trace = os.path.join(folder, TRACE)
    if os.path.isfile(trace):
        with open(trace, encoding="utf-8") as lines:
            for place, line in enumerate(lines, 1):
                try:
                    said = json.loads(line)
                    step = numbered.get(said["dump"])
                    rewrite = _rewrite(said)
                except (ValueError, KeyError, TypeError) as error:
                    raise FormatError(f"no line of a trace: {error!r}", source=trace, place=str(place)) from None
                if step is not None:  # what a pass did that changed nothing in the end has no dump
                    step.rewrites.append(rewrite)
    return list(numbered.values())


def _rewrite(said: dict[str, Any]) -> Rewrite:
    before = [(node["op"], tuple(node["loc"])) for node in said["before"]]
    return Rewrite(said["number"], said["rule"] or said["pass"], said["at"], before, said["after"])


def nodes_before(rewrite: Rewrite, model: Model) -> list[Node]:
    """The nodes of the dump before a pass that a rewrite took; those that an earlier one of the pass made are not."""
    wanted = set(rewrite.before)
    return [node for node in model.walk() if (node.op.key, node.loc) in wanted]
