"""Constants in branches: what TensorRT refuses of a model as a whole, which no row of one node can say."""

from __future__ import annotations

from ...ir.core import Model, Node
from ...ir.tensor import Tensor


def dequantized_twice(model: Model) -> list[tuple[Node, str]]:
    """Nodes in branches that dequantize a constant which another branch dequantizes too: TensorRT-RTX refuses that."""
    readers: dict[Tensor, list[Node]] = {}
    for node in model.walk():
        stored = node.input(0) if node.op.name == "DequantizeLinear" and node.graph is not model.graph else None
        if stored is not None and stored.const is not None:
            readers.setdefault(stored.const, []).append(node)
    shared = (nodes for nodes in readers.values() if len({node.graph for node in nodes}) > 1)
    return [(node, "it dequantizes a constant in one branch only") for nodes in shared for node in nodes]
