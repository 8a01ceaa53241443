"""Matrix products and convolutions."""

from __future__ import annotations

from typing import Any

from ...ir.core import Node
from .table import NoMapping, Translation, maps

_PADDINGS = {"NOTSET": "explicit", "SAME_UPPER": "same_upper", "SAME_LOWER": "same_lower", "VALID": "valid"}


@maps("MatMul")
def matmul(t: Translation, node: Node) -> Any:
    return t.o.matmul(t.arg(node, 0), t.arg(node, 1), False, False)


@maps("Gemm")
def gemm(t: Translation, node: Node) -> Any:
    made = t.o.matmul(t.arg(node, 0), t.arg(node, 1), bool(node.attr("transA")), bool(node.attr("transB")))
    if node.attr("alpha") != 1:
        made = t.o.multiply(made, t.number(node.attr("alpha"), made))
    bias, beta = t.option(node, 2), node.attr("beta")
    if bias is None or beta == 0:
        return made
    if beta != 1:
        bias = t.o.multiply(bias, t.number(beta, bias))
    return t.o.add(made, bias)


@maps("Einsum")
def einsum(t: Translation, node: Node) -> Any:
    args = [t.arg(node, i) for i in range(len(node.inputs))]
    return t.o.einsum(args, node.attr("equation").replace(" ", ""))


class Window:
    """What convolutions and pools say about their windows: strides, dilations, padding at both ends, and its kind."""

    def __init__(self, node: Node, spatial: int) -> None:
        ones = (1,) * spatial
        self.strides = list(node.attr("strides") or ones)
        self.dilations = list(node.attr("dilations") or ones)
        pads = list(node.attr("pads") or (0,) * (2 * spatial))
        self.begin, self.end = pads[:spatial], pads[spatial:]
        self.auto = _PADDINGS[node.attr("auto_pad") or "NOTSET"]
        if self.auto != "explicit":
            self.begin, self.end = [0] * spatial, [0] * spatial


def _grouped(t: Translation, node: Node, group: int) -> Any:
    """Weights [O, I, ...] as [group, O/group, I, ...]."""
    weights = t.arg(node, 1)
    out, *rest = t.dims(weights)
    if out is None or None in rest:
        raise NoMapping("the size of its weights is not fixed")
    return t.shaped(node, 1, [group, out // group, *(size for size in rest if size is not None)])


def _with_bias(t: Translation, node: Node, made: Any, index: int = 2) -> Any:
    if t.option(node, index) is None:
        return made
    return t.o.add(made, t.shaped(node, index, [1, -1] + [1] * (t.rank(made) - 2)))


@maps("Conv")
def conv(t: Translation, node: Node) -> Any:
    x, weights, group = t.arg(node, 0), t.arg(node, 1), node.attr("group")
    w = Window(node, t.rank(weights) - 2)
    if group == 1:
        made = t.o.convolution(x, weights, w.strides, w.begin, w.end, w.dilations, w.auto)
    else:
        made = t.o.group_convolution(
            x, _grouped(t, node, group), w.strides, w.begin, w.end, w.dilations, w.auto
        )
    return _with_bias(t, node, made)


@maps("ConvTranspose")
def conv_transpose(t: Translation, node: Node) -> Any:
    x, weights, group = t.arg(node, 0), t.arg(node, 1), node.attr("group")
    spatial = t.rank(weights) - 2
    w = Window(node, spatial)
    extra = list(node.attr("output_padding") or (0,) * spatial)
    shape = node.attr("output_shape")
    if shape is not None or w.auto in ("same_upper", "same_lower"):
        # openvino splits the padding at other places than ONNX: it is worked out here.
        sizes = t.dims(x)[2:]
        kernel = t.dims(weights)[2:]
        fixed = [d for d in (*sizes, *kernel) if d is not None]
        if len(fixed) != 2 * spatial:
            raise NoMapping("its padding depends on sizes that are not fixed")
        for axis in range(spatial):
            size, reach = fixed[axis], (fixed[spatial + axis] - 1) * w.dilations[axis] + 1
            wanted = shape[axis - spatial] if shape is not None else size * w.strides[axis]
            total = w.strides[axis] * (size - 1) + extra[axis] + reach - wanted
            if total < 0:  # the output is longer than what the kernel reaches
                extra[axis] -= total
                total = 0
            small, large = total // 2, total - total // 2
            upper = w.auto == "same_upper"
            w.begin[axis], w.end[axis] = (small, large) if upper else (large, small)
    given = {"pads_begin": w.begin, "pads_end": w.end, "dilations": w.dilations, "output_padding": extra}
    if group == 1:
        made = t.o.convolution_backprop_data(x, weights, w.strides, auto_pad="explicit", **given)
    else:
        made = t.o.group_convolution_backprop_data(
            x, _grouped(t, node, group), w.strides, auto_pad="explicit", **given
        )
    return _with_bias(t, node, made)


@maps("DeformConv")
def deform_conv(t: Translation, node: Node) -> Any:
    x, weights, offsets = (t.arg(node, i) for i in range(3))
    mask = t.option(node, 4)
    w = Window(node, t.rank(weights) - 2)
    made = t.o.deformable_convolution(
        x, offsets, weights, w.strides, w.begin, w.end, w.dilations, mask, "explicit", node.attr("group"),
        node.attr("offset_group"), True,
    )  # fmt: skip
    return _with_bias(t, node, made, 3)
