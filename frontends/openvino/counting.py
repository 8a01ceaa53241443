"""Layers that reduce, order, count, and make tensors."""

from __future__ import annotations

from ...ir.tensor import Tensor
from ...ir.types import BF16, F16, F32, I64
from .table import TABLE, Made, Reading, reads, refused
from .xml import Layer

_REDUCTIONS = {
    "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
}  # fmt: skip


def _reduce(r: Reading, layer: Layer) -> Made:
    x, axes = r.arg(layer, 0), r.vector(r.arg(layer, 1))
    if axes.const is not None and not axes.const.size:
        return x
    return r.b.op(
        layer.type, x, axes, keepdims=int(layer.flag("keep_dims")), noop_with_empty_axes=int(axes.const is None)
    )


TABLE.update(dict.fromkeys(_REDUCTIONS, _reduce))


@reads("TopK")
def top_k(r: Reading, layer: Layer) -> Made:
    x = r.arg(layer, 0)
    if layer.text("sort", "value").lower() == "index":
        raise refused(layer, "it orders by index")
    largest = int(layer.choice("mode", {"max": "1", "min": "0"}))
    attrs = {"axis": layer.int("axis"), "largest": largest}
    values, places = r.b.node("TopK", [x, r.vector(r.arg(layer, 1))], attrs, outputs=2).outputs
    return [values, r.cast(places, layer.dtype("index_element_type", "i32"))]


@reads("CumSum")
def cum_sum(r: Reading, layer: Layer) -> Made:
    axis = r.option(layer, 1)
    place = r.b.const(Tensor.of(0, I64)) if axis is None else r.scalar(axis)
    flags = {name: int(layer.flag(name)) for name in ("exclusive", "reverse")}
    return r.b.op("CumSum", r.arg(layer, 0), place, **flags)


@reads("NonZero")
def non_zero(r: Reading, layer: Layer) -> Made:
    return r.cast(r.b.op("NonZero", r.arg(layer, 0)), layer.dtype("output_type", "i64"))


@reads("Range")
def range_(r: Reading, layer: Layer) -> Made:
    ends = [r.scalar(r.arg(layer, index)) for index in range(3)]
    dtype = ends[0].dtype if "output_type" not in layer.data else layer.dtype("output_type")
    return r.b.op("Range", *(end if dtype is None else r.cast(end, dtype) for end in ends))


@reads("OneHot")
def one_hot(r: Reading, layer: Layer) -> Made:
    """ONNX counts negative indices from the end, here they stand for no place: they become one past the last."""
    indices, depth, on, off = (r.arg(layer, index) for index in range(4))
    indices = r.cast(indices, I64)  # onnxruntime has kernels for few element types
    if layer.text("negative_indices_mode", "ignore_negative").lower() != "normalize":
        outside = r.scalar(r.cast(depth, I64))
        indices = r.b.op("Where", r.b.op("Less", indices, r.number(0, indices)), outside, indices)
    values, dtype = r.b.op("Concat", r.reshape(off, [1]), r.reshape(on, [1]), axis=0), on.dtype
    wide = F32 if dtype in (F16, BF16) else I64 if dtype is not None and not dtype.is_float else dtype
    values = values if wide is None else r.cast(values, wide)
    made = r.b.op("OneHot", indices, r.vector(depth), values, axis=layer.int("axis"))
    return made if dtype is None else r.cast(made, dtype)


@reads("Eye")
def eye(r: Reading, layer: Layer) -> Made:
    if len(layer.inputs) > 3:
        raise refused(layer, "it has batch dimensions")
    dtype, diagonal = layer.dtype("output_type"), r.known_ints(layer, 2)
    size = r.b.op("Concat", r.vector(r.arg(layer, 0)), r.vector(r.arg(layer, 1)), axis=0)
    zeros = r.b.op("ConstantOfShape", size, value=Tensor.of([0.0], F32))
    return r.b.op("EyeLike", zeros, dtype=dtype.onnx, k=diagonal[0] if diagonal else 0)


@reads("Unique")
def unique(r: Reading, layer: Layer) -> Made:
    x = r.arg(layer, 0)
    axis = r.known_axis(layer, 1, r.rank(layer, x)) if len(layer.inputs) > 1 else None
    attrs = {"axis": axis, "sorted": int(layer.flag("sorted", True))}
    values, first, inverse, counts = r.b.node("Unique", [x], attrs, outputs=4).outputs
    places, number = layer.dtype("index_element_type", "i64"), layer.dtype("count_element_type", "i64")
    return [values, r.cast(first, places), r.cast(inverse, places), r.cast(counts, number)]
