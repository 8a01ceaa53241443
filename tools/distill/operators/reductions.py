"""Operators that reduce axes, or rank and add up along one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .base import Given, Operator, axis_of, ints


def _axes(node: Any, given: Given) -> list[int] | None:
    """The axes that are reduced, all where none are named; None where nothing is."""
    axes = ints(given, 1)
    rank = given[0].dim()
    if axes:
        return [axis_of(axis, rank) for axis in axes]
    return None if node.attr("noop_with_empty_axes") else list(range(rank))


def _reduction(function: Callable[[Any, list[int], bool], Any]) -> Operator:
    def run(node: Any, given: Given) -> Any:
        axes = _axes(node, given)
        if axes is None or not given[0].dim():
            axes = []
        return function(given[0], axes, bool(node.attr("keepdims")))

    return Operator(run, numbers=(1,))


def _sum(x: Any, axes: list[int], keep: bool) -> Any:
    return torch.sum(x, axes, keepdim=keep, dtype=x.dtype) if axes else x


def _mean(x: Any, axes: list[int], keep: bool) -> Any:
    return torch.mean(x, axes, keepdim=keep) if axes else x


def _extreme(function: Callable[..., Any]) -> Callable[[Any, list[int], bool], Any]:
    return lambda x, axes, keep: function(x, axes, keepdim=keep) if axes else x


def _prod(x: Any, axes: list[int], keep: bool) -> Any:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keepdim=keep, dtype=x.dtype)
    return x


def _log_sum_exp(x: Any, axes: list[int], keep: bool) -> Any:
    return torch.logsumexp(x, axes, keepdim=keep) if axes else x


def _arg(function: Callable[..., Any]) -> Operator:
    def run(node: Any, given: Given) -> Any:
        x, axis, keep = given[0], node.attr("axis"), bool(node.attr("keepdims"))
        if not node.attr("select_last_index"):
            return function(x, axis, keepdim=keep)
        return x.shape[axis] - 1 - function(torch.flip(x, [axis]), axis, keepdim=keep)

    return Operator(run)


def _top_k(node: Any, given: Given) -> Any:
    """Of equal numbers the first comes first."""
    axis = node.attr("axis")
    values, indices = torch.sort(given[0], dim=axis, descending=bool(node.attr("largest")), stable=True)
    count = int(given[1].reshape(-1)[0])
    return [values.narrow(axis, 0, count), indices.narrow(axis, 0, count)]


def _cumulative(function: Callable[[Any, int], Any], neutral: float) -> Operator:
    def run(node: Any, given: Given) -> Any:
        x, axis = given[0], axis_of(int(given[1].reshape(())), given[0].dim())
        x = torch.flip(x, [axis]) if node.attr("reverse") else x
        if node.attr("exclusive"):
            first = torch.full_like(x.narrow(axis, 0, 1), neutral)
            x = torch.cat([first, x.narrow(axis, 0, x.shape[axis] - 1)], axis)
        x = function(x, axis).to(x.dtype)
        return torch.flip(x, [axis]) if node.attr("reverse") else x

    return Operator(run, numbers=(1,))


TABLE: dict[str, Operator] = {
    "ReduceSum": _reduction(_sum),
    "ReduceMean": _reduction(_mean),
    "ReduceMax": _reduction(_extreme(torch.amax)),
    "ReduceMin": _reduction(_extreme(torch.amin)),
    "ReduceProd": _reduction(_prod),
    "ReduceL1": _reduction(lambda x, axes, keep: _sum(torch.abs(x), axes, keep)),
    "ReduceL2": _reduction(lambda x, axes, keep: torch.sqrt(_sum(x * x, axes, keep))),
    "ReduceSumSquare": _reduction(lambda x, axes, keep: _sum(x * x, axes, keep)),
    "ReduceLogSum": _reduction(lambda x, axes, keep: torch.log(_sum(x, axes, keep))),
    "ReduceLogSumExp": _reduction(_log_sum_exp),
    "ArgMax": _arg(torch.argmax),
    "ArgMin": _arg(torch.argmin),
    "TopK": Operator(_top_k, numbers=(1,)),
    "CumSum": _cumulative(torch.cumsum, 0.0),
    "CumProd": _cumulative(torch.cumprod, 1.0),
}
