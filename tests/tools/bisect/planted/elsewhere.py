"""Wrong on purpose: a pass of its own, which forgets that a value may have other uses.

    geoc bisect MODEL --plugin elsewhere.py --passes 'conv-bias,@O2'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from geoc.ir.builder import Builder
from geoc.ir.core import Model, Node
from geoc.ir.ops import op
from geoc.passes.base import Context, Pass


@dataclass(frozen=True)
class ConvBias(Pass):
    """Conv + constant: the constant goes into the bias of the convolution, whoever else reads that."""

    name: ClassVar[str] = "conv-bias"

    def run(self, model: Model, ctx: Context) -> bool:
        """True if anything changed."""
        changed = False
        for graph in model.graphs():
            for add in list(graph.index.get(op("Add"), ())):
                conv, number = _parts(add)
                if conv is None or not ctx.allow(self.name, "", add):
                    continue
                build = Builder(graph, conv, conv.loc + add.loc)
                with ctx.rewrite(self.name, "", [conv, add], build.created):
                    width = conv.inputs[1].const.shape[0]
                    bias = conv.inputs[2].const.array() if len(conv.inputs) > 2 else np.zeros(width, np.float32)
                    operands = [*conv.inputs[:2], build.const(bias + number)]
                    sum_ = build.node("Conv", operands, dict(conv.attrs)).output
                    add.output.replace_with(sum_)
                    graph.erase(add)
                    conv.output.replace_with(sum_)  # the fault: others wanted it without the constant
                    graph.erase(conv)
                changed = True
        return changed


def _parts(add: Node) -> tuple[Node | None, np.ndarray | None]:
    """The convolution with constant weights and the one number that an Add adds to it."""
    conv, other = add.inputs[0].producer, add.inputs[1]
    if conv is None or conv.op is not op("Conv") or other.const is None or other.const.size != 1:
        return None, None
    if any(value.const is None for value in conv.inputs[1:]) or conv.graph is not add.graph:
        return None, None
    return conv, other.const.array().reshape(())
