"""How many elements of a row share a scale where products with compressed weights quantize their rows as they run.

OpenVINO's CPU plugin does that on processors with VNNI, by default for every 32 elements. Larger groups are faster (a
MiniLM of 8-bit weights 2.5 times as fast as in floats, instead of 2.2) and less exact; groups larger than the blocks of
the weights are not taken, and the product is computed in floats.
"""

from __future__ import annotations

from math import gcd

from ...ir.core import Model, Node
from ...ir.types import I4, I8, U4, U8

DEFAULT, MOST = 32, 128
_CODES = (I4, U4, I8, U8)


def row_group(model: Model) -> int | None:
    """The group for all products of a model, a power of two; None for the plugin's own choice."""
    blocks = [block for node in model.walk() if (block := _block(node)) is not None]
    group = gcd(MOST, *blocks)
    return group if blocks and group > DEFAULT else None


def _block(node: Node) -> int | None:
    """The weights of a product that share a scale, as they follow each other in a sum; None for other nodes."""
    if node.op.key == "com.microsoft::MatMulNBits":
        size: int = node.attr("block_size")
        return size
    x, w = node.input(0), node.input(1)
    if node.op.key not in ("MatMul", "Gemm") or x is None or w is None or w.producer is None:
        return None
    maker = w.producer
    if maker.op.key == "Transpose" and maker.inputs[0] is not None:
        maker = maker.inputs[0].producer or maker
    codes = maker.input(0)
    if maker.op.key != "DequantizeLinear" or codes is None or codes.const is None or codes.dtype not in _CODES:
        return None
    if x.producer is not None and x.producer.op.key == "DequantizeLinear":
        return None  # an integer product, with a scale of its own for the rows
    size = maker.attr("block_size")
    if size:
        return int(size)
    assert w.shape is not None  # it stands for a constant
    inner = w.shape[-1 if node.op.key == "Gemm" and node.attr("transB") else -2]
    return inner if isinstance(inner, int) else None
