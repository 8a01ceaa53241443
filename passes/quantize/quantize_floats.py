"""quantize-floats: products and convolutions in floats of 8 and 4 bits, where a target has kernels for them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from ...ir.clone import clone_model
from ...ir.core import Graph, Model, Node, Value
from ...ir.errors import UsageError
from ..base import Context, Pass
from .attentions import Attention, attentions
from .bias import correct_biases
from .gemms import is_turned, products_of
from .insert_floats import BLOCKS, FloatInserter, check_finite
from .observers import MinMax, MovingAverage, Statistic, percentile_range, statistic
from .placement import Keep, is_kept, refusal
from .small_floats import FORMATS, Floats, small_floats_of

METHODS = ("minmax", "average", "percentile")
_RANKS = (2, 3)  # of what may be quantized in blocks at run time


@dataclass(frozen=True)
class QuantizeFloats(Pass):
    """Products and convolutions with constant weights multiply floats of 8 or 4 bits, where the target has kernels for
    it.

    ``format`` = fp8: E4M3 with one scale for a tensor of activations, from the calibration samples, and one for a
    weight. ``method`` chooses the first: minmax, average (a moving one) or percentile (the middle ``percentile`` % of
    all numbers); as E4M3 is precise to a share of each number, large ones take nothing from the others and need not be
    cut off. With ``attention`` the products of attention are in fp8 as well, all four operands: queries, keys, values,
    and the probabilities, whose scale is 1/448.

    ``format`` = nvfp4: E2M1 with E4M3 scales for blocks of 16, of activations at run time, and one number for each
    tensor, from the samples. ``format`` = mxfp8: E4M3 with powers of two for blocks of 32; no samples are needed. Both
    for products alone. ``correct``: biases make up for what quantization shifts the mean of each channel by, layer by
    layer, on at most ``correct`` samples. ``keep`` lists what stays: operators and source locations, with wildcards, or
    numbers of layers, the first of those that could be quantized being 0.
    """

    name: ClassVar[str] = "quantize-floats"
    lossy: ClassVar[bool] = True
    format: str = "fp8"
    method: str = "minmax"
    percentile: float = 99.999
    attention: bool = True
    correct: int = 0
    keep: Keep = ()

    def run(self, model: Model, ctx: Context) -> bool:
        """True if anything was quantized. Raises UsageError for bad options, for a format that the target lacks, and
        where samples are needed; InvalidModel for a weight with NaN or infinity."""
        kernels = self._kernels(ctx)
        graph = model.graph
        layers = [n for n in self._layers(graph, kernels, ctx) if ctx.allow(self.name, "", n)]
        wanted = self.format == "fp8" and self.attention and kernels.heads is not None
        could = self._attentions(graph, kernels, ctx) if wanted else []
        found = [attention for attention in could if ctx.allow(self.name, "", attention.result)]
        if not layers and not found:
            return False
        layers = products_of(graph, layers)
        for node in layers:
            check_finite(node.inputs[1])
        values = dict.fromkeys(_operand(node) for node in layers)
        values |= dict.fromkeys(value for attention in found for value in attention.operands)
        largest = {} if self.format == "mxfp8" else self._largest(model, list(values), ctx)
        if self.correct and ctx.observe is None:
            raise UsageError("correct needs samples: give --calib", source="--passes")
        reference = clone_model(model) if self.correct else None
        inserter = FloatInserter(graph, self.format, kernels, largest)
        rewritten = [*layers, *(node for attention in found for node in attention)]
        with ctx.rewrite(self.name, "", rewritten, inserter.created):
            for node in layers:
                inserter.layer(node)
            for attention in found:
                inserter.attention(attention)
        if reference is not None and ctx.observe is not None:
            correct_biases(model, layers, reference, ctx.observe, self.correct)
        return True

    def _kernels(self, ctx: Context) -> Floats:
        if self.format not in FORMATS:
            raise UsageError(f"format is one of {', '.join(FORMATS)}, not {self.format!r}", source="--passes")
        if self.method not in METHODS:
            raise UsageError(f"method is one of {', '.join(METHODS)}, not {self.method!r}", source="--passes")
        kernels = small_floats_of(ctx.capabilities)
        if self.format not in kernels.formats:
            has = ", ".join(sorted(kernels.formats)) or "no floats of 8 and 4 bits"
            raise UsageError(f"the target does not multiply in {self.format}; it has {has}", source="--passes")
        return kernels

    def _layers(self, graph: Graph, kernels: Floats, ctx: Context) -> list[Node]:
        found, number = [], 0
        for node in graph:
            if node.op.key not in kernels.layers:
                continue
            why = refusal(node) or self._misfit(node, kernels)
            if not why and (number in self.keep or is_kept(node, self.keep)):
                why, number = "it is in keep", number + 1
            elif not why:
                found.append(node)
                number += 1
            if why:
                self._refuse(node, why, ctx)
        return found

    def _misfit(self, node: Node, kernels: Floats) -> str:
        x, w = _operand(node), node.inputs[1]
        assert w is not None and w.const is not None
        block = BLOCKS.get(self.format)
        if node.op.key == "Conv":
            if block is not None:
                return f"there are no convolutions in {self.format}"
            if node.attr("group") != 1:
                return "it convolves channels apart, which takes no time but that of reading"
            return "its window is too large" if prod(w.const.shape[2:]) > kernels.taps else ""
        if block is None:
            return ""
        if x.rank not in _RANKS:
            return "what it multiplies has neither two nor three dimensions"
        inputs = w.const.shape[1 if is_turned(node) else 0]
        return "" if inputs % block == 0 else f"blocks of {block} do not divide its {inputs} inputs"

    def _attentions(self, graph: Graph, kernels: Floats, ctx: Context) -> list[Attention]:
        found = []
        assert kernels.heads is not None
        least, most = kernels.heads
        for attention in attentions(graph):
            head = attention.head
            if is_kept(attention.scores, self.keep) or is_kept(attention.result, self.keep):
                self._refuse(attention.result, "it is in keep", ctx)
            elif head is None or not least <= head <= most:
                self._refuse(attention.result, f"attention is one kernel for heads of {least} to {most}", ctx)
            elif any(isinstance(size, int) and size < kernels.length for size in attention.lengths):
                why = f"attention is one kernel from {kernels.length} queries and keys on"
                self._refuse(attention.result, why, ctx)
            else:
                found.append(attention)
        return found

    def _refuse(self, node: Node, why: str, ctx: Context) -> None:
        if ctx.wants_remarks:
            ctx.remark("refused", self.name, f"{node.op.name} stays as it is: {why}", node=node)

    def _largest(self, model: Model, values: list[Value], ctx: Context) -> dict[Value, float]:
        """The largest magnitude of each value, as the method sees it."""
        if ctx.observe is None:
            raise UsageError(f"scales of {self.format} need samples: give --calib", source="--passes")
        seen: dict[Value, Statistic] = {value: statistic(self.method) for value in values}
        ctx.observe(model, seen)
        return {value: self._magnitude(found) for value, found in seen.items()}

    def _magnitude(self, seen: Statistic) -> float:
        if isinstance(seen, (MinMax, MovingAverage)):
            return float(seen.magnitude)
        return max(abs(end) for end in percentile_range(seen, self.percentile))


def _operand(node: Node) -> Value:
    x = node.inputs[0]
    assert x is not None
    return x
