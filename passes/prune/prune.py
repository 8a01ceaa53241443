"""prune: channels, attention heads and neurons go, with all that depends on them; smaller dense layers are left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...ir.clone import clone_model
from ...ir.core import Model, Node
from ...ir.errors import UsageError
from ...ir.tensor import Array
from ...ir.types import F32
from ..base import Context, Pass, place_of
from ..lowrank.ranks import Choice, allocate
from ..naming import check_patterns, is_named
from ..quantize.difference import differences
from ..repair.products import groups_of, matrices, moments
from ..repair.refit import Original, refit
from .cut import apply_cut
from .families import CHANNELS, HEADS, NEURONS, STREAMS, Family, Work, families_of
from .follow import Following, Read, follow
from .scores import Curve, Reader, by_activations, by_magnitude, by_reconstruction

AUTO, MAGNITUDE, ACTIVATIONS, RECONSTRUCTION = "auto", "magnitude", "activations", "reconstruction"
UNIFORM, GLOBAL = "uniform", "global"
_PROBED = 0.75  # of the units of a family, where its weight is measured
_LEFT = 0.75  # of the arithmetic, where nothing is said
_STEPS = 60  # of the bisection over prices
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Gather"})


@dataclass(frozen=True)
class Prune(Pass):
    """Channels of convolutions, attention heads and neurons of dense layers go; what is left is dense and smaller.

    How much is said in one of two ways. `left`: the share of the multiplications of all layers that is left, 0.75 where
    nothing is said; each layer gives what costs the least for what it saves. Or `channels`, `heads`, `neurons` and
    `streams`: the share of each kind that is left, of every layer (`ranking` uniform) or of all together, where it
    costs least (global). Streams are the axes that residual additions and layer normalizations hold together: they are
    cut only where `streams` says so, and what a normalization computes of fewer numbers is not what it computed before.

    What goes is chosen by `importance`: magnitude (the squares of all weights that go), activations (times the mean
    square of what meets them, on samples from --calib), reconstruction (what is lost once the weights that are left
    make up for it), or auto: the last where there are samples, else the first. Where layers are compared with each
    other, each is cut alone first, and what that does to the outputs is measured on `probe` samples (0: not). With
    samples the layers that read what was cut are fitted again to the original's outputs, on at most `repair` samples; 0
    leaves weights as they are.

    All that depends on a channel goes with it; numbers that are left are multiples of `multiple` where there are enough
    of them. Where a channel cannot be followed, a remark says which operator was in the way. `layers`, if given, names
    the only layers that are cut, and `keep` those that are not (nodes or weights, with * and ?).
    """

    name: ClassVar[str] = "prune"
    lossy: ClassVar[bool] = True
    settles: ClassVar[bool] = True
    left: float = 0.0
    channels: float = 1.0
    heads: float = 1.0
    neurons: float = 1.0
    streams: float = 1.0
    importance: str = AUTO
    ranking: str = UNIFORM
    multiple: int = 8
    repair: int = 64
    probe: int = 16
    layers: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    memory: int = 512 << 20

    def run(self, model: Model, ctx: Context) -> bool:
        """True if something was cut. Raises UsageError for bad options, and for importance that needs samples."""
        self._check()
        importance = self.importance
        if importance == AUTO:
            importance = MAGNITUDE if ctx.observe is None else RECONSTRUCTION
        if importance != MAGNITUDE and ctx.observe is None:
            text = f"importance={importance} of {self.name} needs samples (--calib); magnitude needs none"
            raise UsageError(text, source="--passes")
        found = follow(model.graph)
        families = self._chosen(families_of(found), ctx)
        if not families:
            return False
        curves = self._curves(model, found, families, importance, ctx)
        if self.probe and ctx.observe is not None and (min(self.shares.values()) == 1 or self.ranking == GLOBAL):
            curves = [self._weighed(model, found, *pair, ctx) for pair in zip(families, curves)]
        alive = self._alive(found, families, curves, ctx)
        if alive.all():
            return False
        original = Original(model) if ctx.observe is not None and self.repair else None
        self._cut(found, families, alive, ctx)
        if original is not None:
            _repair(model, found, alive, original, ctx, self.repair)
        return True

    @property
    def shares(self) -> dict[str, float]:
        """What is left of each kind."""
        return {CHANNELS: self.channels, HEADS: self.heads, NEURONS: self.neurons, STREAMS: self.streams}

    def _check(self) -> None:
        def bad(text: str) -> UsageError:
            return UsageError(f"{text} of {self.name}", source="--passes")

        for name, value in {**self.shares, "left": self.left or _LEFT}.items():
            if not 0 < value <= 1:
                raise bad(f"{name}={value:g} is no share above 0, of 1 at most,")
        if self.left and min(self.shares.values()) < 1:
            raise bad("left, and shares of kinds, say the same in different ways: give one")
        if self.multiple < 1:
            raise bad(f"multiple={self.multiple} is less than 1")
        for name, number in (("repair", self.repair), ("probe", self.probe)):
            if number < 0:
                raise bad(f"{name}={number} is less than 0")
        known = (AUTO, MAGNITUDE, ACTIVATIONS, RECONSTRUCTION)
        for name, word, words in (("importance", self.importance, known), ("ranking", self.ranking, (UNIFORM, GLOBAL))):
            if word not in words:
                raise UsageError(f"{name} of {self.name} is {' or '.join(words)}, not {word!r}", source="--passes")

    # What may go

    def _chosen(self, families: list[Family], ctx: Context) -> list[Family]:
        names = {name for family in families for name in family.names}
        for option, patterns in (("layers", self.layers), ("keep", self.keep)):
            check_patterns(self.name, option, patterns, names)
        is_by_left = min(self.shares.values()) == 1
        chosen = []
        for family in families:
            if (self.layers and not is_named(family.names, self.layers)) or is_named(family.names, self.keep):
                continue
            wanted = family.kind != STREAMS if is_by_left else self.shares[family.kind] < 1
            if not wanted:
                continue
            budget = ctx.kept.get(place_of(self.name, "", family.node))
            if budget is not None:
                ctx.decline("refused", self.name, "", family.node, f"its {family.kind} stay whole: {budget}")
            elif len(family.units) < 2:
                if family.reason is not None:
                    where = " of ".join(filter(None, [family.reason.node.op.key, *family.reason.node.loc[:1]]))
                    said = f"its {family.kind} stay whole: {family.reason.text} ({where})"
                    ctx.decline("missed", self.name, "", family.node, said)
            else:
                chosen.append(family)
        return chosen

    # What goes

    def _curves(
        self, model: Model, found: Following, families: list[Family], importance: str, ctx: Context
    ) -> list[Curve]:
        """What each family loses by how many of its units go; by weights where no layer reads them that is known."""
        roots = found.labels.roots
        squares: Array = np.zeros(len(roots))
        for node, operand, axis, labels in found.cuts:
            value = node.inputs[operand]
            if node.op.key in _WEIGHTED and operand < 2 and value is not None and value.const is not None:
                array = np.moveaxis(value.const.read(), axis, 0).reshape(len(labels), -1)
                np.add.at(squares, roots[labels], np.square(array, dtype=np.float64).sum(1))
        curves = [by_magnitude(squares[family.units]) for family in families]
        if importance == MAGNITUDE:
            return curves
        measure = by_activations if importance == ACTIVATIONS else by_reconstruction
        for numbers, readers in self._readers(model, found, families, ctx):
            for number in numbers:
                if readers[number]:
                    curves[number] = measure(readers[number], len(families[number].units))
        return curves

    def _weighed(self, model: Model, found: Following, family: Family, curve: Curve, ctx: Context) -> Curve:
        """A curve in squared relative errors of the model's outputs, by what one point of it does to them."""
        assert ctx.observe is not None
        count = family.nearest(_PROBED, self.multiple)
        lost = curve.losses[len(family.units) - count]
        if lost <= 0:
            return curve
        alive = _left(found, [family], [curve], [count])
        copy, _ = clone_model(model)
        same = follow(copy.graph)  # as deterministic as the graph is the same: labels agree
        apply_cut(same, alive)  # and not repaired: what is fitted to few samples says little of others
        errors = differences(model, copy, ctx.observe, self.probe)
        error = float(np.mean(errors)) if errors else 0.0
        if ctx.wants_remarks:
            said = f"{error:.2%} error of the outputs with {count} of {family.total} {family.kind}"
            ctx.remark("applied", self.name, said, node=family.node)
        return Curve(curve.order, curve.losses * (error**2 / lost))

    def _readers(
        self, model: Model, found: Following, families: list[Family], ctx: Context
    ) -> Iterator[tuple[list[int], dict[int, list[Reader]]]]:
        """The numbers of families, and what reads each, part by part as memory allows."""
        roots = found.labels.roots
        of = np.full(len(roots), -1)
        for number, family in enumerate(families):
            of[family.units] = number
        reads: dict[int, list[Read]] = {number: [] for number in range(len(families))}
        for read in found.reads:
            if _is_float(read.node):
                for number in np.unique(of[roots[read.labels]]).tolist():
                    if number >= 0:
                        reads[number].append(read)
        for part in _within(reads, self.memory):
            nodes = list(dict.fromkeys(read.node for number in part for read in reads[number]))
            seen = moments(model, nodes, ctx, self.repair or 64) if nodes else {}
            readers: dict[int, list[Reader]] = {}
            for number in part:
                unit = np.full(len(roots), -1)
                unit[families[number].units] = np.arange(len(families[number].units))
                readers[number] = [
                    reader
                    for read in reads[number]
                    for reader in _readers_of(read, unit[roots[read.labels]], seen[read.node].covariance)
                ]
            yield part, readers

    def _alive(self, found: Following, families: list[Family], curves: list[Curve], ctx: Context) -> Array:
        """Which labels are left."""
        if min(self.shares.values()) == 1:
            counts = self._by_work(found, families, curves, ctx)
        elif self.ranking == GLOBAL:
            counts = self._by_kind(families, curves)
        else:
            counts = [family.nearest(self.shares[family.kind], self.multiple) for family in families]
        for number, family in enumerate(families):
            if counts[number] < len(family.units) and not ctx.allow(self.name, "", family.node):
                counts[number] = len(family.units)
        return _left(found, families, curves, counts)

    def _by_kind(self, families: list[Family], curves: list[Curve]) -> list[int]:
        """Counts that lose the least, with a share of all units of each kind left."""
        counts = [len(family.units) for family in families]
        for kind, share in self.shares.items():
            numbers = [number for number, family in enumerate(families) if family.kind == kind]
            if not numbers or share == 1:
                continue
            choices = [self._choice(families[n], curves[n], 1.0) for n in numbers]
            limit = share * sum(families[n].total for n in numbers) - sum(families[n].fixed for n in numbers)
            for number, each, index in zip(numbers, choices, allocate(choices, limit)):
                counts[number] = int(each.ranks[index])
        return counts

    def _by_work(self, found: Following, families: list[Family], curves: list[Curve], ctx: Context) -> list[int]:
        """Counts that lose the least, with a share of the arithmetic left."""
        work = Work(found, ctx.cost)
        whole = work.total(np.ones(len(found.labels.roots), bool))
        limit = (self.left or _LEFT) * whole
        each = [sum(work.of[node] for node in family.touched) / max(whole, 1.0) for family in families]
        choices = [self._choice(f, curve, cost / f.total) for f, curve, cost in zip(families, curves, each)]

        def counts(price: float) -> list[int]:
            return [int(choice.ranks[choice.best(price)]) for choice in choices]

        low, high = 0.0, 1e-6
        while high < 1e9 and work.total(_left(found, families, curves, counts(high))) > limit:
            low, high = high, high * 10
        for _ in range(_STEPS):
            middle = (low + high) / 2
            is_within = work.total(_left(found, families, curves, counts(middle))) <= limit
            low, high = (low, middle) if is_within else (middle, high)
        return counts(high)

    def _choice(self, family: Family, curve: Curve, cost: float) -> Choice:
        """How many units may be left: `ranks` of the choice are counts."""
        counts = np.array(family.kept_counts(self.multiple)[::-1])
        return Choice(counts, counts * cost, curve.losses[len(family.units) - counts])

    def _cut(self, found: Following, families: Sequence[Family], alive: Array, ctx: Context) -> None:
        cut = [family for family in families if not alive[family.units].all()]
        created: list[Node] = []
        with ctx.rewrite(self.name, "", [family.node for family in cut], created):
            created += apply_cut(found, alive)
        if ctx.wants_remarks:
            for family in cut:
                left = int(np.count_nonzero(alive[family.units])) + family.fixed
                ctx.remark("applied", self.name, f"{left} of {family.total} {family.kind} are left", node=family.node)


def _repair(
    model: Model, found: Following, alive: Array, original: Original, ctx: Context, limit: int
) -> None:
    """Fit the layers that read what was cut to what the original gives."""
    layers = [read.node for read in found.reads if not alive[read.labels].all() and _is_float(read.node)]
    cut = ((node, alive[labels]) for node, labels in found.made.items())
    kept = {node: np.flatnonzero(left) for node, left in cut if not left.all()}
    refit(model, layers, original, ctx, limit, kept)


def _is_float(node: Node) -> bool:
    weight = node.inputs[1]
    return weight is not None and weight.dtype is F32


def _left(found: Following, families: list[Family], curves: list[Curve], counts: list[int]) -> Array:
    """Which labels are left when each family has so many units."""
    roots = found.labels.roots
    alive = np.ones(len(roots), bool)
    for family, curve, count in zip(families, curves, counts):
        alive[family.units[curve.order[: len(family.units) - count]]] = False
    return alive[roots]


def _readers_of(read: Read, units: Array, covariance: Array) -> Iterator[Reader]:
    """A problem for each group of a layer; `units` i64 [channels]."""
    weights, groups = matrices(read.node), groups_of(read.node)
    size = max(float(np.einsum("gio,gij,gjo->", weights, covariance, weights, optimize=True)), 1e-300)
    width = len(units) // groups
    places = weights.shape[1] // width
    for group in range(groups):
        of_input = np.repeat(units[group * width : (group + 1) * width], places)
        yield Reader(covariance[group], weights[group], of_input, size)


def _within(reads: dict[int, list[Read]], memory: int) -> Iterator[list[int]]:
    """Families in parts whose covariances take about `memory` bytes at most."""
    part: list[int] = []
    taken = 0
    for number, of in reads.items():
        size = sum(matrices(read.node).shape[1] ** 2 * groups_of(read.node) * 16 for read in of)
        if part and taken + size > memory:
            yield part
            part, taken = [], 0
        part.append(number)
        taken += size
    if part:
        yield part
