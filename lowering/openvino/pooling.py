"""Pools, and operators that read an image at other places: Resize, GridSample, RoiAlign, NonMaxSuppression."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.core import Node
from ...ir.tensor import Tensor
from ...ir.types import I64
from .products import Window
from .table import NoMapping, Translation, maps


@maps("MaxPool")
def max_pool(t: Translation, node: Node) -> Any:
    kernel = list(node.attr("kernel_shape"))
    if node.attr("storage_order"):
        raise NoMapping("its indices count columns first")
    w = Window(node, len(kernel))
    rounding = "ceil_torch" if node.attr("ceil_mode") else "floor"
    made = t.o.max_pool(
        t.arg(node, 0), w.strides, w.dilations, w.begin, w.end, kernel, rounding, w.auto, "i64", 0
    )
    if len(node.outputs) > 1 and node.outputs[1].uses and (any(w.begin) or any(w.end) or w.auto != "explicit"):
        raise NoMapping("the indices of a padded pool count the padding")
    return list(made.outputs())[: len(node.outputs)]


@maps("AveragePool")
def average_pool(t: Translation, node: Node) -> Any:
    kernel = list(node.attr("kernel_shape"))
    w = Window(node, len(kernel))
    rounding = "ceil_torch" if node.attr("ceil_mode") else "floor"
    if any(d != 1 for d in w.dilations):
        raise NoMapping("it is dilated")
    x = t.arg(node, 0)
    sizes = t.dims(x)[2:]
    if all(size is not None and size <= reach for size, reach in zip(sizes, kernel)) and not any(w.begin + w.end):
        # One window that may be larger than the image, which openvino refuses; only what is inside counts.
        return t.o.reduce_mean(x, t.i64(list(range(2, 2 + len(kernel)))), True)
    return t.o.avg_pool(
        x, w.strides, w.begin, w.end, kernel, not node.attr("count_include_pad"), rounding, w.auto
    )


@maps("GlobalAveragePool", "GlobalMaxPool")
def global_pool(t: Translation, node: Node) -> Any:
    x = t.arg(node, 0)
    write = t.o.reduce_mean if node.op.name == "GlobalAveragePool" else t.o.reduce_max
    return write(x, t.i64(list(range(2, t.rank(x)))), True)


@maps("Resize")
def resize(t: Translation, node: Node) -> Any:
    x, mode, transform = t.arg(node, 0), node.attr("mode"), node.attr("coordinate_transformation_mode")
    if transform not in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn"):
        raise NoMapping(f"there is no coordinate_transformation_mode {transform}")
    if node.attr("keep_aspect_ratio_policy") not in (None, "stretch"):
        raise NoMapping("it keeps the aspect ratio")
    if node.attr("exclude_outside"):
        raise NoMapping("it leaves out what lies outside")
    if node.attr("antialias") and mode != "linear":
        raise NoMapping("there is no antialias but for linear interpolation")
    sizes, scales = t.option(node, 3), t.option(node, 2)
    given, how = (sizes, "sizes") if sizes is not None else (scales, "scales")
    if given is None:
        raise NoMapping("neither sizes nor scales are given")
    rank, axes = t.rank(x), node.attr("axes")
    places = list(range(rank)) if axes is None else [a + rank if a < 0 else a for a in axes]
    fixed = t.known(node, 3 if sizes is not None else 2)
    if fixed is not None:
        # Axes that stay as they are need no place in it; the plugin is fastest on two or three.
        factors = fixed.array().tolist()
        before = t.dims(x)
        moved = [i for i, a in enumerate(places) if (factors[i] != before[a] if how == "sizes" else factors[i] != 1)]
        if not moved:
            return x
        places = [places[i] for i in moved]
        chosen = [factors[i] for i in moved]
        given = t.i64(chosen) if how == "sizes" else t.ov.op.Constant(t.ov.Type.f32, t.ov.Shape([len(chosen)]), chosen)
    linear = "linear" if node.attr("antialias") else "linear_onnx"
    kind = {"nearest": "nearest", "linear": linear, "cubic": "cubic"}[mode]
    return t.o.interpolate(
        x, given, kind, how, coordinate_transformation_mode=transform, nearest_mode=node.attr("nearest_mode"),
        antialias=bool(node.attr("antialias")), cube_coeff=node.attr("cubic_coeff_a"), axes=t.i64(places),
        pads_begin=[0], pads_end=[0],
    )  # fmt: skip


@maps("GridSample")
def grid_sample(t: Translation, node: Node) -> Any:
    x = t.arg(node, 0)
    if t.rank(x) != 4:
        raise NoMapping("it is not of two dimensions")
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(node.attr("mode"), node.attr("mode"))
    given = {
        "align_corners": bool(node.attr("align_corners")), "mode": mode, "padding_mode": node.attr("padding_mode"),
    }  # fmt: skip
    return t.o.grid_sample(x, t.arg(node, 1), given)


@maps("RoiAlign")
def roi_align(t: Translation, node: Node) -> Any:
    mode = "asymmetric" if node.attr("coordinate_transformation_mode") == "output_half_pixel" else "half_pixel_for_nn"
    if node.attr("mode") == "max":
        raise NoMapping("its maximum is taken over other points")
    return t.o.roi_align(
        t.arg(node, 0), t.arg(node, 1), t.arg(node, 2), node.attr("output_height"), node.attr("output_width"),
        node.attr("sampling_ratio"), node.attr("spatial_scale"), "avg", mode,
    )  # fmt: skip


@maps("NonMaxSuppression")
def non_max_suppression(t: Translation, node: Node) -> Any:
    boxes, scores = t.arg(node, 0), t.arg(node, 1)
    most, overlap, least = (t.option(node, i) for i in (2, 3, 4))
    if most is None:
        return t.constant(Tensor.of(np.zeros((0, 3)), I64))  # none, says ONNX
    overlap = t.number(0, boxes) if overlap is None else overlap
    least = t.number(float("-inf"), scores) if least is None else least
    most, overlap, least = (t.reshape(x, []) if t.rank(x) else x for x in (most, overlap, least))
    corners = "center" if node.attr("center_point_box") else "corner"
    made = t.o.non_max_suppression(
        boxes, scores, most, overlap, least, box_encoding=corners, sort_result_descending=False, output_type="i64"
    )
    return [made.output(0)]


@maps("Col2Im")
def col2im(t: Translation, node: Node) -> Any:
    size, block = t.arg(node, 1), t.arg(node, 2)
    count = t.static(size, 0, "the number of dimensions")
    if count != 2:
        raise NoMapping("it is not of two dimensions")
    w = Window(node, count)
    return t.o.col2im(t.arg(node, 0), size, block, w.strides, w.dilations, w.begin, w.end)
