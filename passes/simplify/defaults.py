"""defaults: operands that say what is meant without them are left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...ir.core import Model, Node, Value
from ...ir.ops import op
from ..base import Context, Pass

# Recurrent operators and the operands that hold initial states.
_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
# Operators that only rearrange or repeat what their first operand holds.
_REARRANGE = frozenset(
    {"Slice", "Reshape", "Transpose", "Expand", "Unsqueeze", "Squeeze", "Tile", "Identity", "Cast", "Gather", "Flatten"}
)
_MAX_CHAIN = 16
_MAX_READ = 1 << 16


@dataclass(frozen=True)
class Defaults(Pass):
    """Recurrent layers start from zeros: an initial state that is made of zeros is not an operand any more.

    Exporters build that state from the batch size in a dozen nodes.
    """

    name: ClassVar[str] = "defaults"

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any operand was left out."""
        changed = False
        for graph in model.graphs():
            for name, slots in _STATES.items():
                for node in graph.index.get(op(name), ()):
                    if self._states(node, slots) and ctx.allow(self.name, "zero-state", node):
                        with ctx.rewrite(self.name, "zero-state", [node]):
                            kept = [None if i in slots else v for i, v in enumerate(node.inputs)]
                            while kept[-1] is None:
                                kept.pop()
                            node.set_inputs(kept)
                        changed = True
        return changed

    def _states(self, node: Node, slots: tuple[int, ...]) -> bool:
        given = [node.inputs[i] for i in slots if i < len(node.inputs) and node.inputs[i] is not None]
        return bool(given) and all(is_zero(value) for value in given if value is not None)


def is_zero(value: Value) -> bool:
    """True if every element is known to be zero: a constant, a fill, or one of those rearranged."""
    for _ in range(_MAX_CHAIN):
        const = value.const
        if const is not None:
            if const.dtype.kind not in "fiu":
                return False
            if const.splat is not None:
                return not const.splat
            return const.length <= _MAX_READ and not const.array().any()
        node = value.producer
        if node is None or node.op.domain:
            return False
        if node.op.name == "ConstantOfShape":
            fill = node.attrs.get("value")
            return fill is None or not fill.array().any()
        if node.op.name not in _REARRANGE or node.inputs[0] is None:
            return False
        value = node.inputs[0]
    return False
