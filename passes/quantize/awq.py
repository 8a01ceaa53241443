"""AWQ: inputs that are large make their weights finer, by factors that the operator before takes back.

Lin, Tang, Tang, Yang, Chen, Wang, Xiao, Dang, Gan, Han: AWQ: Activation-aware Weight Quantization for LLM Compression
and Acceleration (arXiv 2306.00978). W diag(f) diag(f)^-1 x: the first is quantized, the second is part of the
normalization or of the product that gives x. Factors are powers of the inputs' sizes; which power is best is found by
trying.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...ir.core import Node, Value, constant
from ...ir.tensor import Array, Tensor
from ...ir.types import F32
from .blocks import Blocks

_POWERS = np.linspace(0.0, 1.0, 11)  # 0: all factors are 1


def factors(matrices: Sequence[Array], gram: Array, quantized: Callable[[Array], Blocks]) -> Array | None:
    """The factors f32 [inputs] of the smallest ||X (W - W')|| over all [outputs, inputs]; None where 1 is best.

    `gram` f64 [inputs, inputs] is X^T X.
    """
    sizes = np.sqrt(np.diag(gram))
    if not sizes.any():
        return None
    sizes = np.maximum(sizes, sizes[sizes > 0].min())
    best, found = np.inf, None
    for power in _POWERS:
        f = sizes**power
        f = (f / np.sqrt(f.max() * f.min())).astype(np.float32)
        loss = sum(_loss(matrix, quantized(matrix * f).dequantized() / f, gram) for matrix in matrices)
        if loss < best:
            best, found = loss, f if power else None
    return found


def _loss(matrix: Array, made: Array, gram: Array) -> float:
    error = (matrix - made).astype(np.float64)
    return float(np.sum((error @ gram) * error))


def foldable(value: Value, readers: int) -> bool:
    """True if factors of `value` can go into a normalization that makes it, and only `readers` operands read it."""
    node = value.producer
    if node is None or len(value.uses) != readers or node.op.key not in ("RMSNormalization", "LayerNormalization"):
        return False
    rank = value.rank
    if rank is None or node.attr("axis") not in (-1, rank - 1):
        return False
    return all(v is None or (v.const is not None and v.dtype is F32 and v.rank == 1) for v in node.inputs[1:3])


def fold(node: Node, f: Array) -> None:
    """Divide what a normalization gives by factors [inputs]: scale, and bias where it has one."""
    for index in (1, 2):
        operand = node.input(index)
        if operand is not None and operand.const is not None:
            numbers = (operand.const.array() / f).astype(np.float32)
            node.set_input(index, constant(Tensor.from_array(numbers, F32), operand.hint))
