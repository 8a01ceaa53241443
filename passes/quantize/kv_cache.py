"""kv-cache: keys and values that a decoder keeps from token to token, as 8-bit integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Graph, Model, Node, Value
from ...ir.errors import UsageError
from ...ir.tensor import Array
from ...ir.types import F32, I8, tensor_type
from ..base import Context, Pass
from ..caches import caches
from .observers import Statistics

LARGEST = 127  # of the codes: symmetric, as kernels of attention read them
_SMALLEST = 2.0**-100  # a scale, for a channel that was 0 on all samples


class Cache(NamedTuple):
    """An input f32 [batch, heads, past, size], the Concat that appends what is new, and the place of its output."""

    past: Value
    append: Node
    output: int
    heads: int
    size: int


@dataclass(frozen=True)
class KVCache(Pass):
    """The caches of a decoder, inputs [batch, heads, past, size] that outputs continue, become i8: a quarter of them.

    It changes how the model is called: what was f32 in those inputs and outputs is i8. What is new is quantized once,
    as it is appended, c = clip(round(x / s)), and attention reads c s of all of it, so that steps do not add errors of
    rounding to what is there. There is one scale s for each channel of each head (`scales=channel`), since keys have
    channels that are large in all tokens (Z. Liu et al., KIVI, 2024), or one for each cache (`scales=tensor`): the
    largest magnitude on samples, by 127. Larger numbers are cut there.

    It belongs before the target's forms of attention, which take such a cache into the operator where they can.
    """

    name: ClassVar[str] = "kv-cache"
    lossy: ClassVar[bool] = True
    bits: int = 8
    scales: str = "channel"

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any cache was changed. Raises UsageError for bad options, without samples, and without caches."""
        if self.bits != 8:
            raise UsageError(f"bits of {self.name} is 8, not {self.bits}", source="--passes")
        if self.scales not in ("channel", "tensor"):
            raise UsageError(f"scales of {self.name} is one of channel, tensor; not {self.scales}", source="--passes")
        found = _appended(model.graph)
        if not found:
            raise UsageError(
                "there is no key-value cache to quantize: no output is an input f32 [batch, heads, past, size] with a "
                "Concat of what is new", source=self.name
            )  # fmt: skip
        if ctx.observe is None:
            raise UsageError(f"{self.name} needs samples to measure on: give --calib", source="--passes")
        wanted = [cache for cache in found if ctx.allow(self.name, "", cache.append)]
        seen = {cache.append.output: Magnitudes() for cache in wanted}
        ctx.observe(model, seen)
        for cache in wanted:
            batch = cache.past.shape[0] if cache.past.shape else None
            if batch != 1:
                slower = "made floats as a whole at each step: attention that reads codes takes one sequence at a time"
                ctx.decline("refused", self.name, "", cache.append, slower, unlock=f"--shape {batch}=1")
            self._quantize(model.graph, cache, seen[cache.append.output].largest, ctx)
        return bool(wanted)

    def _quantize(self, graph: Graph, cache: Cache, largest: Array | None, ctx: Context) -> None:
        """Keep one cache as codes."""
        heads, size = cache.heads, cache.size
        peak = np.zeros((heads, size)) if largest is None else largest
        peak = np.full((heads, size), peak.max()) if self.scales == "tensor" else peak
        scale = np.maximum(peak / LARGEST, _SMALLEST).astype(np.float32).reshape(1, heads, 1, size)
        created: list[Node] = []
        with ctx.rewrite(self.name, "", [cache.append], created):
            cache.past.type = tensor_type(I8, cache.past.shape)
            b = Builder(graph, cache.append, cache.append.loc)
            new = quantized(b, cache.append.inputs[1], scale)
            codes = b.node("Concat", [cache.past, new], {"axis": 2}, outputs=[cache.append.output.hint]).output
            outputs = list(graph.outputs)
            outputs[cache.output] = codes
            graph.set_outputs(outputs, list(graph.output_names))
            cache.append.output.replace_with(dequantized(b, codes, scale))
            graph.erase(cache.append)
            created += b.created


class Magnitudes(Statistics):
    """The largest absolute value of each channel of each head, of [batch, heads, length, size]."""

    grows: ClassVar[tuple[str, ...]] = ("largest",)

    def __init__(self) -> None:
        self.largest: Array | None = None

    def add(self, array: Array) -> None:
        """Take in the value on one sample. Raises ValueError for NaN and infinity."""
        if not array.size:
            return
        found = np.abs(array).max((0, 2))
        if not np.isfinite(found).all():
            raise ValueError("it holds NaN or infinity")
        self.largest = found if self.largest is None else np.maximum(self.largest, found)


def quantized(b: Builder, value: Value | None, scale: Array) -> Value:
    """Codes of a value by scales that broadcast: clip(round(x / s)), ties to even."""
    ratio = b.op("Div", value, b.const(scale, F32))
    return b.op("QuantizeLinear", ratio, b.const(1.0, F32), b.const(0, I8))


def dequantized(b: Builder, codes: Value, scale: Array) -> Value:
    """c s."""
    return b.op("Mul", b.op("Cast", codes, to=F32.onnx), b.const(scale, F32))


def _appended(graph: Graph) -> list[Cache]:
    """The caches that a Concat grows, in fp32 and with fixed heads and sizes."""
    found = []
    for place, output in caches(graph).items():
        past, append = graph.inputs[place], graph.outputs[output].producer
        if append is None or append.op.key != "Concat" or past.dtype is not F32 or past.shape is None:
            continue
        heads, size = past.shape[1], past.shape[3]
        has_others = any(user is not append and user.op.key != "Shape" for user in past.users)
        if isinstance(heads, int) and isinstance(size, int) and not has_others:
            found.append(Cache(past, append, output, heads, size))
    return found
