"""A difference as plain data: what `--json`, the text and the page are made of."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ...ir.core import Model
from .change import Change
from .changes import Difference
from .statements import Statements

SCHEMA = 1
"""Version of the JSON; raised when a field changes its meaning or goes away."""
CONTEXT = 3  # statements that read what has changed, shown with it


def data_of(found: Difference, before: Model, after: Model) -> dict[str, Any]:
    """All of it; pairs of numbers are of the first and of the second model, sizes in bytes."""
    ours, theirs = found.summary.before, found.summary.after
    statements = None if found.same else Statements(before, after, found.matching)
    return {
        "schema": SCHEMA,
        "same": found.same,
        "nodes": [ours.nodes, theirs.nodes],
        "weight_bytes": [ours.weight_bytes, theirs.weight_bytes],
        "inputs": [ours.inputs, theirs.inputs],
        "outputs": [ours.outputs, theirs.outputs],
        "operators": {op: [a, b] for op, a, b in found.summary.operators()},
        **found.quiet,
        "followed": found.followed,
        "kinds": dict(Counter(change.kind for change in found.changes)),
        "notes": found.notes,
        "changes": [] if statements is None else [_change(change, statements) for change in found.changes],
    }


def _change(change: Change, statements: Statements) -> dict[str, Any]:
    """`before` and `after` are statements; `context` those that read from the new nodes, as they are now."""
    context: list[str] = []
    if change.kind == "weight":
        ((old, new),) = change.weights
        ours, theirs = [statements.weight(old, False)], [statements.weight(new, True)]
        context = statements.after(node for node in change.after if node.outputs)
    elif change.kind == "moved":
        ours, theirs = [], []
        context = statements.after(change.after)
    else:
        ours, theirs = statements.before(change.before), statements.after(change.after)
        if change.kind != "changed":
            constants = statements.weights(change.before, change.after)
            ours, theirs = [*ours, *constants[0]], [*theirs, *constants[1]]
        context = statements.after(node for _, node in change.rewired if node.outputs)
    return {
        "kind": change.kind,
        "where": change.where,
        "details": change.details,
        "before": ours,
        "after": theirs,
        "nodes": [len(change.before), len(change.after)],
        "context": context[:CONTEXT],
    }
