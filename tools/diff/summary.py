"""Counts of two models beside each other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ...ir.core import Model


@dataclass(frozen=True)
class Counts:
    """Nodes of all graphs, by operator, and bytes of constants, each counted once."""

    nodes: int
    operators: Counter[str] = field(repr=False)
    weight_bytes: int
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Summary:
    """The counts of both."""

    before: Counts
    after: Counts

    def operators(self) -> list[tuple[str, int, int]]:
        """Operators whose numbers differ, the largest difference first."""
        ours, theirs = self.before.operators, self.after.operators
        other = [(op, ours[op], theirs[op]) for op in {*ours, *theirs} if ours[op] != theirs[op]]
        return sorted(other, key=lambda row: (-abs(row[2] - row[1]), row[0]))


def counts_of(model: Model) -> Counts:
    """The counts of one model."""
    operators = Counter(node.op.key for node in model.walk())
    graph = model.graph
    return Counts(operators.total(), operators, model.weight_bytes, len(graph.inputs), len(graph.outputs))


def summary_of(before: Model, after: Model) -> Summary:
    """The counts of two."""
    return Summary(counts_of(before), counts_of(after))
