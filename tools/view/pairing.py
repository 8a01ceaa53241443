"""Which nodes of two graphs are the same one: by name between two dumps of one run, by structure between two models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable

from ...ir.core import Model, Node
from ..diff import match_models

Pairs = dict[Node, Node]
"""Nodes of the second graph to those of the first."""


def pairs_of_models(first: Model, second: Model) -> Pairs:
    """As `geoc diff` matches them; a pair of different operators counts as a node that went and one that came."""
    return {b: a for b, a in match_models(first, second).origins.items() if a.op is b.op}


def pairs_of_dumps(before: Model, after: Model) -> Pairs:
    """A pass leaves their names to the nodes that it does not touch: an operator whose names are found again, once."""
    pairs: Pairs = {}
    taken: set[Node] = set()

    def match(key: Callable[[Node], Hashable]) -> None:
        groups: dict[Hashable, tuple[list[Node], list[Node]]] = defaultdict(lambda: ([], []))
        for node in before.walk():
            if node not in taken:
                groups[node.op, key(node)][0].append(node)
        for node in after.walk():
            if node not in pairs:
                groups[node.op, key(node)][1].append(node)
        for ours, theirs in groups.values():
            if len(ours) == len(theirs) == 1:
                pairs[theirs[0]] = ours[0]
                taken.add(ours[0])

    match(lambda node: (node.loc, tuple(value.hint for value in node.outputs)))
    match(lambda node: tuple(value.hint for value in node.outputs))
    match(lambda node: node.loc or id(node))
    return pairs
