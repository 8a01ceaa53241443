"""Natives of the rules for attention."""

from __future__ import annotations

import math
from typing import Any

from ...ir.core import Value
from ...ir.dims import Dim, DimLike
from ...ir.rewrite import ABSENT, native
from ...ir.tensor import Tensor
from ...ir.types import BF16, F16, F32

# Scores are above the first of these numbers; added to the second, which half precision lacks, they leave it as it is.
_MASKED = -1e4
_ABSORBING = -1e30
_SMALLEST = 2.0**-126  # that a scale, which is f32, holds with all its digits
_LARGEST = 1e6  # so that scores of any model stay small beside what absorbs them


@native
def attention_scale(
    op: str | None, c: float | None, cap: float | None, pop: str | None = None, pc: float | None = None
) -> float | None:
    """The factor of q k^T from one before the softcap and one after the mask; None where it is not above 0,
    or so large that scores may be larger than what masks fill in.

    softcap * tanh(x / softcap) is written as softcap * tanh(f * x): the scale is f * softcap. Operators take a softcap
    that is not above 0 for none.
    """
    if cap is not None and not cap > 0.0:
        return None
    return _positive(_factor(op, c) * _factor(pop, pc) * (1.0 if cap is None else float(cap)))


def _positive(scale: float) -> float | None:
    return scale if _SMALLEST <= scale <= _LARGEST else None


def _factor(op: str | None, c: float | None) -> float:
    if op is None or c is None:
        return 1.0
    return float(c) if op == "Mul" else 1.0 / c if c else math.inf


@native
def covers(lead: tuple[DimLike, ...], *masks: Value | None) -> bool:
    """True if all dimensions of masks but the last are 1 or those of the scores, `lead` being theirs."""
    for mask in masks:
        if mask is None:
            continue
        shape = mask.shape
        if shape is None or len(shape) > len(lead) + 1:
            return False
        if not all(_same(d, 1) or _fits(d, wanted) for d, wanted in zip(reversed(shape[:-1]), reversed(lead))):
            return False
    return True


def _same(a: DimLike, b: DimLike) -> bool:
    return a is b or (isinstance(a, int) and a == b)


def _fits(d: DimLike, wanted: DimLike) -> bool:
    """True if a mask's dimension is `wanted` wherever the scores can be broadcast with it, and makes them no larger.

    min(64, S) is the length of a slice of a stored table: for S above 64 the model did not run.
    """
    if _same(d, wanted):
        return True
    atom = d.atom if isinstance(d, Dim) else None
    if atom is None or atom.name != "min":
        return False
    return any(arg is wanted for arg in atom.args) and any(isinstance(arg, int) and arg > 1 for arg in atom.args)


@native
def short(keys: DimLike, *masks: Value | None) -> Any:
    """[1, 1, 1] if no mask is proven to have a column for each key, absent if one is or there is none.

    A written-out sum repeats a single column, Attention would take the other keys for masked.
    """
    given = [m.shape for m in masks if m is not None]
    if not given or any(shape and _fits(shape[-1], keys) for shape in given):
        return ABSENT
    return (1, 1, 1)


@native
def masking(q: Value, fill: float | None, *added: Value | None) -> Any:
    """What to add to a score in place of putting `fill` there; absent if there is none, or a bool mask says the same.

    In a row without any other key all fills are equal, so they must stay equal when scores are added: a number that is
    so low that adding does nothing is kept, another one is replaced. Where a second mask is added, it must be kept.
    None where no such number exists (half precision) or the fill is not low enough to be a mask.
    """
    if fill is None:
        return ABSENT
    dtype = q.dtype
    assert dtype is not None
    mixed = any(mask is not None for mask in added)
    if fill == -math.inf:
        return Tensor.of(fill, dtype) if mixed else ABSENT
    if dtype not in (F32, BF16) or math.isnan(fill) or fill > (_ABSORBING if mixed else _MASKED):
        return None
    return Tensor.of(min(fill, _ABSORBING), dtype)


@native
def computes_in(q: Value, wide: int | None, narrow: int | None) -> bool:
    """True if q has a type of Attention's, and the softmax has it as well or casts from it to float32 and back."""
    if q.dtype not in (F32, F16, BF16):
        return False
    return (wide is None and narrow is None) or (wide == F32.onnx and narrow == q.dtype.onnx)


@native
def heads_of(
    both: DimLike, lead: tuple[DimLike, ...], out: tuple[DimLike, ...], q: Value, kt: Value, v: Value
) -> int | None:
    """How many heads are in the first axis `both` of a product's operands, together with the batch.

    Known from where the axis is split (`lead` and `out`: leading dimensions of scores and probabilities) or from
    where it was merged; 1 if nothing says.
    """
    if any(len(axes) > 2 or (len(axes) == 2 and not _same(axes[0] * axes[1], both)) for axes in (lead, out)):
        return None
    split = [axes for axes in (lead, out) if len(axes) == 2]
    if not split:
        split = [axes for axes in map(_merged, (q, kt, v)) if axes and _same(axes[0] * axes[1], both)]
    if not split:
        return 1
    heads = {axes[1] for axes in split if isinstance(axes[1], int)}
    return int(heads.pop()) if len(heads) == 1 else None


def _merged(value: Value) -> tuple[DimLike, DimLike] | None:
    """Batch and heads, where a Reshape made one axis of them, perhaps before the others were transposed."""
    node = value.producer
    if node is not None and node.op.name == "Transpose" and node.attr("perm") == (0, 2, 1):
        assert node.inputs[0] is not None
        node = node.inputs[0].producer
    if node is None or node.op.name != "Reshape" or node.inputs[0] is None:
        return None
    before, after = node.inputs[0].shape, node.output.shape
    if before is None or after is None or len(before) != 4 or before[2:] != after[1:]:
        return None
    return before[0], before[1]


@native
def split_axis(axes: tuple[DimLike, ...], heads: int) -> Any:
    """How the target of a Reshape begins that splits the first axis; absent if `axes` are batch and heads already."""
    return (-1, heads) if len(axes) == 1 else ABSENT


@native
def merged_axis(axes: tuple[DimLike, ...]) -> Any:
    """How the target of a Reshape begins that makes one axis of batch and heads; absent if `axes` are two."""
    return (-1,) if len(axes) == 1 else ABSENT


@native
def split_mask(lead: tuple[DimLike, ...], heads: int, *masks: Value | None) -> Any:
    """`split_axis` for the sum of masks; absent if it has one row of axes for all batches and heads, or none."""
    shapes = [m.shape for m in masks if m is not None and m.shape is not None]
    if len(lead) == 1 and any(len(shape) == 3 and not _same(shape[0], 1) for shape in shapes):
        return (-1, heads)
    return ABSENT


@native
def split_bias(bias: Value | None, both: DimLike, heads: int) -> Any:
    """`split_axis` for a bias of scores whose batch and heads are one axis, `both`; None if it lacks that axis."""
    if bias is None:
        return ABSENT
    shape = bias.shape
    return (-1, heads) if shape is not None and len(shape) == 3 and _same(shape[0], both) else None


@native
def count_of(heads: DimLike) -> int | None:
    """The number of heads; None where it is not known."""
    return heads if isinstance(heads, int) else None


@native
def rows_before_heads(*masks: Value | None) -> Any:
    """How masks [batch, queries, heads, keys] are transposed for Attention; absent without any, None for others."""
    given = [m for m in masks if m is not None]
    if any(m.shape is None or len(m.shape) != 4 for m in given):
        return None
    return (0, 2, 1, 3) if given else ABSENT


@native
def used_once(product: Value) -> bool:
    """True if but one user wants the elements of a value; others may ask for its shape."""
    users = [node for node, _ in product.uses if node.op.key != "Shape"]
    return len(users) == 1 and not any(node.graph is not None and node.graph.ret is node for node in users)


@native
def not_empty(scores: Value) -> bool:
    """False if there is no batch, query or key: Attention of no keys is undefined, and runtimes refuse the others."""
    return scores.shape is not None and not any(_same(d, 0) for d in scores.shape)


@native
def rescaled(y: Value, op: str, c: float) -> float | None:
    """The scale of the Attention that made y, times or divided by c; None where that is not above 0."""
    node = y.producer
    assert node is not None and node.inputs[0] is not None
    scale = node.attr("scale")
    if scale is None:
        shape = node.inputs[0].shape
        size = shape[-1] if shape is not None and len(shape) == 4 else None
        if not isinstance(size, int) or size == 0:
            return None
        scale = 1.0 / math.sqrt(size)
    return _positive(float(scale) * _factor(op, c))


@native
def repeated_heads(apart: Value | None, joined: Value | None) -> DimLike | None:
    """The number of heads of whichever is given: they are axis 1 of both."""
    value = apart if apart is not None else joined
    return value.shape[1] if value is not None and value.shape is not None and len(value.shape) > 1 else None


@native
def repeats(index: Value, count: DimLike) -> bool:
    """True if an index takes each of `count` entries several times in a row, all equally often."""
    const = index.const
    if const is None or not isinstance(count, int) or const.length > 4096 or len(const.shape) != 1:
        return False
    taken = const.ints()
    each = len(taken) // count if count else 0
    return each > 0 and list(taken) == [n for n in range(count) for _ in range(each)]
