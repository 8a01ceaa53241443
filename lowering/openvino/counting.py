"""Operators that make tensors, count, order and reduce."""

from __future__ import annotations

from typing import Any

from ...ir.core import Node
from ...ir.tensor import Tensor
from ...ir.types import BY_ONNX, F32
from .movement import positive
from .table import TABLE, NoMapping, Translation, maps

_REDUCTIONS = {
    "ReduceL1": "reduce_l1", "ReduceL2": "reduce_l2", "ReduceMax": "reduce_max", "ReduceMean": "reduce_mean",
    "ReduceMin": "reduce_min", "ReduceProd": "reduce_prod", "ReduceSum": "reduce_sum",
    "ReduceLogSum": "reduce_sum", "ReduceLogSumExp": "reduce_sum", "ReduceSumSquare": "reduce_sum",
}  # fmt: skip


def _reduce(t: Translation, node: Node) -> Any:
    x, axes, name = t.arg(node, 0), t.option(node, 1), node.op.name
    none = axes is None or axes.get_partial_shape() == t.ov.PartialShape([0])
    if axes is not None and axes.get_partial_shape().is_dynamic:
        raise NoMapping("whether there are any axes is unknown")
    if none and node.attr("noop_with_empty_axes"):
        raise NoMapping("it reduces nothing")
    over = t.i64(list(range(t.rank(x)))) if none else axes
    keep = bool(node.attr("keepdims"))
    if name == "ReduceLogSumExp":
        # The largest is taken out first, so that the sum does not overflow.
        if not t.is_float(x):
            raise NoMapping("the element type is no float")
        largest = t.o.reduce_max(x, over, True)
        total = t.o.log(t.o.reduce_sum(t.o.exp(t.o.subtract(x, largest)), over, True))
        made = t.o.add(total, largest)
        return made if keep else t.o.squeeze(made, over)
    if x.get_element_type() == t.ov.Type.boolean:
        # The CPU plugin has no kernel for its ReduceLogicalOr and ReduceLogicalAnd where sizes are open.
        made = getattr(t.o, _REDUCTIONS[name])(t.o.convert(x, t.ov.Type.i32), over, keep)
        return t.o.convert(made, t.ov.Type.boolean)
    if name == "ReduceSumSquare":
        x = t.o.multiply(x, x)
    made = getattr(t.o, _REDUCTIONS[name])(x, over, keep)
    return t.o.log(made) if name == "ReduceLogSum" else made


TABLE.update(dict.fromkeys(_REDUCTIONS, _reduce))


@maps("ArgMax", "ArgMin")
def arg_max(t: Translation, node: Node) -> Any:
    x, axis = t.arg(node, 0), node.attr("axis")
    mode = "max" if node.op.name == "ArgMax" else "min"
    if node.attr("select_last_index"):
        raise NoMapping("it takes the last of several")
    found = t.o.topk(x, t.i64(1), axis, mode, "value", "i64", True).output(1)
    return found if node.attr("keepdims") else t.o.squeeze(found, t.i64([axis]))


@maps("TopK")
def top_k(t: Translation, node: Node) -> Any:
    x, axis = t.arg(node, 0), node.attr("axis")
    mode = "max" if node.attr("largest") else "min"
    k = t.scalar(t.arg(node, 1))
    return list(t.o.topk(x, k, axis, mode, "value", "i64", True).outputs())


@maps("CumSum")
def cum_sum(t: Translation, node: Node) -> Any:
    axis = t.arg(node, 1)
    axis = axis if t.rank(axis) == 0 else t.scalar(axis)
    return t.o.cum_sum(t.arg(node, 0), axis, bool(node.attr("exclusive")), bool(node.attr("reverse")))


@maps("NonZero")
def non_zero(t: Translation, node: Node) -> Any:
    return t.o.non_zero(t.arg(node, 0))


@maps("Range")
def range_(t: Translation, node: Node) -> Any:
    ends = [t.arg(node, i) for i in range(3)]
    type = ends[0].get_element_type()
    return t.o.range(*(e if t.rank(e) == 0 else t.reshape(e, []) for e in ends), type.get_type_name())


@maps("ConstantOfShape")
def constant_of_shape(t: Translation, node: Node) -> Any:
    value = node.attr("value")
    if value is None:
        fill = t.constant(Tensor.of(0, F32))
    else:
        fill = t.constant(Tensor.of(value.array().reshape(-1)[0], value.dtype))
    return t.o.broadcast(fill, t.arg(node, 0))


@maps("OneHot")
def one_hot(t: Translation, node: Node) -> Any:
    indices, depth, values = (t.arg(node, i) for i in range(3))
    indices, depth = (t.o.convert(x, t.ov.Type.i64) if t.is_float(x) else x for x in (indices, depth))
    depth = depth if t.rank(depth) == 0 else t.scalar(depth)
    # Negative indices count from the end in ONNX, and give only zeros in openvino.
    size = t.same_type(depth, indices)
    indices = t.o.select(t.o.less(indices, t.number(0, indices)), t.o.add(indices, size), indices)
    off, on = (t.scalar(part) for part in t.o.split(values, t.i64(0), 2).outputs())
    return t.o.one_hot(indices, depth, on, off, node.attr("axis"))


@maps("EyeLike")
def eye_like(t: Translation, node: Node) -> Any:
    x, to = t.arg(node, 0), node.attr("dtype")
    type = x.get_element_type() if to is None else t.type_of(BY_ONNX[to])
    rows, columns = (t.scalar(t.size_at(x, axis)) for axis in (0, 1))
    return t.o.eye(rows, columns, t.i64(node.attr("k") or 0), type.get_type_name())


@maps("Trilu")
def trilu(t: Translation, node: Node) -> Any:
    x, offset = t.arg(node, 0), t.option(node, 1)
    rank = t.rank(x)
    offset = t.i64(0) if offset is None else t.reshape(offset, [])
    rows, columns = (t.scalar(t.size_at(x, rank - axis)) for axis in (2, 1))
    down = t.unsqueeze(t.o.add(t.o.range(t.i64(0), rows, t.i64(1), "i64"), offset), [1])
    across = t.unsqueeze(t.o.range(t.i64(0), columns, t.i64(1), "i64"), [0])
    kept = (t.o.less_equal if node.attr("upper") else t.o.greater_equal)(down, across)
    return t.o.select(kept, x, t.number(0, x))


@maps("Unique")
def unique(t: Translation, node: Node) -> Any:
    axis, x = node.attr("axis"), t.arg(node, 0)
    made = t.o.unique(x, None if axis is None else t.i64(positive(axis, t.rank(x))), bool(node.attr("sorted")))
    return list(made.outputs())


@maps("Hardmax")
def hardmax(t: Translation, node: Node) -> Any:
    x = t.arg(node, 0)
    axis = positive(node.attr("axis"), t.rank(x))
    best = t.o.topk(x, t.i64(1), axis, "max", "value", "i64", True).output(1)
    size = t.scalar(t.size_at(x, axis))
    place = t.o.squeeze(best, t.i64([axis]))
    return t.o.one_hot(place, size, t.number(1, x), t.number(0, x), axis)
