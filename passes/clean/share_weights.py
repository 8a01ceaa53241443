"""share-weights: equal constants, and copies of them in another shape or transposed, are stored once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...ir.core import Graph, Model, Node, Value
from ..base import Context, Pass
from .equal_constants import equal_groups
from .reshaped import share_reshaped
from .transposed import share_transposed


@dataclass(frozen=True)
class ShareWeights(Pass):
    """Constants of the same dtype, shape and bytes become one value, wherever in the model they are used.

    Spans of one file are compared by their place; other payloads are read only where two constants have the same
    dtype and shape, and read whole only if a sample of their bytes is equal. Bodies of functions share nothing
    with each other, as they cannot refer to each other's constants.

    Transposed copies: exporters write the tied embedding of a language model a second time, transposed, for the
    last MatMul. With `transposed` such pairs of matrices, of `min_saving` bytes or more, are found as well. The copy
    goes; a MatMul of rank 2 and a Gemm read the other matrix with transB, anything else reads a Transpose of
    it. Runtimes compute that once, when they load the model: the file is smaller, the speed the same. fold leaves
    that Transpose alone, as folding it would make the file grow again. With `reshaped` the same is done for constants
    of `min_saving` bytes or more with the same bytes in another shape, by a Reshape. Both say what they save.
    """

    name: ClassVar[str] = "share-weights"
    transposed: bool = True
    reshaped: bool = True
    min_saving: int = 1 << 20

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any constant was replaced."""
        changed = False
        for root in model.roots():
            kept = self._share_equal(root, ctx)
            changed = kept[1] or changed
            if self.reshaped:
                changed = share_reshaped(root, kept[0], self.min_saving, self.name, ctx) or changed
            if self.transposed:
                changed = share_transposed(root, kept[0], self.min_saving, self.name, ctx) or changed
        return changed

    def _share_equal(self, root: Graph, ctx: Context) -> tuple[list[Value], bool]:
        """Merge equal constants; those that are left, and whether any went."""
        buckets: dict[tuple[object, ...], list[Value]] = {}
        for value in constants(root):
            tensor = value.const
            assert tensor is not None
            buckets.setdefault((tensor.dtype, tensor.shape), []).append(value)
        left: list[Value] = []
        changed = False
        for bucket in buckets.values():
            for group in equal_groups(bucket):
                left.append(group[0])
                for double in group[1:]:
                    user = next(iter(double.uses))[0]
                    if not ctx.allow(self.name, "equal", user):
                        left.append(double)
                        continue
                    with ctx.rewrite(self.name, "equal", list(double.users) if ctx.watched else [user]):
                        double.replace_with(group[0])
                    changed = True
        return left, changed


def constants(root: Graph) -> dict[Value, None]:
    """The constants used in a graph and its regions, in order of first use."""
    found: dict[Value, None] = {}
    for graph in root.graphs():
        for node in graph:
            _add_constants(node, found)
        _add_constants(graph.ret, found)
    return found


def _add_constants(node: Node, found: dict[Value, None]) -> None:
    for value in node.inputs:
        if value is not None and value.const is not None:
            found[value] = None
