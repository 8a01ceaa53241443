"""Pools, and layers that read an image at other places."""

from __future__ import annotations

from typing import Any

from ...ir.core import Value
from ...ir.errors import InvalidModel
from ...ir.types import F32
from .products import window
from .table import Made, Reading, reads, refused
from .xml import Layer

_ROUNDINGS = {"floor": "0", "ceil": "1", "ceil_torch": "1"}
_TRANSFORMS = {
    name: name for name in ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners", "tf_half_pixel_for_nn")
}  # fmt: skip
_NEAREST = {name: name for name in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")}
_MODES = {"nearest": "nearest", "linear": "linear", "linear_onnx": "linear", "cubic": "cubic"}


@reads("MaxPool")
def max_pool(r: Reading, layer: Layer) -> Made:
    kernel = layer.ints("kernel")
    attrs = window(layer, len(kernel))
    rounding = int(layer.choice("rounding_type", _ROUNDINGS, "floor"))
    attrs.update(kernel_shape=kernel, ceil_mode=rounding)
    if not r.is_used(layer, 1):
        return [r.b.op("MaxPool", r.arg(layer, 0), **attrs), None]
    if layer.int("axis", 0) != 0 or any(attrs["pads"] or ()):
        raise refused(layer, "its indices count from another place")
    made, places = r.b.node("MaxPool", [r.arg(layer, 0)], attrs, outputs=2).outputs
    return [made, r.cast(places, layer.dtype("index_element_type", "i64"))]


@reads("AvgPool")
def avg_pool(r: Reading, layer: Layer) -> Made:
    x, kernel = r.arg(layer, 0), layer.ints("kernel")
    attrs = window(layer, len(kernel))
    rounds_up = layer.choice("rounding_type", _ROUNDINGS, "floor") == "1" and not _is_whole(r, layer, x, kernel, attrs)
    inside = layer.flag("exclude-pad") if "exclude-pad" in layer.data else layer.flag("exclude_pad")
    if rounds_up and not inside and any(attrs["pads"] or ()):
        raise refused(layer, "it counts padding, and has a last window that is cut off")
    attrs.update(kernel_shape=kernel, ceil_mode=int(rounds_up), count_include_pad=int(not inside))
    return r.b.op("AveragePool", x, **attrs)


def _is_whole(r: Reading, layer: Layer, x: Value, kernel: tuple[int, ...], attrs: dict[str, Any]) -> bool:
    """True where no window is cut off at the end, as far as sizes are fixed."""
    sizes, pads, strides = r.dims(layer, x)[2:], attrs["pads"], attrs["strides"]
    if pads is None or len(sizes) != len(kernel) or 0 in strides:
        return False
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, attrs["dilations"])]
    padded = [size + pads[i] + pads[i + len(kernel)] - reach[i] for i, size in enumerate(sizes)]
    return all(isinstance(rest, int) and rest % stride == 0 for rest, stride in zip(padded, strides))


@reads("AdaptiveAvgPool")
def adaptive_avg_pool(r: Reading, layer: Layer) -> Made:
    x = r.arg(layer, 0)
    if any(size != 1 for size in r.known_ints(layer, 1)):
        raise refused(layer, "its windows are of several sizes")
    return r.b.op("ReduceMean", x, r.b.ints(range(2, r.rank(layer, x))))


@reads("Interpolate")
def interpolate(r: Reading, layer: Layer) -> Made:
    """Versions 4 and 11; the first says its sizes in attributes."""
    if len(layer.inputs) < 2 or layer.version in ("opset1", "opset3"):
        raise refused(layer, f"there is no form for {layer.version}")
    x = r.arg(layer, 0)
    by = layer.choice("shape_calculation_mode", {"sizes": "sizes", "scales": "scales"})
    if any(any(layer.ints(name, ())) for name in ("pads_begin", "pads_end")):
        raise refused(layer, "it pads")
    older = layer.version == "opset4"
    given = r.arg(layer, 1 if not older or by == "sizes" else 2)
    rank, place = r.rank(layer, x), 3 if older else 2
    axes = r.known_ints(layer, place) if len(layer.inputs) > place else tuple(range(rank))
    scales = r.cast(given, F32) if by == "scales" else None
    sizes = r.vector(given) if by == "sizes" else None
    mode = layer.choice("mode", _MODES)
    attrs = {
        "axes": tuple(r.axis(layer, axis, rank) for axis in axes), "mode": mode,
        "coordinate_transformation_mode": layer.choice("coordinate_transformation_mode", _TRANSFORMS, "half_pixel"),
        "antialias": int(layer.flag("antialias") and mode != "nearest"),
    }  # fmt: skip
    if mode == "nearest":
        attrs["nearest_mode"] = layer.choice("nearest_mode", _NEAREST, "round_prefer_floor")
    if mode == "cubic":
        attrs["cubic_coeff_a"] = layer.float("cube_coeff", -0.75)
    return r.b.op("Resize", x, None, scales, sizes, **attrs)


@reads("GridSample")
def grid_sample(r: Reading, layer: Layer) -> Made:
    mode = layer.choice("mode", {"bilinear": "linear", "bicubic": "cubic", "nearest": "nearest"}, "bilinear")
    edge = layer.choice("padding_mode", {name: name for name in ("zeros", "border", "reflection")}, "zeros")
    align = int(layer.flag("align_corners"))
    return r.b.op("GridSample", r.arg(layer, 0), r.arg(layer, 1), mode=mode, padding_mode=edge, align_corners=align)


@reads("ROIAlign")
def roi_align(r: Reading, layer: Layer) -> Made:
    layer.choice("mode", {"avg": "avg"})
    aligned = layer.choice(
        "aligned_mode", {"asymmetric": "output_half_pixel", "half_pixel_for_nn": "half_pixel"}, "asymmetric"
    )
    if layer.int("pooled_h") < 1 or layer.int("pooled_w") < 1:
        raise InvalidModel(f"{layer} gives no pixels")
    return r.b.op(
        "RoiAlign", r.arg(layer, 0), r.arg(layer, 1), r.vector(r.arg(layer, 2)), output_height=layer.int("pooled_h"),
        output_width=layer.int("pooled_w"), sampling_ratio=layer.int("sampling_ratio"),
        spatial_scale=layer.float("spatial_scale"), coordinate_transformation_mode=aligned,
    )  # fmt: skip
