"""prune: channels, attention heads and neurons go, with all that depends on them; smaller dense layers are left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...ir.core import Model, Node
from ...ir.errors import UsageError
from ...ir.tensor import Array
from ..allocation import Choice, allocate, lowest_price
from ..base import Context, Pass
from ..naming import choose_layers
from ..repair.guarded import held_out, refit_where_it_serves
from ..repair.refit import Original
from ..settings import AUTO, by_samples, check_least, check_share, check_word
from .compensate import compensate, shift_biases
from .cut import apply_cut
from .families import CHANNELS, HEADS, NEURONS, STREAMS, Family, Work, families_of
from .follow import Following, follow
from .measures import ACTIVATIONS, MAGNITUDE, RECONSTRUCTION, Measures, left_of, repaired
from .profit import share_of_time
from .scores import Curve

UNIFORM, GLOBAL = "uniform", "global"
_PROBED = 0.75  # of the units of a family, where its weight is measured
_FASTER = 0.99  # of the time, for which nothing needs to go
_LEFT = 0.75  # of the arithmetic, where nothing is said


@dataclass(frozen=True)
class Prune(Pass):
    """Channels of convolutions, attention heads and neurons of dense layers go; what is left is dense and smaller.

    How much is said in one of two ways. `left`: the share of the multiplications of all layers that is left, 0.75 where
    nothing is said; each layer gives what costs the least for what it saves. Or `channels`, `heads`,
    `neurons` and `streams`: the share of each kind that is left, of every layer (`ranking` uniform) or of all together,
    where it costs least (global). Streams are the axes that residual additions and layer normalizations hold together:
    they are cut only where `streams` says so, and a normalization of fewer numbers computes something else.

    What goes is chosen by `importance`: magnitude (the squares of all weights that go), activations (times the mean
    square of what meets them, on samples from --calib), reconstruction (what is lost once the weights that are left
    make up for it), or auto: the last where there are samples, else the first. The first `probe` samples (a quarter of
    them at most; 0: none) are for judging alone. Where layers are compared with each other, each is cut alone first,
    and what that does to the outputs on these is measured; auto takes the importance that does the least there.

    With samples the layers that read what was cut make up for it by least squares, on at most `repair` samples behind
    the first ones; 0 leaves weights as they are. Then they are fitted to what the original gives, from what the cut
    layers before them give, where that serves on the first `probe` samples. `through`: so are all layers behind the
    first of them, which takes longer.

    All that depends on a channel goes with it; numbers that are left are multiples of `multiple` where there are enough
    of them. Layers that would be no faster by the target's estimate stay whole, unless `slower` allows it for the sake
    of size. Where a channel cannot be followed, a remark says which operator was in the way. `layers`, if given, names
    the only layers that are cut, and `keep` those that are not (nodes or weights, with * and ?).
    """

    name: ClassVar[str] = "prune"
    lossy: ClassVar[bool] = True
    settles: ClassVar[bool] = True
    left: float | None = None
    channels: float = 1.0
    heads: float = 1.0
    neurons: float = 1.0
    streams: float = 1.0
    importance: str = AUTO
    ranking: str = UNIFORM
    multiple: int = 8
    repair: int = 64
    through: bool = False
    slower: bool = False
    probe: int = 16
    layers: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    memory: int = 512 << 20

    def run(self, model: Model, ctx: Context) -> bool:
        """True if something was cut. Raises UsageError for bad options, and for importance that needs samples."""
        self._check()
        importance = by_samples(self, "importance", ctx, MAGNITUDE, RECONSTRUCTION)
        found = follow(model.graph)
        families = self._profitable(found, self._chosen(families_of(found), ctx), ctx)
        if not families:
            return False
        held = held_out(model, ctx, self.probe)
        measures = Measures(model, found, ctx, self.repair or 64, self.memory, held)
        if held and (min(self.shares.values()) == 1 or self.ranking == GLOBAL):
            counts = [family.nearest(_PROBED, self.multiple) for family in families]
            known = (RECONSTRUCTION, ACTIVATIONS, MAGNITUDE) if self.importance == AUTO else (importance,)
            curves = measures.by_harm(families, known, counts, held, bool(self.repair))
        else:
            curves = measures.curves(families, importance)
        alive = self._alive(found, families, curves, ctx)
        if alive.all():
            return False
        original = Original(model) if ctx.observe is not None and self.repair else None
        shifts = compensate(original, found, alive, ctx, self.repair, held, self.memory) if original is not None else {}
        self._cut(found, families, alive, ctx)
        shift_biases(shifts, found, alive)
        if original is not None:
            layers, kept = repaired(found, alive, self.through)
            refit_where_it_serves(model, layers, original, ctx, self.repair, held, self.name, kept)
        return True

    @property
    def shares(self) -> dict[str, float]:
        """What is left of each kind."""
        return {CHANNELS: self.channels, HEADS: self.heads, NEURONS: self.neurons, STREAMS: self.streams}

    def _check(self) -> None:
        check_share(self, "left", *self.shares)
        if self.left is not None and min(self.shares.values()) < 1:
            said = f"left of {self.name}, and shares of kinds, say the same in different ways: give one"
            raise UsageError(said, source="--passes")
        check_least(self, 1, "multiple", "memory")
        check_least(self, 0, "repair", "probe")
        check_word(self, "importance", (AUTO, MAGNITUDE, ACTIVATIONS, RECONSTRUCTION))
        check_word(self, "ranking", (UNIFORM, GLOBAL))

    # What may go

    def _chosen(self, families: list[Family], ctx: Context) -> list[Family]:
        is_by_left = min(self.shares.values()) == 1
        chosen = []
        for family in choose_layers(self, families, lambda family: family.makers, ctx):
            wanted = family.kind != STREAMS if is_by_left else self.shares[family.kind] < 1
            if not wanted:
                continue
            if len(family.units) < 2:
                if family.reason is not None:
                    where = " of ".join(filter(None, [family.reason.node.op.key, *family.reason.node.loc[:1]]))
                    said = f"its {family.kind} stay whole: {family.reason.text} ({where})"
                    ctx.decline("missed", self.name, "", family.node, said)
            else:
                chosen.append(family)
        return chosen

    def _profitable(self, found: Following, families: list[Family], ctx: Context) -> list[Family]:
        """Those of which the target is faster with fewer units; for the others a remark."""
        chosen = []
        for family in families:
            count = family.nearest(min(_PROBED, self.shares[family.kind]), self.multiple)
            gone = family.units[: len(family.units) - count]
            alive = ~np.isin(found.labels.roots, gone)
            left = share_of_time(found, ctx.times, family.touched, alive)
            if left < _FASTER or not len(gone) or self.slower:
                chosen.append(family)
                continue
            kept = f"{count + family.fixed} of {family.total} {family.kind}"
            said = f"its {family.kind} stay whole: with {kept} it takes {left:.1%} of its time {ctx.times.source}"
            ctx.decline("refused", self.name, "", family.node, said, "slower=true")
        return chosen

    # What goes

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
        return left_of(found, families, curves, counts)

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
        limit = (_LEFT if self.left is None else self.left) * whole
        each = [sum(work.of[node] for node in family.touched) / max(whole, 1.0) for family in families]
        choices = [self._choice(f, curve, cost / f.total) for f, curve, cost in zip(families, curves, each)]

        def counts(price: float) -> list[int]:
            return [int(choice.ranks[choice.best(price)]) for choice in choices]

        def total(price: float) -> float:
            return work.total(left_of(found, families, curves, counts(price)))

        return counts(lowest_price(total, limit))

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
