"""What quantizing a part of a model costs in accuracy: each group of layers by itself, everything else in floats.

    found = sensitivities(model, Quantize(), ctx, groups=8, limit=16)
    worst = max(found, key=lambda s: max(s.errors))
    Quantize(keep=worst.keep)                        # leaves that group in floats

Errors of groups add up about as squares do, because they are nearly independent; that is what a budget over groups may
be reckoned with before the whole is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from ...ir.clone import clone_model
from ...ir.core import Model, Node, Value
from ..base import Context
from .difference import differences
from .gemms import products_of
from .observers import Statistic
from .placement import Keep, candidates, layers_of, placed, tables_of
from .quantize import Quantize


class Sensitivity(NamedTuple):
    """One group: its layers (nodes of the model that was asked about), and the mean relative L2 error of each output.

    `keep` is what leaves the group in floats, `weights` how many weights it has.
    """

    layers: tuple[Node, ...]
    errors: tuple[float, ...]
    keep: Keep
    weights: int


def sensitivities(
    model: Model, step: Quantize, ctx: Context, groups: int | None = None, limit: int | None = 16
) -> list[Sensitivity]:
    """The error of each of `groups` contiguous groups of layers (None: each by itself), and of all tables as one.

    `model` is not changed. Scales come from all samples, errors from at most `limit`. Raises as `Quantize.run` does.
    """
    kernels = step.kernels(ctx)
    layers, tables = layers_of(model.graph, kernels, step.keep), tables_of(model.graph, kernels, step.keep)
    parts: list[tuple[Sequence[Node], Sequence[Node]]] = [(part, ()) for part in contiguous(layers, groups)]
    if tables and step.tables:
        parts.append(((), tables))
    trial = _Trial(model, replace(step, correct=0, rounding="nearest"), ctx, layers)
    numbers = {node: number for number, node in enumerate(candidates(model.graph, kernels))}
    return [_of(part, rows, trial.errors(part, rows, limit), numbers) for part, rows in parts]


def contiguous(layers: Sequence[Node], groups: int | None) -> list[Sequence[Node]]:
    """The layers in so many groups of neighbours, as equal in number as can be; no group is empty."""
    count = len(layers) if groups is None else min(groups, len(layers))
    bounds = [index * len(layers) // count for index in range(count + 1)] if count else [0]
    return [layers[a:b] for a, b in pairwise(bounds)]


def _of(layers: Sequence[Node], tables: Sequence[Node], errors: list[float], numbers: dict[Node, int]) -> Sensitivity:
    keep: Keep = (*(numbers[node] for node in layers), *dict.fromkeys(node.op.name for node in tables))
    matrices = [*(node.inputs[1] for node in layers), *(node.inputs[0] for node in tables)]
    weights = {value: value.const.size for value in matrices if value is not None and value.const is not None}
    return Sensitivity((*layers, *tables), tuple(errors), keep, sum(weights.values()))


class _Trial:
    """A copy of the model whose layers are products and convolutions, and what was seen of it."""

    def __init__(self, model: Model, step: Quantize, ctx: Context, layers: Sequence[Node]) -> None:
        self.step = step
        self.kernels = step.kernels(ctx)
        self.ctx = Context(capabilities=ctx.capabilities, observe=ctx.observe)
        self.model, of = clone_model(model)
        self._values = of
        copies = products_of(self.model.graph, [_copy(node, of) for node in layers])
        self._layers = dict(zip(layers, copies))
        self.seen: dict[Value, Statistic] = {}
        if step.static:
            plan = placed(self.model.graph, copies, [], self.kernels)
            self.seen = step.seen(self.model, plan, self.ctx)

    def errors(self, layers: Sequence[Node], tables: Sequence[Node], limit: int | None) -> list[float]:
        """The error of each output when these alone are quantized."""
        changed, of = clone_model(self.model)
        part = [_copy(self._layers[node], of) for node in layers]
        rows = [_copy(_copy(node, self._values), of) for node in tables]
        if self.step.static:
            plan = placed(changed.graph, part, rows, self.kernels)
            seen = {of[value]: found for value, found in self.seen.items()}
            self.step.insert(changed, plan, seen, self.kernels, self.ctx)
        else:
            self.step.dynamic(changed, changed.graph, part, rows, self.kernels, self.ctx)
        assert self.ctx.observe is not None
        return differences(self.model, changed, self.ctx.observe, limit)


def _copy(node: Node, of: dict[Value, Value]) -> Node:
    found = of[node.output].producer
    assert found is not None
    return found
