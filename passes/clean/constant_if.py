"""constant-if: an If whose condition is known is replaced by its branch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...ir.core import Model, Node
from ...ir.infer import infer_graph
from ..base import Context, Pass
from .regions import inline


@dataclass(frozen=True)
class ConstantIf(Pass):
    """An If whose condition is known is replaced by its branch.

    The nodes of the branch move to where the If was; what it returns takes the place of the If's outputs. The
    other branch disappears. Inner Ifs are replaced before the ones around them.
    """

    name: ClassVar[str] = "constant-if"

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any If was replaced."""
        changed = False
        for graph in reversed(model.graphs()):  # inner ones first
            for node in graph:
                branch = _branch(node)
                if branch is None or not ctx.allow(self.name, "", node):
                    continue
                created: list[Node] = []
                with ctx.rewrite(self.name, "", [node], created):
                    created.extend(node.regions[branch])
                    inline(node, branch)
                changed = True
        if changed:  # the types of a branch or body were those of any condition or trip
            for root in model.roots():
                infer_graph(root)
        return changed


def _branch(node: Node) -> str | None:
    """The name of the branch that an If always takes."""
    if node.op.key != "If" or not node.inputs:
        return None
    condition = node.inputs[0]
    if condition is None or condition.const is None or condition.const.size != 1:
        return None
    return "then_branch" if condition.const.item() else "else_branch"
