"""Matrix products and convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ....ir.infer.nn import Window
from .base import Given, Operator, at


def _gemm(node: Any, given: Given) -> Any:
    a, b, c = given[0], given[1], at(given, 2)
    a = a.t() if node.attr("transA") else a
    b = b.t() if node.attr("transB") else b
    alpha, beta = node.attr("alpha"), node.attr("beta")
    product = a @ b
    product = product if alpha == 1.0 else product * alpha
    return product if c is None else product + (c if beta == 1.0 else c * beta)


def _einsum(node: Any, given: Given) -> Any:
    return torch.einsum(node.attr("equation"), *given)


def paddings(node: Any, window: Window, sizes: Sequence[int], ceil: bool = False) -> list[tuple[int, int]]:
    """What is added before and behind each spatial axis; below zero where something is cut.

    With `ceil` the end is filled up to the last window that begins inside.
    """
    count = len(sizes)
    found = []
    for axis, size in enumerate(sizes):
        extent, stride = window.extent(axis), window.strides[axis]
        output = window.output(node, axis, size, ceil)
        assert isinstance(extent, int) and isinstance(output, int)
        needed = (output - 1) * stride + extent
        if window.auto_pad.startswith("SAME"):
            total = max(needed - size, 0)
            less, more = total // 2, total - total // 2
            found.append((less, more) if window.auto_pad == "SAME_UPPER" else (more, less))
        elif window.auto_pad == "VALID":
            found.append((0, max(needed - size, 0) if ceil else 0))
        else:
            before, after = window.pads[axis], window.pads[axis + count]
            found.append((before, max(after, needed - size - before) if ceil else after))
    return found


def padded(x: Any, widths: Sequence[tuple[int, int]], fill: float = 0.0) -> Any:
    """`x` with its last axes filled up, or cut where a width is below zero."""
    flat = [width for pair in reversed(widths) for width in pair]
    return F.pad(x, flat, value=fill) if any(flat) else x


def _conv(node: Any, given: Given) -> Any:
    return convolve(node, given[0], given[1], at(given, 2))


def convolve(node: Any, x: Any, weight: Any, bias: Any) -> Any:
    """The convolution of `x` [N, C, spatial...] that the attributes of a node describe."""
    window = Window(node, tuple(weight.shape[2:]))
    widths = paddings(node, window, tuple(x.shape[2:]))
    even = all(before == after >= 0 for before, after in widths)
    x = x if even else padded(x, widths)
    none = [0] * len(widths)
    pads = [before for before, _ in widths] if even else none
    strides, dilations = list(window.strides), list(window.dilations)
    return torch.convolution(x, weight, bias, strides, pads, dilations, False, none, node.attr("group"))


def _conv_transpose(node: Any, given: Given) -> Any:
    """All that the kernels reach, then filled up by `output_padding` and cut by the pads."""
    x, weight, bias = given[0], given[1], at(given, 2)
    window = Window(node, tuple(weight.shape[2:]))
    count = x.dim() - 2
    more = list(node.attr("output_padding") or [0] * count)
    none, strides, dilations = [0] * count, list(window.strides), list(window.dilations)
    whole = torch.convolution(x, weight, None, strides, none, dilations, True, none, node.attr("group"))
    wanted = node.attr("output_shape")
    widths = []
    for axis in range(count):
        size, pads = whole.shape[axis + 2], (window.pads[axis], window.pads[axis + count])
        same = window.auto_pad.startswith("SAME")
        if wanted or same:
            target = wanted[axis] if wanted else x.shape[axis + 2] * window.strides[axis]
            total = size + more[axis] - target
            half = total // 2
            pads = (half, total - half) if window.auto_pad == "SAME_UPPER" else (total - half, half)
        elif window.auto_pad == "VALID":
            pads = (0, 0)
        widths.append((-pads[0], more[axis] - pads[1]))
    whole = padded(whole, widths)
    return whole if bias is None else whole + bias.reshape(-1, *[1] * count)


TABLE: dict[str, Operator] = {
    "MatMul": Operator(lambda node, given: torch.matmul(given[0], given[1])),
    "Gemm": Operator(_gemm),
    "Einsum": Operator(_einsum),
    "Conv": Operator(_conv),
    "ConvTranspose": Operator(_conv_transpose),
}
