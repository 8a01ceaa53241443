"""The trace of a folder of --dump-dir: every rewrite, by the dump that shows its result."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from ...ir.core import Model, Node
from ...ir.errors import FormatError
from ..diff.folders import TRACE

_MADE = re.compile(r'%("(?:[^"\\]|\\.)*"|[^\s:,=]+)')


@dataclass
class Rewrite:
    """A line of the trace: which rule did it where, and what stood there before and after."""

    number: int
    rule: str  # of a rewrite that a pass makes without a rule, the pass
    at: str  # FILE:LINE of the rule; "" where there is none
    before: list[tuple[str, tuple[str, ...]]]  # operators and source names
    after: list[str]  # statements

    def nodes_before(self, model: Model) -> list[Node]:
        """The nodes of the dump before the pass that it took; what an earlier rewrite of the pass made is in none."""
        wanted = set(self.before)
        return [node for node in model.walk() if (node.op.key, node.loc) in wanted]

    def nodes_after(self, model: Model) -> list[Node]:
        """The nodes of the dump after the pass that it made; what a later rewrite of the pass took is in none."""
        made = {name for statement in self.after for name in names_made(statement)}
        sources = {name for _, names in self.before for name in names}
        return [
            node
            for node in model.walk()
            if any(value.hint in made for value in node.outputs) and (not node.loc or sources & set(node.loc))
        ]


def names_made(statement: str) -> list[str]:
    """The names of what a statement defines."""
    found = [match[1] for match in _MADE.finditer(statement.partition(" = ")[0])]
    return [name[1:-1] if name.startswith('"') else name for name in found]


def rewrites_of(folder: str) -> dict[int, list[Rewrite]]:
    """Rewrites by the number of the dump; none without a trace. Raises FormatError for a line that is none of one."""
    found: dict[int, list[Rewrite]] = defaultdict(list)
    trace = os.path.join(folder, TRACE)
    if os.path.isfile(trace):
        with open(trace, encoding="utf-8") as lines:
            for place, line in enumerate(lines, 1):
                try:
                    said = json.loads(line)
                    found[said["dump"]].append(_rewrite(said))
                except (ValueError, KeyError, TypeError) as error:
                    said = f"no rewrite of a trace: {error!r}"
                    raise FormatError(said, source=trace, place=f"line {place}") from None
    return found


def _rewrite(said: dict[str, Any]) -> Rewrite:
    before = [(node["op"], tuple(node["loc"])) for node in said["before"]]
    return Rewrite(said["number"], said["rule"] or said["pass"], said["at"], before, said["after"])
