"""Natives of affine.rules: constants that absorb a scale and a shift.

All arithmetic is done in double precision and rounded once; what overflows then is not folded. A result is a splat
where all operands are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir.core import Value
from ...ir.rewrite import native
from ...ir.rewrite.functions import ABSENT, Outcome
from ...ir.rewrite.instances import Pick, instance_for
from ...ir.tensor import Array, Tensor
from ...ir.types import F64, DType
from . import arrangement as arrangement  # its natives are used by affine.rules as well

# Folding reads and rewrites the whole weight: beyond this it would no longer be a small price.
_MAX_BYTES = 256 << 20
# A weight with several users is stored once more for each that changes.
_MAX_SHARED = 16 << 10
# Two shifts whose sum is this much smaller than one of them cancel each other.
_CANCELLED = 1 << 12


def _tensor(value: Value | None) -> Tensor | None:
    return None if value is None else value.const


def _element(tensor: Tensor) -> Array | None:
    """The one element (rank 0) that a tensor repeats, or None; only small ones are looked into."""
    if tensor.splat is not None:
        return tensor.splat
    if tensor.size == 0 or tensor.length > _MAX_SHARED:
        return None
    flat = tensor.array().reshape(-1)
    return flat[:1].reshape(()) if bool((flat == flat[0]).all()) else None


def _combine(
    function: Callable[..., Array], dtype: DType, *operands: tuple[Tensor, tuple[int, ...]]
) -> Tensor | None:
    """Apply a broadcasting function to tensors, each viewed in a shape, and round; None for what is not finite then."""
    elements = [_element(tensor) for tensor, _ in operands]
    if any(tensor.splat is not None for tensor, _ in operands) and all(e is not None for e in elements):
        shape = np.broadcast_shapes(*(view for _, view in operands))
        element = _rounded(function, dtype, *(e for e in elements if e is not None))
        return None if element is None else Tensor.of_splat(element, shape, dtype)
    result = _rounded(function, dtype, *(t.array().reshape(view) for t, view in operands))
    return None if result is None else Tensor.from_array(result, dtype)


def _rounded(function: Callable[..., Array], dtype: DType, *operands: Array) -> Array | None:
    with np.errstate(all="ignore"):
        result: Array = np.asarray(function(*(x.astype(np.float64) for x in operands))).astype(dtype.numpy)
        return result if bool(np.isfinite(result).all()) else None


def _same_elements(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The tensor in another shape of the same size."""
    if tensor.shape == shape:
        return tensor
    if tensor.splat is not None:
        return Tensor.of_splat(tensor.splat, shape, tensor.dtype)
    if tensor.file is not None:
        return Tensor(tensor.dtype, shape, file=tensor.file, offset=tensor.offset)
    return Tensor.from_array(tensor.array().reshape(shape), tensor.dtype)


def _foldable(weight: Value) -> bool:
    """A float weight that nobody else uses, or a small one: a second user keeps the old one in the file."""
    const = weight.const
    if const is None or not const.dtype.is_float or const.length > _MAX_BYTES:
        return False
    return len(weight.uses) == 1 or const.stored_bytes <= _MAX_SHARED


@native
def per_channel(c: Value, y: Value, axis: int) -> Tensor | None:
    """A constant that broadcasts against y as one number for each index of `axis`: as a vector of that length.

    None where it varies along another axis, or the axis has no known length.
    """
    const, shape = c.const, y.shape
    if const is None or shape is None or not const.dtype.is_float:
        return None
    if axis >= len(shape) or len(const.shape) > len(shape):
        return None
    length = shape[axis]
    if not isinstance(length, int):
        return None
    padded = (1,) * (len(shape) - len(const.shape)) + const.shape
    if any(d != 1 for i, d in enumerate(padded) if i != axis % len(shape)):
        return None
    if padded[axis] == length:
        return _same_elements(const, (length,))
    if padded[axis] != 1:
        return None
    if const.splat is not None or const.size == 1:
        return Tensor.of_splat(const.array().reshape(-1)[0], (length,), const.dtype)
    return None


def _channel_view(weight: Tensor, axis: int) -> tuple[int, ...]:
    return tuple(d if i == axis else 1 for i, d in enumerate(weight.shape))


def _grows(old: Tensor, new: Tensor) -> bool:
    """True if a repeated element would become an array of another size in the file."""
    return old.splat is not None and new.splat is None and new.length > _MAX_SHARED


@native
def scaled(w: Value, s: Any, axis: int) -> Tensor | None:
    """w times a vector along one of its axes. None where w has other uses, or would take much more room."""
    scale = _as_tensor(s)
    if scale is None or w.const is None or not _foldable(w) or w.const.shape[axis] != scale.size:
        return None
    weight = w.const
    view = _channel_view(weight, axis % len(weight.shape))
    result = _combine(np.multiply, weight.dtype, (weight, weight.shape), (scale, view))
    return None if result is None or _grows(weight, result) else result


@native
def scaled_element(w: Value, s: Any) -> Tensor | None:
    """One number for each row of a splat that is too large to be spelled out: its element times a vector over the rows.

    As a tensor that broadcasts to w. None for any other weight.
    """
    scale = _as_tensor(s)
    if scale is None or w.const is None or w.const.splat is None or not _foldable(w):
        return None
    weight = w.const
    if weight.length <= _MAX_SHARED or weight.shape[0] != scale.size:
        return None
    element, view = Tensor.from_array(weight.splat, weight.dtype), _channel_view(weight, 0)
    return _combine(np.multiply, weight.dtype, (element, ()), (scale, view))


@instance_for("conv_batch_norm_repeated")
def repeated_weight(pick: Pick) -> str:
    """A weight of one number that is too large to be spelled out."""
    rows, element, size = pick(2, 3), pick(0.5, -0.25), pick(4, 6)
    bias, given = pick(("", ""), (f"weight %b: f32[{rows}] = {[0.5, -1.0, 2.0][:rows]}", ", %b"))
    return f"""
graph @main(%x: f32[{pick(1, 3)},1024,{size}]) -> (%y) {{
  weight %w: f32[{rows},1024,3] = splat({element})
  weight %scale: f32[{rows}] = {[0.5, -1.5, 2.0][:rows]}
  weight %shift: f32[{rows}] = {[0.25, 0.0, -3.0][:rows]}
  weight %mean: f32[{rows}] = {[1.0, -0.5, 0.125][:rows]}
  weight %var: f32[{rows}] = {[4.0, 1.0, 0.25][:rows]}
  {bias}
  %c = Conv(%x, %w{given})
  %y = BatchNormalization(%c, %scale, %shift, %mean, %var) {{epsilon = {pick(1e-5, 0.1)}}}
}}"""


@native
def scaled_transposed(w: Value, s: Any, groups: int) -> Tensor | None:
    """A ConvTranspose weight [C_in, C_out/groups, ...] times a vector over C_out."""
    scale = _as_tensor(s)
    if scale is None or w.const is None or not _foldable(w):
        return None
    weight = w.const
    inputs, outputs = weight.shape[:2]
    if scale.size != outputs * groups or inputs % groups:
        return None
    if weight.splat is not None and _element(scale) is not None:
        one = (1,) * len(weight.shape)
        factor = Tensor.of_splat(_element(scale), one, scale.dtype)
        return _combine(np.multiply, weight.dtype, (weight, weight.shape), (factor, one))
    rest = (1,) * (len(weight.shape) - 2)
    by_group = weight.array().reshape(groups, inputs // groups, *weight.shape[1:])
    by_output = scale.array().reshape(groups, 1, outputs, *rest)
    result = _rounded(np.multiply, weight.dtype, by_group, by_output)
    if result is None:
        return None
    made = Tensor.from_array(result.reshape(weight.shape), weight.dtype)
    return None if _grows(weight, made) else made


def _as_tensor(x: Any) -> Tensor | None:
    if isinstance(x, Value):
        return x.const
    return x if isinstance(x, Tensor) else None


@native
def times(a: Any, b: Any) -> Tensor | None:
    """Elementwise product of two vectors; None where the first is absent."""
    one, two = _as_tensor(a), _as_tensor(b)
    if one is None or two is None:
        return None
    return _combine(np.multiply, one.dtype, (one, one.shape), (two, two.shape))


@native
def scaled_bias(b: Value | None, s: Any) -> Tensor | None:
    """An optional bias times a vector; zeros for an absent one."""
    scale = _as_tensor(s)
    if scale is None:
        return None
    bias = _tensor(b)
    if bias is None:
        if b is not None:
            return None  # computed at run time
        return Tensor.of_splat(0, scale.shape, scale.dtype)
    return _combine(np.multiply, bias.dtype, (bias, bias.shape), (scale, scale.shape))


@native
def shifted_bias(b: Value | None, c: Any) -> Tensor | None:
    """An optional bias plus a vector."""
    shift = _as_tensor(c)
    bias = _tensor(b)
    if shift is None or (b is not None and bias is None):
        return None
    if bias is None:
        return shift
    return _combine(np.add, bias.dtype, (bias, bias.shape), (shift, shift.shape))


@native
def norm_scale(scale: Value, var: Value, epsilon: float) -> Tensor | None:
    """The factor that an inference BatchNormalization applies to each channel: scale / sqrt(var + epsilon)."""
    s, v = scale.const, var.const
    if s is None or v is None or s.shape != v.shape:
        return None
    return _combine(lambda a, b: a / np.sqrt(b + epsilon), F64, (s, s.shape), (v, v.shape))


@native
def norm_bias(
    b: Value | None, scale: Value, bias: Value, mean: Value, var: Value, epsilon: float
) -> Tensor | None:
    """What remains of a bias b under an inference BatchNormalization: (b - mean) * factor + bias."""
    s, beta, m, v, start = scale.const, bias.const, mean.const, var.const, _tensor(b)
    if s is None or beta is None or m is None or v is None or (b is not None and start is None):
        return None
    start = start or Tensor.of_splat(0, m.shape, m.dtype)
    if not s.shape == beta.shape == m.shape == v.shape == start.shape:
        return None
    shape = s.shape
    return _combine(
        lambda x, sc, be, me, va: (x - me) / np.sqrt(va + epsilon) * sc + be,
        beta.dtype, (start, shape), (s, shape), (beta, shape), (m, shape), (v, shape),
    )  # fmt: skip


@native
def times_or_none(b: Value | None, s: Any) -> Tensor | Outcome | None:
    """An optional constant bias times a vector; stays absent where it is."""
    return ABSENT if b is None else scaled_bias(b, s)


@native
def vector_or_absent(b: Value | None) -> bool:
    """True for a constant of rank 1, and for an operand that is left out."""
    return b is None or (b.const is not None and len(b.const.shape) == 1)


@native
def inference(y: Value) -> bool:
    """True for the result of a BatchNormalization that does not train."""
    node = y.producer
    return node is not None and not node.attr("training_mode") and len(node.outputs) == 1


@native
def negated(c: Any) -> Tensor | None:
    """-c."""
    x = _as_tensor(c)
    return None if x is None else _combine(np.negative, x.dtype, (x, x.shape))


@native
def reciprocal_of(c: Any) -> Tensor | None:
    """1/c in double precision; None where c holds a zero."""
    x = _as_tensor(c)
    return None if x is None else _combine(np.reciprocal, F64, (x, x.shape))


@native
def sum_of(a: Value, b: Value) -> Tensor | None:
    """a + b of two constants, where the sum is no larger than the larger of them.

    None where they nearly cancel: adding a large number and taking it away again rounds, and may be meant to.
    """
    result = _pairwise(np.add, a, b)
    if result is None or a.const is None:
        return None
    left = np.abs(result.array().astype(np.float64)) * _CANCELLED
    return result if bool((left >= np.abs(a.const.array().astype(np.float64))).all()) else None


@native
def product_of(a: Value, b: Value) -> Tensor | None:
    """a * b of two constants, where the product is no larger than the larger of them.

    None where it is too small for all digits of its type, which x * a * b has.
    """
    result = _pairwise(np.multiply, a, b)
    if result is None or a.const is None or b.const is None:
        return None
    small = np.abs(result.array().astype(np.float64)) < _smallest(result.dtype)
    zero = (a.const.array() == 0) | (b.const.array() == 0)
    return None if bool((small & ~zero).any()) else result


def _smallest(dtype: DType) -> float:
    """The smallest number that has all digits of a type."""
    return {"f16": 2.0**-14, "f64": 2.0**-1022}.get(dtype.name, 2.0**-126)


def _pairwise(function: Callable[..., Array], a: Value, b: Value) -> Tensor | None:
    x, y = a.const, b.const
    if x is None or y is None or not x.dtype.is_float or x.dtype is not y.dtype:
        return None
    try:
        shape = np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        return None
    if shape not in (x.shape, y.shape) or max(x.length, y.length) > 1 << 20:
        return None
    return _combine(function, x.dtype, (x, x.shape), (y, y.shape))
