"""Layers that pick and place elements by their indices."""

from __future__ import annotations

from ...ir.types import I32, I64
from .table import Made, Reading, reads, refused
from .xml import Layer

_REDUCTIONS = {"none": "none", "sum": "add", "prod": "mul", "min": "min", "max": "max"}


@reads("Gather")
def gather(r: Reading, layer: Layer) -> Made:
    x, indices = r.arg(layer, 0), r.arg(layer, 1)
    axis, batch = r.known_axis(layer, 2, r.rank(layer, x)), layer.int("batch_dims", 0)
    rank = r.rank(layer, indices)
    batch += rank if batch < 0 else 0
    if indices.dtype not in (I32, I64):
        indices = r.cast(indices, I64)
    if batch == 0:
        return r.b.op("Gather", x, indices, axis=axis)
    if axis != batch:
        raise refused(layer, f"there is no form for axis {axis} with {batch} batch dimensions")
    return r.b.op("GatherND", x, r.cast(r.unsqueeze(indices, [rank]), I64), batch_dims=batch)


@reads("GatherElements")
def gather_elements(r: Reading, layer: Layer) -> Made:
    return r.b.op("GatherElements", r.arg(layer, 0), r.arg(layer, 1), axis=layer.int("axis"))


@reads("GatherND")
def gather_nd(r: Reading, layer: Layer) -> Made:
    batch = layer.int("batch_dims", 0)
    if layer.version == "opset5" and batch > 1:
        raise refused(layer, "it joins its batch dimensions")
    return r.b.op("GatherND", r.arg(layer, 0), r.cast(r.arg(layer, 1), I64), batch_dims=batch)


@reads("ScatterElementsUpdate")
def scatter_elements(r: Reading, layer: Layer) -> Made:
    x, indices, updates = (r.arg(layer, index) for index in range(3))
    reduction = layer.choice("reduction", _REDUCTIONS, "none")
    if reduction != "none" and not layer.flag("use_init_val", True):
        raise refused(layer, "it leaves out what was there before")
    axis = r.known_axis(layer, 3, r.rank(layer, x))
    return r.b.op("ScatterElements", x, indices, updates, axis=axis, reduction=reduction)


@reads("ScatterNDUpdate")
def scatter_nd(r: Reading, layer: Layer) -> Made:
    reduction = layer.choice("reduction", _REDUCTIONS, "none")
    indices = r.cast(r.arg(layer, 1), I64)
    return r.b.op("ScatterND", r.arg(layer, 0), indices, r.arg(layer, 2), reduction=reduction)


@reads("ScatterUpdate")
def scatter(r: Reading, layer: Layer) -> Made:
    x, indices = r.arg(layer, 0), r.cast(r.arg(layer, 1), I64)
    if r.known_axis(layer, 3, r.rank(layer, x)):
        raise refused(layer, "there is no form for an axis that is not the first")
    return r.b.op("ScatterND", x, r.unsqueeze(indices, [r.rank(layer, indices)]), r.arg(layer, 2))


@reads("NonMaxSuppression")
def non_max_suppression(r: Reading, layer: Layer) -> Made:
    boxes, scores = r.arg(layer, 0), r.arg(layer, 1)
    if len(layer.inputs) > 5 and r.known_number(layer, 5):
        raise refused(layer, "it lowers scores instead of leaving boxes out")
    if r.is_used(layer, 1) or r.is_used(layer, 2):
        raise refused(layer, "its scores or its count are used")
    most, overlap, least = (r.option(layer, index) for index in (2, 3, 4))
    most = None if most is None else r.vector(most)
    overlap, least = (None if value is None else r.reshape(value, [1]) for value in (overlap, least))
    center = int(layer.choice("box_encoding", {"corner": "0", "center": "1"}, "corner"))
    made = r.b.op("NonMaxSuppression", boxes, scores, most, overlap, least, center_point_box=center)
    return [r.cast(made, layer.dtype("output_type", "i64")), None, None]
