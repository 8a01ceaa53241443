"""hoist-weights: weights that branches and loops dequantize are dequantized in front of all, once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...ir.core import Graph, Model, Node
from ..base import Context, Pass


@dataclass(frozen=True)
class HoistWeights(Pass):
    """DequantizeLinear of a constant in a branch of an If, or in a loop, moves to the start of the main graph.

    It cannot fail, and a runtime that keeps weights as integers computes nothing there. Equal ones of several branches
    become one. TensorRT takes integers of a constant for the nodes of one graph alone.
    """

    name: ClassVar[str] = "hoist-weights"

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any node was moved."""
        changed = False
        for root in model.roots():
            changed |= self._from(root, ctx)
        return changed

    def _from(self, root: Graph, ctx: Context) -> bool:
        found: dict[Any, Node] = {}
        inner = [node for graph in root.graphs() if graph is not root for node in graph if _is_weight(node)]
        for node in inner:
            if not ctx.allow(self.name, "", node):
                continue
            key = (tuple(None if v is None else v.const for v in node.inputs), tuple(sorted(node.attrs.items())))
            created: list[Node] = []
            with ctx.rewrite(self.name, "", [node], created):
                first = found.setdefault(key, node)
                if first is node:
                    root.move(node, root.first)
                    created.append(node)
                else:
                    node.output.replace_with(first.output)
                    assert node.graph is not None
                    node.graph.erase(node)
        return bool(found)


def _is_weight(node: Node) -> bool:
    return node.op.key == "DequantizeLinear" and all(v is None or v.const is not None for v in node.inputs)
