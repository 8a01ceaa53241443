"""drop-layers: whole layers go, those of which the outputs of the model show the least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...ir.builder import Builder
from ...ir.clone import clone_model
from ...ir.core import Model, Value
from ...ir.errors import UsageError
from ...ir.tensor import Array
from ..base import Context, Pass
from ..naming import choose_layers
from ..quantize.difference import differences, drop_dead
from ..quantize.observers import Statistics
from ..repair.guarded import held_out, refit_where_it_serves
from ..repair.refit import Original
from ..settings import check_least, check_word
from .residual import Layer, drop, layers_of, readers_of

HARM, INFLUENCE = "harm", "influence"
_SMALL = 1e-12  # lengths by which nothing is divided


@dataclass(frozen=True)
class DropLayers(Pass):
    """Residual blocks and layers of transformers are left out whole: what comes in goes on as it is.

    What can go is what stands between two values of a stream of equal types with nothing else read from outside:
    blocks around which a shortcut leads, and attention with the feed-forward block behind it, which go together unless
    `whole` is false. A layer that writes a cache, or changes the size, stays.

    `count` of them go, by what `by` says: harm (the mean relative L2 error of the model's outputs on `probe` samples,
    when a layer is left out beside those that are gone already; one after the other), or influence (1 less the mean
    cosine of what comes in and what comes out, position by position: ShortGPT, X. Men et al., arXiv 2403.03853; all at
    once). Both need samples from --calib.

    With `repair` the layers that read what is left are fitted again to the original's outputs on that many samples
    behind the first `probe`, where that brings the outputs of the model nearer on these. `layers`, if given, names the
    only layers that may go, `keep` those that may not (nodes or weights of them, with * and ?).
    """

    name: ClassVar[str] = "drop-layers"
    lossy: ClassVar[bool] = True
    count: int = 1
    by: str = HARM
    whole: bool = True
    probe: int = 16
    repair: int = 0
    layers: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    def run(self, model: Model, ctx: Context) -> bool:
        """True if a layer is gone. Raises UsageError for bad options, without samples, and for too few layers."""
        self._check(ctx)
        layers = layers_of(model.graph, self.whole)
        chosen = choose_layers(self, layers, lambda layer: [layer.node, *layer.nodes], ctx)
        if self.count > len(chosen):
            text = f"count={self.count} of {self.name}: {len(chosen)} layers can be left out"
            raise UsageError(text, source="--passes")
        going = self._by_influence(model, chosen, ctx) if self.by == INFLUENCE else self._by_harm(model, chosen, ctx)
        going = [index for index in sorted(going) if ctx.allow(self.name, "", chosen[index].node)]
        if not going:
            return False
        original = Original(model)
        gone = [chosen[index] for index in going]
        readers = list(dict.fromkeys(node for layer in gone for node in readers_of(layer.end)))
        with ctx.rewrite(self.name, "", [layer.node for layer in gone], []):
            drop(gone)
        if self.repair:
            left = [node for node in readers if node.graph is not None]
            held = held_out(model, ctx, self.probe)
            refit_where_it_serves(model, left, original, ctx, self.repair, held, self.name)
        return True

    def _check(self, ctx: Context) -> None:
        check_word(self, "by", (HARM, INFLUENCE))
        check_least(self, 1, "count", "probe")
        check_least(self, 0, "repair")
        if ctx.observe is None:
            raise UsageError(f"{self.name} chooses layers on samples (--calib)", source="--passes")

    def _by_harm(self, model: Model, layers: list[Layer], ctx: Context) -> list[int]:
        assert ctx.observe is not None
        going: list[int] = []
        for _ in range(self.count):
            errors: dict[int, float] = {}
            for index in set(range(len(layers))) - set(going):
                copy, of = clone_model(model)
                drop(layers[each].copied(of) for each in sorted([*going, index]))
                found = differences(model, copy, ctx.observe, self.probe)
                errors[index] = float(np.mean(found)) if found else 0.0
            best = min(errors, key=errors.__getitem__)
            going.append(best)
            if ctx.wants_remarks:
                most = max(errors.values())
                said = f"it is left out: outputs are off by {errors[best]:.2%} then, {most:.2%} without the worst"
                ctx.remark("applied", self.name, said, node=layers[best].node)
        return going

    def _by_influence(self, model: Model, layers: list[Layer], ctx: Context) -> list[int]:
        found = influences(model, layers, ctx, self.probe)
        going = np.argsort(found, kind="stable")[: self.count].tolist()
        if ctx.wants_remarks:
            for index in going:
                said = f"it is left out: its influence is {found[index]:.4f}, that of others up to {found.max():.4f}"
                ctx.remark("applied", self.name, said, node=layers[index].node)
        return [int(index) for index in going]


class _Mean(Statistics):
    """The mean of a number over samples."""

    grows = ("total", "count")

    def __init__(self) -> None:
        self.total = 0.0
        self.count = 0

    def add(self, array: Array) -> None:
        """Take in the number of one sample. Raises ValueError for NaN and infinity."""
        if not np.isfinite(array).all():
            raise ValueError("it holds NaN or infinity")
        self.total += float(array)
        self.count += 1


def influences(model: Model, layers: list[Layer], ctx: Context, limit: int) -> Array:
    """1 less the mean cosine of what comes into a layer and what comes out, over positions and samples; f64 [layers].

    Along the last axis, that of channels in values of four dimensions. Raises UsageError where a sample does not run.
    """
    copy, of = clone_model(model)
    b = Builder(copy.graph)
    wanted = [_cosine(b, of[layer.start], of[layer.end]) for layer in layers]
    copy.graph.set_outputs(wanted, [f"cosine.{number}" for number in range(len(wanted))])
    drop_dead(copy.graph)
    seen = {value: _Mean() for value in copy.graph.outputs}
    assert ctx.observe is not None
    ctx.observe(copy, seen, limit)
    return np.array([1.0 - seen[value].total / max(1, seen[value].count) for value in copy.graph.outputs])


def _cosine(b: Builder, x: Value, y: Value) -> Value:
    """The mean cosine of vectors of two values of one shape."""
    along = b.ints([1 if x.rank == 4 else -1])

    def dot(one: Value, other: Value) -> Value:
        return b.op("ReduceSum", b.op("Mul", one, other), along, keepdims=0)

    size = b.op("Sqrt", b.op("Mul", dot(x, x), dot(y, y)))
    least = b.const(np.array(_SMALL, np.float32))
    return b.op("ReduceMean", b.op("Div", dot(x, y), b.op("Max", size, least)), keepdims=0)
