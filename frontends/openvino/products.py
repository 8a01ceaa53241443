"""Matrix products and convolutions."""

from __future__ import annotations

from typing import Any

from ...ir.core import Value
from ...ir.errors import InvalidModel
from ...ir.evaluate import reshaped
from ...ir.types import F32
from .table import Made, Reading, reads, refused
from .xml import Layer

_PADDINGS = {
    "explicit": "NOTSET",
    "notset": "NOTSET",
    "same_upper": "SAME_UPPER",
    "same_lower": "SAME_LOWER",
    "valid": "VALID",
}


@reads("MatMul")
def matmul(r: Reading, layer: Layer) -> Made:
    a, b = (
        _turned(r, layer, r.arg(layer, index), layer.flag(name))
        for index, name in enumerate(("transpose_a", "transpose_b"))
    )
    return r.b.op("MatMul", a, b)


def _turned(r: Reading, layer: Layer, value: Value, wanted: bool) -> Value:
    rank = r.rank(layer, value) if wanted else 0
    return value if rank < 2 else r.transpose(value, [*range(rank - 2), rank - 1, rank - 2])


@reads("Einsum")
def einsum(r: Reading, layer: Layer) -> Made:
    return r.b.op("Einsum", *r.args(layer), equation=layer.text("equation"))


def window(layer: Layer, spatial: int) -> dict[str, Any]:
    """Strides, dilations and padding as attributes of ONNX."""
    ones, zeros = (1,) * spatial, (0,) * spatial
    auto = layer.choice("auto_pad", _PADDINGS, "explicit")
    found: dict[str, Any] = {
        "strides": layer.ints("strides", ones), "dilations": layer.ints("dilations", ones), "auto_pad": auto,
        "pads": (*layer.ints("pads_begin", zeros), *layer.ints("pads_end", zeros)) if auto == "NOTSET" else None,
    }  # fmt: skip
    if len(found["strides"]) != spatial or len(found["dilations"]) != spatial:
        raise InvalidModel(f"{layer} has windows of another number of dimensions than its operand")
    pads = found["pads"]
    if pads is not None and len(pads) != 2 * spatial:
        raise InvalidModel(f"{layer} has {len(pads)} paddings for {spatial} dimensions")
    return found


def _ungrouped(r: Reading, layer: Layer, weights: Value) -> tuple[Value, int]:
    """Weights [groups, outputs, inputs, ...] as [groups * outputs, inputs, ...], and how many groups there are."""
    dims = r.dims(layer, weights)
    groups, out, *rest = dims if len(dims) > 2 else (None, None)
    if not isinstance(groups, int) or not isinstance(out, int) or not all(isinstance(d, int) for d in rest):
        raise refused(layer, "the size of its weights is not fixed")
    shape = (groups * out, *(d for d in rest if isinstance(d, int)))
    if weights.const is not None:
        return r.b.const(reshaped(weights.const, shape), hint=weights.hint), groups
    return r.reshape(weights, shape), groups


@reads("Convolution")
def convolution(r: Reading, layer: Layer) -> Made:
    x, weights = r.arg(layer, 0), r.arg(layer, 1)
    return _conv(r, x, weights, 1, window(layer, r.rank(layer, weights) - 2))


@reads("GroupConvolution")
def group_convolution(r: Reading, layer: Layer) -> Made:
    x, (weights, groups) = r.arg(layer, 0), _ungrouped(r, layer, r.arg(layer, 1))
    return _conv(r, x, weights, groups, window(layer, r.rank(layer, weights) - 2))


def _conv(r: Reading, x: Value, weights: Value, groups: int, attrs: dict[str, Any]) -> Value:
    """A convolution; of integers in f32, as openvino's CPU plugin computes it."""
    if x.dtype is None or not x.dtype.is_int:
        return r.b.op("Conv", x, weights, group=groups, **attrs)
    return r.cast(r.b.op("Conv", r.cast(x, F32), r.cast(weights, F32), group=groups, **attrs), x.dtype)


@reads("ConvolutionBackpropData", "GroupConvolutionBackpropData")
def transposed(r: Reading, layer: Layer) -> Made:
    x, weights, groups = r.arg(layer, 0), r.arg(layer, 1), 1
    if layer.type == "GroupConvolutionBackpropData":
        weights, groups = _ungrouped(r, layer, weights)
    spatial = r.rank(layer, weights) - 2
    attrs = window(layer, spatial)
    extra = layer.ints("output_padding", (0,) * spatial)
    if len(layer.inputs) > 2:
        extra = _spread(r, layer, x, weights, attrs, extra, spatial)
    elif attrs["auto_pad"] in ("SAME_UPPER", "SAME_LOWER"):
        raise refused(layer, "its padding follows from no output shape")
    return r.b.op("ConvTranspose", x, weights, group=groups, output_padding=extra, **attrs)


def _spread(
    r: Reading, layer: Layer, x: Value, weights: Value, attrs: dict[str, Any], extra: tuple[int, ...], spatial: int
) -> tuple[int, ...]:
    """Set the padding that gives the output shape of operand 2, where OpenVINO puts it; what is to come at the end."""
    wanted = r.known_ints(layer, 2)
    sizes, kernel = r.dims(layer, x)[2:], r.dims(layer, weights)[2:]
    strides, dilations = attrs["strides"], attrs["dilations"]
    if len(wanted) != spatial or len(sizes) != spatial:
        raise InvalidModel(f"{layer} wants {len(wanted)} sizes for {spatial} dimensions")
    begin, end, more = [], [], []
    for axis, (size, reach) in enumerate(zip(sizes, kernel)):
        if not isinstance(size, int) or not isinstance(reach, int):
            raise refused(layer, "its padding depends on sizes that are not fixed")
        total = strides[axis] * (size - 1) + dilations[axis] * (reach - 1) + 1 + extra[axis] - wanted[axis]
        if -total >= max(strides[axis], dilations[axis]):
            raise refused(layer, "its output is longer than what the kernel reaches")
        more.append(extra[axis] + max(0, -total))
        total = max(0, total)
        small, large = total // 2, total - total // 2
        first = large if attrs["auto_pad"] == "SAME_UPPER" else small
        begin.append(first)
        end.append(total - first)
    attrs.update(auto_pad="NOTSET", pads=(*begin, *end))
    return tuple(more)


@reads("DeformableConvolution")
def deformable(r: Reading, layer: Layer) -> Made:
    x, offsets, weights = (r.arg(layer, index) for index in range(3))
    attrs = window(layer, r.rank(layer, weights) - 2)
    if attrs.pop("auto_pad") != "NOTSET":
        raise refused(layer, "its padding is not given")
    groups = {"group": layer.int("group", 1), "offset_group": layer.int("deformable_group", 1)}
    return r.b.op("DeformConv", x, weights, offsets, None, r.option(layer, 3), **groups, **attrs)
