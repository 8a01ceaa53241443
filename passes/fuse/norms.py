"""Natives of norms.rules: which axes are normalized, and scales and biases as constants.

A scale or bias is a vector over the normalized axes, or over the channels. Constants are combined in double precision
and rounded once.
"""

from __future__ import annotations

import numpy as np

from ...ir.core import Value, constant
from ...ir.dims import DimLike, exact_div, product
from ...ir.rewrite import native
from ...ir.rewrite.functions import ABSENT, Outcome
from ...ir.tensor import Tensor
from ...ir.types import BF16, F16, F32
from ..simplify.affine import product_of, shifted_bias, times
from ..simplify.arrangement import all_equal

# Half a unit in the last place of 16-bit types: more would take n - 1 for n.
_TOLERANCE = {"f16": 2.0**-11, "bf16": 2.0**-8, "f32": 1e-6, "f64": 1e-12}


@native
def normalizable(x: Value) -> bool:
    """True for types whose statistics the operators compute in float32 without loss."""
    return x.dtype in (F32, F16, BF16)


@native
def half(x: Value) -> bool:
    """True for floating-point types of 16 bits."""
    return x.dtype in (F16, BF16)


def _reduced(x: Value, axes: Value | None) -> list[int] | None:
    """The axes that a reduction works on, from the front and in order; all where none are given."""
    rank = x.rank
    if rank is None or (axes is not None and axes.const is None):
        return None
    given = axes.const.ints() if axes is not None and axes.const is not None else ()
    return sorted(a % rank for a in given) if given and rank else list(range(rank))


@native
def first_of_last(x: Value, axes: Value | None) -> int | None:
    """The first of the axes that a reduction of x works on; None if they are not x's last ones."""
    found = _reduced(x, axes)
    if not found or x.rank is None or found != list(range(found[0], x.rank)):
        return None
    return found[0]


@native
def from_front(x: Value, axis: int) -> int | None:
    """An axis of x counted from the front."""
    return axis % x.rank if x.rank else None


@native
def keeps_axes(y: Value, x: Value, axes: Value | None) -> bool:
    """True if y has the shape that a reduction of x has when it keeps its axes."""
    found, shape = _reduced(x, axes), x.shape
    if found is None or shape is None or y.shape is None:
        return False
    return y.shape == tuple(1 if i in found else d for i, d in enumerate(shape))


@native
def averages(x: Value, axes: Value | None, factor: float | None) -> bool:
    """True if a sum over these axes of x times the factor is a mean, and where there is no factor."""
    if factor is None:
        return True
    found, shape = _reduced(x, axes), x.shape
    if found is None or shape is None:
        return False
    count = product([shape[i] for i in found])
    return isinstance(count, int) and abs(factor * count - 1) <= _TOLERANCE.get(x.dtype.name, 0)


@native
def epsilon(e: float | None) -> float:
    """The epsilon that was added, or 0."""
    return 0.0 if e is None else e


def _static(dims: tuple[DimLike, ...]) -> tuple[int, ...] | None:
    """Dimensions if all of them are known."""
    known = tuple(d for d in dims if isinstance(d, int))
    return known if len(known) == len(dims) else None


@native
def ones(x: Value, axis: int) -> Tensor | None:
    """The scale that changes nothing, for a normalization from `axis` of x on: of their shape, or of one element."""
    if x.shape is None or x.dtype is None:
        return None
    return Tensor.of_splat(1, _static(x.shape[axis:]) or (1,), x.dtype)


@native
def channels(x: Value, number: float) -> Tensor | None:
    """One number for each channel of x."""
    count = x.shape[1] if x.shape is not None and len(x.shape) > 1 else None
    return Tensor.of_splat(number, (count,), x.dtype) if isinstance(count, int) else None


@native
def zeros_like(c: Tensor) -> Tensor:
    """As many zeros."""
    return Tensor.of_splat(0, c.shape, c.dtype)


@native
def groups(x: Value, r: Value, axis: int) -> int | None:
    """How many groups of channels G a view r of x [N, C, ...] has, if its first `axis` axes are N * G and G divides C.

    None where they are not, and where no channels come together: G must be smaller than C.
    """
    if x.shape is None or r.shape is None or len(x.shape) < 3:
        return None
    channels = x.shape[1]
    found = exact_div(product(r.shape[: axis % len(r.shape)]), x.shape[0])
    if not isinstance(channels, int) or not isinstance(found, int) or not 0 < found < channels:
        return None
    return found if channels % found == 0 else None


@native
def over_channels(x: Value, axes: Value) -> bool:
    """True for a reduction of [N, C, ...] over C."""
    return _reduced(x, axes) == [1]


@native
def channels_last(x: Value) -> tuple[int, ...]:
    """The permutation that moves axis 1 of x to the end."""
    assert x.rank is not None
    return (0, *range(2, x.rank), 1)


@native
def channels_first(x: Value) -> tuple[int, ...]:
    """The permutation that moves the last axis to place 1, for the rank of x."""
    assert x.rank is not None
    return (0, x.rank - 1, *range(1, x.rank - 1))


@native
def place_of(x: Value, axis: int, perm: tuple[int, ...] | None) -> int | None:
    """Where a permutation puts x's last axis, if that is the only one which is normalized."""
    rank = x.rank
    if not rank or perm is None or axis % rank != rank - 1:
        return None
    return perm.index(rank - 1)


@native
def per_group(c: Value, x: Value) -> Tensor | None:
    """A vector over groups of channels as one over the channels of x."""
    const, count = c.const, x.shape[1] if x.shape is not None else None
    if const is None or not isinstance(count, int):
        return None
    if const.splat is not None:
        return Tensor.of_splat(const.splat, (count,), const.dtype)
    return Tensor.from_array(np.repeat(const.array(), count // const.size), const.dtype)


def _along(c: Value, n: Value, axis: int) -> Value | None:
    """A constant that multiplies or shifts n, over the axes of n from `axis` on; None where it varies along others."""
    const, shape = c.const, n.shape
    if const is None or shape is None or const.dtype is not n.dtype:
        return None
    kept = len(shape) - axis % len(shape)
    if any(d != 1 for d in const.shape[:-kept]):
        return None
    own = const.shape[-kept:]
    whole = _static(shape[-kept:]) or own or (1,)
    if const.shape == whole:
        return c
    if const.size == 1:
        return constant(Tensor.of_splat(const.array().reshape(-1)[0], whole, const.dtype))
    return constant(Tensor.from_array(np.broadcast_to(const.array().reshape(own), whole), const.dtype))


@native
def scale_along(w: Value | None, x: Value, axis: int) -> Tensor | Value | None:
    """The scale of a normalization of x whose result is multiplied by w; None where w varies along other axes too."""
    return ones(x, axis) if w is None else _along(w, x, axis)


@native
def bias_along(b: Value | None, x: Value, axis: int) -> Value | Outcome | None:
    """The bias of a normalization of x to whose result b is added; None where b varies along other axes too."""
    return ABSENT if b is None else _along(b, x, axis)


@native
def scale_times(s: Value, w: Value, n: Value, axis: int) -> Tensor | Value | None:
    """The scale of a normalization whose result n is multiplied by w; None where w varies along other axes too."""
    factor = _along(w, n, axis)
    return factor if factor is None or all_equal(s, 1) else product_of(s, factor)


@native
def bias_times(b: Value | None, w: Value, n: Value, axis: int) -> Tensor | Outcome | None:
    """The bias of a LayerNormalization whose result n is multiplied by w."""
    if b is None:
        return ABSENT
    factor = _along(w, n, axis)
    return None if factor is None else times(b, factor)


@native
def bias_plus(b: Value | None, c: Value, n: Value, axis: int) -> Tensor | Value | None:
    """The bias of a LayerNormalization to whose result n c is added."""
    shift = _along(c, n, axis)
    return shift if b is None or shift is None else shifted_bias(b, shift)
