"""Natives of the rules for biases beside a residual connection."""

from __future__ import annotations

import numpy as np

from ...ir.core import Node, Value
from ...ir.rewrite import native
from ...ir.types import F32
from . import projections  # noqa: F401 (its natives)

_MOST_SHIFT = 4.0  # of the norm of a scale: what a product has to make up for costs two bits
_KEYS, _PAST = 1, 4  # operands of Attention


@native
def absorbs_shift(x: Value, total: Value) -> bool:
    """True if all that reads `x`, the sum `total` apart, are products with constant matrices to which a constant is added.

    Keys of attention need no constant: softmax does not see it.
    """
    return all(user is total.producer or (_is_product(user, index) and _takes_bias(user.output)) for user, index in x.uses)


def _is_product(node: Node, index: int) -> bool:
    matrix = node.input(1)
    return node.op.key == "MatMul" and index == 0 and matrix is not None and matrix.const is not None


def _takes_bias(product: Value) -> bool:
    use = product.sole_use
    if use is None:
        return False
    user, index = use
    if user.op.key == "Attention":
        return index == _KEYS and len(user.inputs) <= _PAST and product.rank == 3
    return user.op.key == "Add" and any(v is not None and v.const is not None for v in user.inputs)


@native
def is_small_beside(b: Value, g: Value) -> bool:
    """True for a shift of the results of a normalization with the scale `g` that costs no more than two bits of them."""
    if b.const is None or g.const is None or b.dtype is not F32 or g.dtype is not F32:
        return False
    shift, scale = (np.linalg.norm(const.array().astype(np.float64)) for const in (b.const, g.const))
    return bool(shift <= _MOST_SHIFT * scale)
