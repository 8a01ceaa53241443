"""quantize: products and convolutions in 8-bit integers, with scales from samples or found at run time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

from ...ir.core import Graph, Model, Node, Value
from ...ir.errors import UsageError
from ...ir.types import I8, U8
from ..base import Context, Observe, Pass, place_of
from .bias import correct_biases
from .gemms import products_of
from .insert import Inserter, Reference
from .kernels import Integers, integers_of
from .observers import METHODS, Statistic, chosen_range, statistic
from .placement import Keep, Placement, candidates, layers_of, placed, refusal, tables_of
from .recurrent import quantize_recurrent, recurrent_of
from .rounding import round_weights
from .scheme import Affine, Scheme, affine_of
from .weights import weight_scheme

_TYPES = {"u8": U8, "i8": I8}


@dataclass(frozen=True)
class Quantize(Pass):
    """Products and convolutions with constant weights compute in 8-bit integers, where the target has kernels for it.

    Weights become i8 with a scale for each output channel (``per_channel``), chosen by ``weights`` = minmax or mse (the
    least squared error). Each gets the ``rounding`` = nearest code, or by gptq one that makes up for what others lose,
    as samples tell. Activations become ``activations`` = u8 or i8 (by default what the target runs fastest) with
    scales from the calibration samples, chosen by ``method`` = minmax, average (a moving one), percentile (the middle
    ``percentile`` % of all numbers), entropy (Kullback-Leibler) or mse; ``symmetric`` puts their zero point in the
    middle. One pair of QuantizeLinear and DequantizeLinear stands for a tensor, whoever reads it; additions, pools and
    the like between convolutions stay in integers. With ``static`` = false scales are found at run time, without
    samples, as always in an LSTM. ``tables``: rows of embeddings become i8 as well. ``correct``: biases make
    up for what quantization shifts the mean of each channel by, layer by layer, on at most ``correct`` samples.
    ``keep`` lists what stays in floats: operators and source locations, with wildcards, or numbers of layers,
    the first of those that could be integers being 0.
    """

    name: ClassVar[str] = "quantize"
    lossy: ClassVar[bool] = True
    static: bool = True
    method: str = "mse"
    percentile: float = 99.999
    activations: str | None = None
    symmetric: bool | None = None
    per_channel: bool = True
    weights: str = "minmax"
    rounding: str = "nearest"
    tables: bool = True
    correct: int = 0
    keep: Keep = ()

    def run(self, model: Model, ctx: Context) -> bool:
        """True if anything became integer. Raises UsageError for bad options, and where samples are needed."""
        kernels = self.kernels(ctx)
        changed = self._recurrent(model, kernels, ctx)
        graphs = [model.graph] if self.static else model.graphs()
        for graph in graphs:
            layers = self._allowed(layers_of(graph, kernels, self.keep), ctx)
            tables = self._allowed(tables_of(graph, kernels, self.keep), ctx) if self.tables else []
            self._remark(graph, kernels, ctx)
            if not layers and not tables:
                continue
            if self.static:
                self._static(model, layers, tables, kernels, ctx)
            else:
                self.dynamic(model, graph, layers, tables, kernels, ctx)
            changed = True
        return changed

    def kernels(self, ctx: Context) -> Integers:
        """What the target computes in integers, as the options change it. Raises UsageError for bad options."""
        kernels = integers_of(ctx.capabilities)
        if self.method not in METHODS:
            raise UsageError(f"method is one of {', '.join(METHODS)}, not {self.method!r}", source="--passes")
        if self.weights not in ("minmax", "mse"):
            raise UsageError(f"weights are scaled by minmax or mse, not {self.weights!r}", source="--passes")
        if self.rounding not in ("nearest", "gptq"):
            raise UsageError(f"rounding is nearest or gptq, not {self.rounding!r}", source="--passes")
        if self.activations is not None:
            dtype = _TYPES.get(self.activations)
            if dtype is None:
                raise UsageError(f"activations become u8 or i8, not {self.activations!r}", source="--passes")
            kernels = replace(kernels, activations=dtype)
        if self.symmetric is not None:
            kernels = replace(kernels, zero_points=not self.symmetric)
        return kernels

    def _allowed(self, nodes: list[Node], ctx: Context) -> list[Node]:
        wanted = [node for node in nodes if place_of(self.name, "", node) not in ctx.kept]
        return [node for node in wanted if ctx.allow(self.name, "", node)]

    def _recurrent(self, model: Model, kernels: Integers, ctx: Context) -> bool:
        """LSTMs, of nested graphs as well: they need no samples."""
        changed = False
        for graph in model.graphs():
            for node in self._allowed(recurrent_of(graph, kernels, self.keep), ctx):
                created: list[Node] = []
                with ctx.rewrite(self.name, "", [node], created):
                    created += quantize_recurrent(node, kernels)
                changed = True
        return changed

    def _remark(self, graph: Graph, kernels: Integers, ctx: Context) -> None:
        if not ctx.wants_remarks:
            return
        chosen, could = set(layers_of(graph, kernels, self.keep)), set(candidates(graph, kernels))
        for node in graph:
            budget = ctx.kept.get(place_of(self.name, "", node))
            if budget is not None:
                ctx.remark("refused", self.name, f"{node.op.name} stays in floats: {budget}", node=node)
            elif node.op.key in kernels.layers and node not in chosen:
                stem = "it is one of the first, which are faster in floats"
                kept = "" if refusal(node) or node not in could else "it is in keep"
                reason = refusal(node) or kept or stem
                ctx.remark("refused", self.name, f"{node.op.name} stays in floats: {reason}", node=node)

    def _static(
        self, model: Model, layers: list[Node], tables: list[Node], kernels: Integers, ctx: Context
    ) -> None:
        layers = products_of(model.graph, layers)
        plan = placed(model.graph, layers, tables, kernels)
        self.insert(model, plan, self.seen(model, plan, ctx), kernels, ctx)

    def seen(self, model: Model, plan: Placement, ctx: Context) -> dict[Value, Statistic]:
        """What the method wants to know of the values of a plan, from all samples."""
        found: dict[Value, Statistic] = {value: statistic(self.method) for value in plan.values}
        if found:
            self._observe(ctx)(model, found)
        return found

    def insert(
        self, model: Model, plan: Placement, seen: Mapping[Value, Statistic], kernels: Integers, ctx: Context
    ) -> None:
        """Carry out a plan, with scales from what was seen."""
        affines = self._affines(plan, seen, kernels)
        inserter = Inserter(model.graph, kernels, self.per_channel, self.weights)
        reference = inserter.reference(model) if self.repairs else None
        with ctx.rewrite(self.name, "", [*plan.layers, *plan.tables], inserter.created):
            inserter.static(plan, affines)
        if reference is not None:
            self._repair(model, plan.layers, reference, kernels, ctx)

    def dynamic(
        self, model: Model, graph: Graph, layers: list[Node], tables: list[Node], kernels: Integers, ctx: Context
    ) -> None:
        """Quantize layers of one graph by what is found at run time, and tables."""
        layers = [node for node in layers if node.op.key not in kernels.closed]
        layers = products_of(graph, [node for node in layers if not self._is_narrow(node, kernels, ctx)])
        inserter = Inserter(graph, kernels, self.per_channel, self.weights)
        reference = inserter.reference(model) if self.repairs and graph is model.graph else None
        with ctx.rewrite(self.name, "", [*layers, *tables], inserter.created):
            inserter.dynamic(layers, tables)
        if reference is not None:
            self._repair(model, layers, reference, kernels, ctx)

    def _is_narrow(self, node: Node, kernels: Integers, ctx: Context) -> bool:
        """True for a layer of too few rows to read weights that alone are integers."""
        x = node.inputs[0]
        rows = None if x is None or x.shape is None else x.shape[:-1]
        if node.op.key in kernels.dynamic or rows is None or not all(isinstance(size, int) for size in rows):
            return False
        count = prod(size for size in rows if isinstance(size, int))
        if count < kernels.alone_rows and ctx.wants_remarks:
            why = f"weights that alone are integers are read with {kernels.alone_rows} rows and more"
            ctx.remark("refused", self.name, f"{node.op.name} stays in floats: {why}", node=node)
        return count < kernels.alone_rows

    @property
    def repairs(self) -> bool:
        """True if layers are changed after quantization by what they read then."""
        return bool(self.correct) or self.rounding == "gptq"

    def _repair(
        self, model: Model, layers: list[Node], reference: Reference, kernels: Integers, ctx: Context
    ) -> None:
        observe = self._observe(ctx)
        if self.rounding == "gptq":
            round_weights(model, layers, reference, observe, weight_scheme(kernels.reduced))
        if self.correct:
            correct_biases(model, layers, reference, observe, self.correct)

    def _observe(self, ctx: Context) -> Observe:
        if ctx.observe is None:
            raise UsageError("correct, rounding=gptq and static scales need samples: give --calib", source="--passes")
        return ctx.observe

    def _affines(
        self, plan: Placement, seen: Mapping[Value, Statistic], kernels: Integers
    ) -> Mapping[Value, Affine]:
        """Scale and zero point of each group of values."""
        plain = Scheme(kernels.activations, symmetric=not kernels.zero_points)
        found: dict[Value, Affine] = {}
        for root, members in plan.groups().items():
            scheme = Scheme(I8, symmetric=True) if root in plan.signed else plain
            ranges = [chosen_range(seen[value], self.method, scheme, self.percentile) for value in members]
            found[root] = affine_of(min(low for low, _ in ranges), max(high for _, high in ranges), scheme)
        return found
