"""Normalization, reduction, recurrence, losses and quantization."""

from __future__ import annotations

from collections.abc import Callable

from ..core import Node
from ..types import BY_ONNX, F32, U8, Shape, tensor_type
from .base import (
    Hole,
    Result,
    axes_in,
    axis_in,
    broadcast,
    broadcast_dim,
    dim_at,
    dtype_at,
    fail,
    ints_at,
    is_given,
    length_at,
    made,
    shape_at,
    show,
    tensor_at,
    unify_dim,
    unknown,
)
from .elementwise import dtype_of_code


def reduce(node: Node) -> Result:
    """Reduce*: axes by attribute or operand, all when there are none."""
    data = tensor_at(node, 0)
    if data is None or data.shape is None:
        return data if node.attr("keepdims") or data is None else tensor_type(data.dtype, None)
    rank = len(data.shape)
    keep = bool(node.attr("keepdims"))
    axes = ints_at(node, 1, "axes")
    if axes is None and is_given(node, 1):
        if keep:
            return unknown(data.dtype, rank)
        count = length_at(node, 1)
        return unknown(data.dtype, rank - count) if count else tensor_type(data.dtype, None)
    if not axes:
        if node.attr("noop_with_empty_axes"):
            return data
        return tensor_type(data.dtype, (1,) * rank if keep else ())
    gone = axes_in(node, axes, rank)
    if keep:
        dims = [1 if i in gone else d for i, d in enumerate(data.shape)]
    else:
        dims = [d for i, d in enumerate(data.shape) if i not in gone]
    return tensor_type(data.dtype, tuple(dims))


def layer_norm(node: Node) -> Result:
    """The normalized tensor, then mean and inverse deviation with the normalized axes kept as 1."""
    data = tensor_at(node, 0)
    if data is None or len(node.outputs) == 1:
        return data
    code = node.attr("stash_type")
    dtype = BY_ONNX.get(code, F32)
    shape: Shape | None = None
    if data.shape is not None:
        rank = len(data.shape)
        axis = axis_in(node, node.attr("axis"), rank)
        shape = data.shape[:axis] + (1,) * (rank - axis)
    statistics = tensor_type(dtype, shape)
    return data, statistics, statistics


def batch_norm(node: Node) -> Result:
    """Further outputs (running or saved statistics) are like the mean operand."""
    data = tensor_at(node, 0)
    if len(node.outputs) == 1:
        return data
    mean, variance = tensor_at(node, 3), tensor_at(node, 4)
    return data, mean, variance, mean, variance


def recurrent(node: Node) -> Result:
    """LSTM, GRU, RNN: Y [seq, directions, batch, hidden], Y_h and Y_c (axes swapped for layout 1)."""
    x, dtype = shape_at(node, 0), dtype_at(node, 0, 1)
    if dtype is None:
        return None
    hidden: Hole = node.attrs.get("hidden_size")
    if hidden is None:
        hidden = dim_at(shape_at(node, 2), 2)
    directions = 2 if node.attr("direction") == "bidirectional" else 1
    batch_first = bool(node.attr("layout"))
    sequence, batch = dim_at(x, 1 if batch_first else 0), dim_at(x, 0 if batch_first else 1)
    if batch is None:
        batch = dim_at(shape_at(node, 5), 0 if batch_first else 1)
    if batch_first:
        every = made(dtype, (batch, sequence, directions, hidden))
        last = made(dtype, (batch, directions, hidden))
    else:
        every = made(dtype, (sequence, directions, batch, hidden))
        last = made(dtype, (directions, batch, hidden))
    return every, last, last


def einsum(node: Node) -> Result:
    """Any equation of letters with ... for broadcast dimensions."""
    dtype = dtype_at(node, *range(len(node.inputs)))
    if dtype is None:
        return None
    equation = node.attrs.get("equation", "").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(node.inputs):
        raise fail(node, f"{equation!r} has {len(terms)} terms for {len(node.inputs)} operands")
    sizes: dict[str, Hole] = {}
    dots: list[Hole] = []
    for index, term in enumerate(terms):
        shape = shape_at(node, index)
        if shape is None:
            if "..." in term:
                return tensor_type(dtype, None)
            shape_holes: list[Hole] = [None] * len(term)
        else:
            shape_holes = list(shape)
        letters = _expand_dots(node, term, shape_holes, dots)
        for letter, dim in letters:
            if letter not in sizes:
                sizes[letter] = dim
                continue
            known = sizes[letter]
            both = broadcast_dim(known, dim)  # as in numpy, sizes under a label may be 1
            sizes[letter] = unify_dim(node, known, dim) if both is False else both
    if not arrow:
        counted = left.replace("...", "").replace(",", "")
        right = "..." + "".join(sorted(c for c in set(counted) if counted.count(c) == 1))
    head, _, tail = right.partition("...")
    if "..." not in right:
        return made(dtype, [sizes.get(c) for c in right])
    return made(dtype, [*(sizes.get(c) for c in head), *dots, *(sizes.get(c) for c in tail)])


def _expand_dots(
    node: Node, term: str, shape: list[Hole], dots: list[Hole]
) -> list[tuple[str, Hole]]:
    """Pair the letters of one term with dimensions; `dots` collects what ... stands for."""
    head, marked, tail = term.partition("...")
    if not marked:
        if len(term) != len(shape):
            raise fail(node, f"term {term!r} for {show(shape)}")
        return list(zip(term, shape))
    end = len(shape) - len(tail)
    if end < len(head):
        raise fail(node, f"term {term!r} for {show(shape)}")
    dots[:] = broadcast(node, dots, shape[len(head) : end])
    return [*zip(head, shape[: len(head)]), *zip(tail, shape[end:])]


def quantize(node: Node) -> Result:
    """The dtype of the zero point, else output_dtype, else u8."""
    dtype = dtype_at(node, 2)
    if dtype is None:
        code = node.attr("output_dtype")
        dtype = dtype_of_code(node, code) if code else U8
    return tensor_type(dtype, shape_at(node, 0))


def dequantize(node: Node) -> Result:
    """The dtype of the scale (output_dtype where set)."""
    code = node.attr("output_dtype")
    dtype = dtype_of_code(node, code) if code else dtype_at(node, 1)
    if dtype is None or (node.op.revision < 19 and node.op.until is not None):
        dtype = dtype or F32
    return tensor_type(dtype, shape_at(node, 0))


def dynamic_quantize(node: Node) -> Result:
    """u8, with a scale and a zero point for the whole tensor."""
    scalar = tensor_type(F32, ())
    return tensor_type(U8, shape_at(node, 0)), scalar, tensor_type(U8, ())


def likelihood_loss(node: Node) -> Result:
    """NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss (log probabilities second)."""
    data = tensor_at(node, 0)
    if data is None:
        return None
    labels = shape_at(node, 1)
    shape = labels if node.attr("reduction") == "none" else ()
    return tensor_type(data.dtype, shape), data


def det(node: Node) -> Result:
    data = tensor_at(node, 0)
    if data is None or data.shape is None:
        return data
    return tensor_type(data.dtype, data.shape[:-2])


_REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip

TABLE: dict[str, Callable[[Node], Result]] = {
    **dict.fromkeys(_REDUCTIONS, reduce),
    "LayerNormalization": layer_norm,
    "SimplifiedLayerNormalization": layer_norm,
    "BatchNormalization": batch_norm,
    "LSTM": recurrent,
    "GRU": recurrent,
    "RNN": recurrent,
    "Einsum": einsum,
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
    "DynamicQuantizeLinear": dynamic_quantize,
    "NegativeLogLikelihoodLoss": likelihood_loss,
    "SoftmaxCrossEntropyLoss": likelihood_loss,
    "Det": det,
}
