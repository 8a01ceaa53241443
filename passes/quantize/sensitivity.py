"""What quantizing a part of a model costs in accuracy: some layers by themselves, everything else in floats.

    parts = Parts(model, Quantize(), ctx)
    parts.errors(parts.nodes[:3], limit=16)          # of each output, when only the first three are quantized

    found = sensitivities(model, Quantize(), ctx, groups=8, limit=16)
    worst = max(found, key=lambda s: max(s.errors))
    Quantize(keep=worst.keep)                        # leaves that group in floats

Errors of groups add up about as squares do, because they are nearly independent; that is what a budget over groups may
be reckoned with before the whole is measured.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from ...ir.clone import clone_model
from ...ir.core import Model, Node, Value
from ..base import Context, place_of
from .difference import differences
from .gemms import products_of
from .observers import Statistic
from .placement import Keep, layers_of, numbers_of, placed, tables_of
from .quantize import Quantize
from .recurrent import quantize_recurrent, recurrent_of

CORRECT = 8  # samples that biases are corrected on


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
    """The error of each of `groups` contiguous groups of layers (None: each by itself), of all tables, of all LSTMs.

    `model` is not changed. Scales come from all samples, errors from at most `limit`. Raises as `Quantize.run` does.
    """
    parts = Parts(model, step, ctx)
    found = contiguous(parts.layers, groups)
    found += [part for part in (parts.tables, parts.recurrent) if part]
    return [_of(part, tuple(parts.errors(part, limit)), parts.keep(part)) for part in found]


def contiguous(layers: Sequence[Node], groups: int | None) -> list[Sequence[Node]]:
    """The layers in so many groups of neighbours, as equal in number as can be; no group is empty."""
    count = len(layers) if groups is None else min(groups, len(layers))
    bounds = [index * len(layers) // count for index in range(count + 1)] if count else [0]
    return [layers[a:b] for a, b in pairwise(bounds)]


def _of(nodes: Sequence[Node], errors: tuple[float, ...], keep: Keep) -> Sensitivity:
    matrices = [node.inputs[0] if node.op.name == "Gather" else node.inputs[1] for node in nodes]
    weights = {value: value.const.size for value in matrices if value is not None and value.const is not None}
    return Sensitivity(tuple(nodes), errors, keep, sum(weights.values()))


class Parts:
    """What `step` would make integer of a model, and how far off the outputs are when some of it is.

    `layers`, `tables` and `recurrent` are nodes of `model`, which is not changed; `nodes` are all in order.
    """

    def __init__(self, model: Model, step: Quantize, ctx: Context) -> None:
        """`model` as it is before the step. Raises as `Quantize.run` does."""
        self.kernels = step.kernels(ctx)
        tables = tables_of(model.graph, self.kernels, step.keep) if step.tables else []
        layers = layers_of(model.graph, self.kernels, step.keep)
        recurrent = recurrent_of(model.graph, self.kernels, step.keep)
        self.layers, self.tables, self.recurrent = (
            [node for node in nodes if place_of(step.name, "", node) not in ctx.kept]
            for nodes in (layers, tables, recurrent)
        )
        self._graph = model.graph
        chosen = {*self.layers, *self.tables, *self.recurrent}
        self.nodes = [node for node in model.graph if node in chosen]
        self._step = replace(step, correct=min(step.correct, CORRECT), rounding="nearest")
        self._ctx = Context(capabilities=ctx.capabilities, observe=ctx.observe)
        self._model, self._values = clone_model(model)
        copies = products_of(self._model.graph, [_copy(node, self._values) for node in self.layers])
        self._layers = dict(zip(self.layers, copies))
        self._seen: dict[Value, Statistic] = {}
        if step.static and (self.layers or self.tables):
            plan = placed(self._model.graph, copies, [], self.kernels)
            self._seen = self._step.seen(self._model, plan, self._ctx)

    def errors(self, nodes: Collection[Node], limit: int | None) -> list[float]:
        """The mean relative L2 error of each output, on at most `limit` samples, when these nodes alone are quantized.

        Biases are corrected on `CORRECT` samples at most: what a shift does to the outputs may be most of the error.
        """
        changed, of = clone_model(self._model)
        part = [_copy(self._layers[node], of) for node in self.layers if node in nodes]
        rows, recurrent = (
            [_copy(_copy(node, self._values), of) for node in kind if node in nodes]
            for kind in (self.tables, self.recurrent)
        )
        if self._step.static:
            plan = placed(changed.graph, part, rows, self.kernels)
            seen = {of[value]: found for value, found in self._seen.items()}
            self._step.insert(changed, plan, seen, self.kernels, self._ctx)
        else:
            self._step.dynamic(changed, changed.graph, part, rows, self.kernels, self._ctx)
        for node in recurrent:
            quantize_recurrent(node, self.kernels)
        assert self._ctx.observe is not None
        return differences(self._model, changed, self._ctx.observe, limit)

    def keep(self, nodes: Collection[Node]) -> Keep:
        """What leaves these in floats."""
        numbers = numbers_of(nodes, self._graph, self.kernels)
        recurrent = (node.loc[0] if node.loc else node.op.name for node in self.recurrent if node in nodes)
        return (*numbers, *dict.fromkeys((*(node.op.name for node in self.tables if node in nodes), *recurrent)))


def _copy(node: Node, of: dict[Value, Value]) -> Node:
    found = of[node.output].producer
    assert found is not None
    return found
