"""How a rule with several roots gets from one to the next: through the uses of a bound value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..core import Node, Value
from ..ops import Op
from .analyse import Analysis
from .syntax import Call, Def, Either, Syntax, Var

Link = tuple[str, list[tuple[str, ...]]]


def find_links(analysis: Analysis, order: list[Def], position: int) -> list[Link] | None:
    """How a root is reached: values that earlier roots bind, and the ops from them up to the root.

    More than one where the pattern has alternatives on the way, None where nothing connects it.
    """
    bound: dict[str, None] = {}
    for root in order[:position]:
        bound.update(analysis.names_of(root))
    found = _links(order[position].term, analysis, bound)
    return None if found is None or any(not path for _, path in found) else found


def _links(term: Syntax, analysis: Analysis, bound: Mapping[str, None]) -> list[Link] | None:
    if isinstance(term, Var):
        if term.variadic or term.optional:
            return None
        if "%" + term.name in bound:
            return [(term.name, [])]
        known = analysis.defs.get(term.name)
        return None if known is None else _links(known[0].term, analysis, bound)
    if isinstance(term, Either):
        ways = [_links(way.term, analysis, bound) for way in term.alternatives]
        return None if None in ways else [link for way in ways if way for link in way]
    if not isinstance(term, Call):
        return None
    below = [links for links in (_links(a, analysis, bound) for a in term.args) if links]
    if not below:
        return None
    shortest = min(below, key=lambda links: (_by_constant(term, links), max(len(p) for _, p in links)))
    return [(name, [*path, term.ops]) for name, path in shortest]


def _by_constant(call: Call, links: list[Link]) -> bool:
    """Constants are shared by many nodes: a path through one is taken only if there is no other."""
    marks = {m for a in call.args if isinstance(a, Var) and a.name == links[0][0] for m in a.marks}
    return not marks.isdisjoint(("const", "scalar", "weight"))


def climb(start: Value, ops: list[frozenset[Op]], graph: Any) -> Iterator[Node]:
    """The nodes reached from `start` through users whose ops are ops[0], then ops[1], ..., in order."""
    values = [start]
    for position, wanted in enumerate(ops):
        found: dict[Node, None] = {}
        for value in values:
            for user, _ in value.uses:
                if user.op in wanted and user.graph is graph:
                    found[user] = None
        if position == len(ops) - 1:
            yield from found
            return
        values = [v for node in found for v in node.outputs]
