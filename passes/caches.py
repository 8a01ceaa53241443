"""Key-value caches: inputs [batch, heads, past, size] that an output continues, by an attention or a Concat."""

from __future__ import annotations

from ..ir.core import Graph, Value

_PAST_KEY = 4  # the operand of Attention; one earlier in GroupQueryAttention


def caches(graph: Graph) -> dict[int, int]:
    """The places of inputs that are caches, each with the place of the output that continues it."""
    found = {}
    for place, output in enumerate(graph.outputs):
        past = _continued(output)
        if past is not None and past.graph is graph and past not in graph.defaults:
            found[past.index] = place
    return found


def _continued(output: Value) -> Value | None:
    """What an output appends to; None where it appends nothing."""
    node = output.producer
    if node is None:
        return None
    if node.op.key == "Attention" and output.index in (1, 2):
        return node.input(_PAST_KEY - 1 + output.index)
    if node.op.key == "com.microsoft::GroupQueryAttention" and output.index in (1, 2):
        return node.input(_PAST_KEY - 2 + output.index)
    if node.op.key == "Concat" and len(node.inputs) == 2 and output.rank == 4 and node.attr("axis") in (2, -2):
        return node.inputs[0]
    return None
