"""nbits-rows: what MatMulNBits multiplies packed weights with is taken to 8 bits, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...ir.core import Model, Node, Value, constant
from ...ir.errors import UsageError
from ...ir.ops import op
from ...ir.tensor import Array, Tensor
from ...ir.types import U8
from ..base import Context, Pass

PACKED = op("com.microsoft::MatMulNBits")
INT8 = 4  # the accuracy level of com.microsoft::MatMulNBits that says so
WIDE = 8
CODES, _ZEROS = 1, 3  # operands
ROWS = ("few", "many")


@dataclass(frozen=True)
class NBitsRows(Pass):
    """MatMulNBits takes its rows to 8 bits, with a scale for each block of the weights, and multiplies integers.

    Weights of 4 bits are multiplied 1.4 times as fast for a single token, and as fast for long prompts; those of 2 and
    8 bits have no kernel in onnxruntime 1.31 that is as fast as a product of floats but this (docs/weights.md).

    `rows` says how many rows there mostly are: with many, from some 30 on, codes of 2 and 4 bits are stored as 8 bits.
    That is exact, and the kernel for 8 bits is a tenth faster there; for few it is slower, as it reads twice as much.
    """

    name: ClassVar[str] = "nbits-rows"
    lossy: ClassVar[bool] = True
    settles: ClassVar[bool] = True
    rows: str = "few"

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any operator was changed. Raises UsageError for a bad option."""
        if self.rows not in ROWS:
            raise UsageError(f"rows of {self.name} is one of {', '.join(ROWS)}; not {self.rows}", source="--passes")
        changed = False
        widened: dict[Value, Value] = {}  # codes that several products read stay shared
        for graph in model.graphs():
            for node in list(graph.index.get(PACKED, ())):
                narrow = self.rows == "many" and node.attr("bits") < WIDE and _is_constant(node)
                if (node.attrs.get("accuracy_level") == INT8 and not narrow) or not ctx.allow(self.name, "", node):
                    continue
                with ctx.rewrite(self.name, "", [node]):
                    node.attrs["accuracy_level"] = INT8
                    if narrow:
                        _widen(node, widened)
                changed = True
        return changed


def _is_constant(node: Node) -> bool:
    """True if codes and zeros are constants, and zeros are integers."""
    zeros, codes = node.input(_ZEROS), node.inputs[CODES]
    has_zeros = zeros is None or (zeros.const is not None and zeros.dtype is U8)
    return codes is not None and codes.const is not None and has_zeros


def _widen(node: Node, widened: dict[Value, Value]) -> None:
    """Store the codes of a product as 8 bits: their zero in the middle moves to that of 8 bits."""
    bits, count = node.attr("bits"), -(-node.attr("K") // node.attr("block_size"))
    for index, columns in ((CODES, None), (_ZEROS, count)):
        value = node.input(index)
        if value is None:
            continue
        if value not in widened:
            assert value.const is not None
            codes = _unpacked(value.const.array(), bits)[..., :columns] + np.uint8((1 << WIDE - 1) - (1 << bits - 1))
            widened[value] = constant(Tensor.from_array(np.ascontiguousarray(codes), U8), value.hint)
        node.set_input(index, widened[value])
    node.attrs["bits"] = WIDE


def _unpacked(array: Array, bits: int) -> Array:
    """The codes in bytes, from the low bits on, along the last axis."""
    lanes = [(array >> np.uint8(at)) & np.uint8((1 << bits) - 1) for at in range(0, WIDE, bits)]
    return np.stack(lanes, -1).reshape(*array.shape[:-1], -1)
