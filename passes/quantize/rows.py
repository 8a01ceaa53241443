"""nbits-rows: what MatMulNBits multiplies packed weights with is taken to 8 bits, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...ir.core import Model
from ...ir.ops import op
from ..base import Context, Pass

_INT8 = 4  # the accuracy level of com.microsoft::MatMulNBits that says so


@dataclass(frozen=True)
class NBitsRows(Pass):
    """MatMulNBits takes its rows to 8 bits, with a scale for each block of the weights, and multiplies integers.

    Weights of 4 bits are multiplied 1.6 times as fast for a single token, and as fast for long prompts; those of 2 and
    8 bits have no kernel in onnxruntime 1.31 that is as fast as a product of floats but this (docs/forms.md, Weights in
    blocks). With `wide` only these are changed, and what 4 bits multiply stays in floats.
    """

    name: ClassVar[str] = "nbits-rows"
    lossy: ClassVar[bool] = True
    settles: ClassVar[bool] = True
    wide: bool = False

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any operator was changed."""
        changed = False
        for graph in model.graphs():
            for node in list(graph.index.get(op("com.microsoft::MatMulNBits"), ())):
                if node.attrs.get("accuracy_level") == _INT8 or (self.wide and node.attr("bits") == 4):
                    continue
                if ctx.allow(self.name, "", node):
                    with ctx.rewrite(self.name, "", [node]):
                        node.attrs["accuracy_level"] = _INT8
                    changed = True
        return changed
