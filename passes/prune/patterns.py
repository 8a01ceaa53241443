"""N:M patterns: of every M numbers in a row along the axis that a layer sums over, at most N are not zero.

    pattern = Pattern.parse("2:4")
    pattern.violations(weights, axis=0)     # blocks that have more: 0 for what sparse kernels can multiply

Along which axis, and that blocks begin at multiples of M, is what TensorRT asks of weights for its sparse kernels (its
documentation, "Structured Sparsity"): of a convolution [K, C, R, S] every four channels c, for each k, r and s, with C
a multiple of 4; of a product [K, N] the same along K.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod

import numpy as np

from ...ir.core import Node
from ...ir.tensor import Array

MULTIPLIED = frozenset({"MatMul", "Gemm", "Conv"})
_PIECE = 1 << 16  # elements that are looked at together
_FORM = re.compile(r"(\d+):(\d+)")


@dataclass(frozen=True)
class Pattern:
    """At most `most` of every `block` numbers are not zero."""

    most: int
    block: int

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read "2:4". Raises ValueError for what is no pattern: 4:4 has no zeros, 0:4 nothing else."""
        found = _FORM.fullmatch(text)
        if found is None or not 0 < int(found[1]) < int(found[2]):
            raise ValueError(f"{text!r} is no pattern such as 2:4")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.most}:{self.block}"

    def violations(self, array: Array, axis: int) -> int:
        """How many blocks along an axis hold more numbers than they may; -1 where its size is no multiple of them."""
        if array.shape[axis] % self.block:
            return -1
        blocks = np.moveaxis(array, axis, -1).reshape(-1, self.block)
        return int(np.count_nonzero(np.count_nonzero(blocks, axis=1) > self.most))


def summed_axis(node: Node) -> int | None:
    """The axis of the constant second operand that a MatMul, Gemm or Conv sums over; None for any other node."""
    weight = node.input(1)
    if weight is None or weight.const is None or node.op.key not in MULTIPLIED:
        return None
    if node.op.key == "Conv":
        return 1
    rank = len(weight.const.shape)
    if node.op.key == "Gemm":
        return 1 if node.attr("transB") else 0
    return rank - 2 if rank >= 2 else None


def follows(node: Node, pattern: Pattern) -> bool:
    """True for a layer whose weights sparse kernels can multiply: they have a pattern, and are not few or all zero."""
    axis = summed_axis(node)
    weight = node.input(1)
    if axis is None or weight is None or weight.const is None or weight.const.splat is not None:
        return False
    shape = weight.const.shape
    if shape[axis] < pattern.block or shape[axis] % pattern.block or not weight.const.dtype.is_float:
        return False
    # Piece by piece, each of whole blocks: most weights show in the first one that they have no pattern.
    row = prod(shape[max(axis, 1) :]) * (pattern.block if axis == 0 else 1)
    for piece in weight.const.pieces(max(1, _PIECE // row) * row):
        blocks = piece.reshape(-1, *shape[1:]) if axis == 0 else piece.reshape(-1, *shape[axis:])
        if pattern.violations(blocks, 0 if axis == 0 else 1):
            return False
    return True
