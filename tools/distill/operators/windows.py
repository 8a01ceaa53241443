"""Pooling, and sampling on a grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from ....ir.infer.nn import Window
from .base import Given, Lacking, Operator
from .products import padded, paddings

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def _window(node: Any, x: Any) -> tuple[Window, list[tuple[int, int]]]:
    window = Window(node, tuple(node.attr("kernel_shape")))
    return window, paddings(node, window, tuple(x.shape[2:]), bool(node.attr("ceil_mode")))


def _max_pool(node: Any, given: Given) -> Any:
    if len(node.outputs) > 1 and node.outputs[1].uses:
        raise Lacking("its second output, the indices")
    x = given[0]
    window, widths = _window(node, x)
    plain = x.is_floating_point()
    least = -torch.inf if plain else torch.iinfo(x.dtype).min
    x = padded(x, widths, least)
    pooled = _MAX[len(widths)](
        x if plain else x.to(torch.float64), list(window.kernel), list(window.strides), 0, list(window.dilations)
    )
    pooled = pooled if plain else pooled.to(given[0].dtype)
    return [pooled, None] if len(node.outputs) > 1 else pooled


def _sums(x: Any, window: Window) -> Any:
    """The sum of each window of `x` [N, C, spatial...], which is filled up already."""
    count = x.dim() - 2
    ones = torch.ones([1, 1, *window.kernel], dtype=x.dtype)
    flat = x.reshape(-1, 1, *x.shape[2:])
    sums = torch.convolution(
        flat, ones, None, list(window.strides), [0] * count, list(window.dilations), False, [0] * count, 1
    )
    return sums.reshape(*x.shape[:2], *sums.shape[2:])


def _average_pool(node: Any, given: Given) -> Any:
    """Each window divided by how much of it counts: what rounding up has added never does."""
    x = given[0]
    window, widths = _window(node, x)
    inside = torch.ones([1, 1, *x.shape[2:]], dtype=x.dtype)
    if node.attr("count_include_pad"):
        declared = paddings(node, window, tuple(x.shape[2:]))
        inside = padded(inside, declared, 1.0)
        behind = [(0, after - plain) for (_, after), (_, plain) in zip(widths, declared)]
        counts = _sums(padded(inside, behind), window)
    else:
        counts = _sums(padded(inside, widths), window)
    return _sums(padded(x, widths), window) / counts


def _lp_pool(node: Any, given: Given) -> Any:
    x, p = given[0], node.attr("p")
    window, widths = _window(node, x)
    return _sums(padded(torch.abs(x) ** p, widths), window) ** (1 / p)


def _spatial(function: Callable[..., Any]) -> Operator:
    """A reduction over all spatial axes, which stay with size 1."""
    return Operator(lambda node, given: function(given[0], list(range(2, given[0].dim())), keepdim=True))


def _global_lp(node: Any, given: Given) -> Any:
    x, p = given[0], node.attr("p")
    return torch.sum(torch.abs(x) ** p, list(range(2, x.dim())), keepdim=True) ** (1 / p)


_MODES = {"linear": "bilinear", "cubic": "bicubic", "bilinear": "bilinear", "bicubic": "bicubic", "nearest": "nearest"}


def _grid_sample(node: Any, given: Given) -> Any:
    x, grid = given
    corners = bool(node.attr("align_corners"))
    return F.grid_sample(x, grid, _MODES[node.attr("mode")], node.attr("padding_mode"), corners)


TABLE: dict[str, Operator] = {
    "MaxPool": Operator(_max_pool),
    "AveragePool": Operator(_average_pool),
    "LpPool": Operator(_lp_pool),
    "GlobalAveragePool": _spatial(torch.mean),
    "GlobalMaxPool": _spatial(torch.amax),
    "GlobalLpPool": Operator(_global_lp),
    "GridSample": Operator(_grid_sample),
}
