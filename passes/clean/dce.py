"""dce: nodes, outputs and loop state that nobody uses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from ...ir.core import Model, Node
from ..base import Context, Pass
from .loop_state import dead_slots, drop_slots, is_loop
from .purity import impure_nodes
from .regions import remove_outputs, remove_results


@dataclass(frozen=True)
class Dce(Pass):
    """Nodes, outputs and loop state that nobody uses disappear.

    - A node without used outputs, unless it or something inside its regions is impure. Random nodes are pure.
    - Optional outputs that are not used (the mask of Dropout, the indices of MaxPool, the states of LSTM): they
      become absent, so that a runtime need not compute them.
    - Outputs of an If: they go from both branches.
    - Scan outputs of Loop and Scan, and loop-carried values that are not used afterwards and influence nothing else.

    Inputs and outputs of the model stay. One walk from the last node to the first; a region is cleaned before the
    nodes ahead of it, so that what only dead code captured is seen to be dead.
    """

    name: ClassVar[str] = "dce"

    def run(self, model: Model, ctx: Context) -> bool:
        """True if anything was removed."""
        impure = impure_nodes(model)
        changed = False
        for root in model.roots():
            stack: list[Iterator[Node]] = [root.reversed()]
            while stack:
                for node in stack[-1]:
                    if not node.in_use and node not in impure:
                        changed = self._erase(node, ctx) or changed
                        continue
                    changed = self._trim(node, ctx) or changed
                    if node.regions:
                        stack.extend(region.reversed() for region in node.regions.values())
                        break
                else:
                    stack.pop()
        return changed

    def _erase(self, node: Node, ctx: Context) -> bool:
        if not ctx.allow(self.name, "", node):
            return False
        assert node.graph is not None
        with ctx.rewrite(self.name, "", [node]):
            node.graph.erase(node)
        return True

    def _trim(self, node: Node, ctx: Context) -> bool:
        """Remove outputs of a live node that nobody uses."""
        if node.regions:
            if node.op.key == "If":
                slots = _dead_branch_outputs(node)
                rule = "if-outputs"
            elif is_loop(node):
                slots = dead_slots(node)
                rule = "loop-outputs"
            else:
                return False
            if not slots or not ctx.allow(self.name, rule, node):
                return False
            with ctx.rewrite(self.name, rule, [node]):
                if node.op.key == "If":
                    _drop_branch_outputs(node, slots)
                else:
                    drop_slots(node, slots)
            return True
        absent = _unused_optional(node)
        if not absent or not ctx.allow(self.name, "optional-outputs", node):
            return False
        with ctx.rewrite(self.name, "optional-outputs", [node]):
            for index in absent:
                node.outputs[index].hint = ""
            while len(node.outputs) > 1 and len(node.outputs) - 1 in absent:
                node.outputs = node.outputs[:-1]
        return True


def _unused_optional(node: Node) -> set[int]:
    """Indices of optional outputs that are unused, if removing them would change anything."""
    schema = node.op.schema
    # Contributed kernels often want all their outputs, and so does batch normalization in training.
    if schema is None or node.op.domain or len(node.outputs) < 2 or node.attr("training_mode"):
        return set()
    params = schema.outputs
    found = {
        index
        for index, value in enumerate(node.outputs)
        if not value.uses and params[min(index, len(params) - 1)].option == "optional"
    }
    news = any(node.outputs[index].hint for index in found)
    return found if news or len(node.outputs) - 1 in found else set()


def _dead_branch_outputs(node: Node) -> set[int]:
    found = {index for index, value in enumerate(node.outputs) if not value.uses}
    if len(found) == len(node.outputs):
        found.discard(0)  # an impure If keeps one output: it may not have none
    return found


def _drop_branch_outputs(node: Node, slots: set[int]) -> None:
    for branch in node.regions.values():
        remove_results(branch, slots)
    remove_outputs(node, slots)
