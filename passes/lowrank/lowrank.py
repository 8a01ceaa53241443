"""low-rank: products with a large matrix become two with small ones, where that costs less and loses little."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import numpy as np

from ...ir.core import Model, Node, Value
from ...ir.errors import UsageError
from ...ir.ops.cost import TYPICAL, CostModel
from ...ir.tensor import Array, Tensor
from ..allocation import Choice, allocate
from ..base import Context, Pass
from ..naming import choose_layers
from ..portions import within
from ..quantize.observers import Several
from ..repair.bias import shift_bias
from ..repair.refit import Original, refit
from ..settings import AUTO, by_samples, check_least, check_number, check_share, check_word, refused
from .factors import Moments, Spectrum, square_of
from .layers import Layer, by_operand, kept_tensor, layers_of, put_split
from .ranks import PARAMETERS, TIME, choice, rank_for_energy

DEFAULT_LEFT = 0.75
AWARE, PLAIN = "aware", "plain"


@dataclass(frozen=True)
class LowRank(Pass):
    """MatMul, Gemm and 1 x 1 convolutions with a constant matrix become two products of a lower rank.

    How low is said in one of three ways. `left`: the share of the `of` (parameters, or time by the target's estimate)
    of all layers that is left, 0.75 unless another one is given; each layer gets the rank that loses the least of its
    outputs' variance for what it costs, and layers that read one value share their first factor where that loses less.
    `rank`: one rank for all, a share of the smaller side below 1. `energy`: the least rank that keeps this share of
    each layer's variance. Ranks are multiples of `multiple`.

    `method` is aware (the data's directions count: the inputs of each layer are seen on samples, from --calib), plain
    (singular values of the weights alone), or auto: aware where there are samples. With samples what the mean of the
    outputs loses goes into the biases, and with `repair` the second factors and biases are fitted, layer by layer in
    the order of the graph and on at most `repair` samples, to what the original gives.

    A layer whose two products would take as long as the one by the target's estimate stays whole, unless `slower`
    allows it for the sake of size, and so does what `keep` names; `layers`, if given, names the only ones that are
    split (weights or nodes, with * and ?).
    """

    name: ClassVar[str] = "low-rank"
    lossy: ClassVar[bool] = True
    settles: ClassVar[bool] = True
    left: float | None = None
    of: str = PARAMETERS
    rank: float | None = None
    energy: float | None = None
    method: str = AUTO
    multiple: int = 16
    repair: int = 16
    slower: bool = False
    layers: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    least: int = 1 << 14
    memory: int = 256 << 20

    def run(self, model: Model, ctx: Context) -> bool:
        """True if a layer was split. Raises UsageError for bad options, and for aware without samples."""
        self._check()
        is_aware = by_samples(self, "method", ctx, PLAIN, AWARE) == AWARE
        layers = self._chosen(model, ctx)
        if not layers:
            return False
        units = [unit for group in self._seen(model, layers, ctx if is_aware else None) for unit in self._units(group)]
        ranks = self._ranks(units, ctx)
        original = Original(model) if is_aware and self.repair else None
        made: list[Node] = []
        for unit, rank in zip(units, ranks):
            if rank and ctx.allow(self.name, "", unit.layers[0].node):
                self._split(unit, rank, ctx)
                made += [layer.node for layer in unit.layers]
        if original is not None and made:
            refit(model, made, original, ctx, self.repair)
        return bool(made)

    def _check(self) -> None:
        given = [name for name in ("left", "rank", "energy") if getattr(self, name) is not None]
        if len(given) > 1:
            said = f"{' and '.join(given)} of {self.name} say the same in different ways: give one"
            raise UsageError(said, source="--passes")
        check_share(self, "left", "energy")
        check_number(self, "rank")
        rank = self.rank
        if rank is not None and not (0 < rank < 1 or (rank >= 1 and float(rank).is_integer())):
            raise refused(self, "rank", "is neither a number of at least 1 nor a share below 1")
        check_least(self, 1, "multiple", "memory")
        check_least(self, 0, "repair", "least")
        check_word(self, "of", (PARAMETERS, TIME))
        check_word(self, "method", (AUTO, AWARE, PLAIN))

    @property
    def _left(self) -> float:
        return DEFAULT_LEFT if self.left is None else self.left

    # What is split

    def _chosen(self, model: Model, ctx: Context) -> list[Layer]:
        found, others = layers_of(model.graph, self.least)
        for node, reason in others:
            ctx.decline("missed", self.name, "", node, f"a weight stays whole: {reason}")
        return choose_layers(self, found, lambda layer: [layer.node], ctx)

    def _seen(self, model: Model, layers: list[Layer], ctx: Context | None) -> Iterator[list[_Seen]]:
        """Layers that multiply one value, with the directions of their weights; group by group, as memory allows."""
        for part in within(by_operand(layers), lambda group: group[0].inputs ** 2 * 8, self.memory):
            if ctx is None:
                yield from ([_Seen(layer, None, None) for layer in group] for group in part)
                continue
            moments = [Moments(group[0].inputs, group[0].axis) for group in part]
            readers: dict[Value, list[Moments]] = {}
            for group, seen in zip(part, moments):
                readers.setdefault(group[0].x, []).append(seen)
            assert ctx.observe is not None
            ctx.observe(model, {value: Several(several) for value, several in readers.items()})
            for group, seen in zip(part, moments):
                yield [_Seen(layer, seen.mean, seen.covariance()) for layer in group]

    def _units(self, group: list[_Seen]) -> list[_Unit]:
        """The layers of a group one by one, or together where a common factor loses less at the same size."""
        alone = [_unit([seen]) for seen in group]
        is_fixed = self.rank is not None or self.energy is not None
        if is_fixed or len(group) == 1 or not _may_share([seen.layer for seen in group]):
            return alone
        together = _unit(group)
        limit = self._left * sum(unit.parameters for unit in alone)
        choices = [unit.choice(PARAMETERS, None, self.multiple) for unit in alone]
        apart = sum(each.losses[i] * unit.energy for unit, each, i in zip(alone, choices, allocate(choices, limit)))
        (index,) = allocate([both := together.choice(PARAMETERS, None, self.multiple)], limit)
        is_within = both.costs[index] <= limit
        return [together] if is_within and both.losses[index] * together.energy < apart else alone

    def _ranks(self, units: list[_Unit], ctx: Context) -> list[int]:
        """The rank of each unit, 0 where it stays whole."""
        ranks = []
        if self.rank is not None or self.energy is not None:  # one of them for each layer
            for unit in units:
                side = min(unit.inputs, unit.most, *(layer.outputs for layer in unit.layers))
                if self.rank is None:
                    assert self.energy is not None
                    wanted = rank_for_energy(unit.energies, self.energy, self.multiple)
                else:
                    wanted = int(self.rank) if self.rank >= 1 else round(self.rank * side)
                    wanted = max(1, round(wanted / self.multiple)) * self.multiple if self.rank < 1 else wanted
                ranks.append(min(wanted, side))
        else:
            choices = [unit.choice(self.of, ctx.times, self.multiple) for unit in units]
            limit = self._left * sum(each.costs[0] for each in choices)
            ranks = [int(each.ranks[i]) for each, i in zip(choices, allocate(choices, limit))]
        return [self._profitable(unit, rank, ctx) for unit, rank in zip(units, ranks)]

    def _profitable(self, unit: _Unit, rank: int, ctx: Context) -> int:
        """The rank, or 0 with a remark where two products would not be faster, or not smaller."""
        node = unit.layers[0].node
        if not rank:
            said = "it stays whole: its outputs lose too much for what it saves"
            ctx.decline("refused", self.name, "", node, said)
            return 0
        before, after = unit.seconds(ctx.times, 0), unit.seconds(ctx.times, rank)
        if unit.size(rank) >= unit.parameters:
            even = unit.parameters / unit.size(1)
            ctx.decline("refused", self.name, "", node, f"rank {rank} makes it no smaller: below {even:.0f} does")
            return 0
        if after >= before and not self.slower:
            said = f"rank {rank} takes {after / before:.2f} of its time {ctx.times.source}"
            ctx.decline("refused", self.name, "", node, said)
            return 0
        return rank

    def _split(self, unit: _Unit, rank: int, ctx: Context) -> None:
        created: list[Node] = []
        square = None if unit.square is None else unit.square.read()
        spectrum = Spectrum.of(_side_by_side(unit.layers), square)  # found anew: all of them are too much memory
        left, right = spectrum.factors(rank)
        nodes = [layer.node for layer in unit.layers]
        with ctx.rewrite(self.name, "", nodes, created):
            put_split(unit.layers, left, right, created)
            if unit.mean is not None:
                _shift(unit.layers, unit.mean @ spectrum.matrix - (unit.mean @ left) @ right)
        if ctx.wants_remarks:
            energies = unit.energies
            lost_share = float(energies[rank:].sum() / max(energies.sum(), 1e-300))
            size = f"{unit.size(rank) / unit.parameters:.0%} of its size"
            text = f"{unit}: rank {rank}, {size}, {lost_share:.2%} of its variance lost"
            ctx.remark("applied", self.name, text, node=nodes[0])


def _shift(layers: list[Layer], shift: Array) -> None:
    """Add to the biases of layers, one after the other."""
    ends = np.cumsum([layer.outputs for layer in layers])[:-1]
    for layer, part in zip(layers, np.split(shift, ends)):
        shift_bias(layer.node, part)


class _Seen(NamedTuple):
    """A layer, and the mean and covariance of what it reads, where it was seen."""

    layer: Layer
    mean: Array | None
    covariance: Array | None


def _unit(group: list[_Seen]) -> _Unit:
    layers = [seen.layer for seen in group]
    matrix, covariance = _side_by_side(layers), group[0].covariance
    square = None if covariance is None else square_of(matrix, covariance)
    spectrum = Spectrum.of(matrix, square)
    kept = None if square is None else kept_tensor(square)
    return _Unit(layers, group[0].mean, kept, spectrum.energies, spectrum.most)


@dataclass(frozen=True)
class _Unit:
    """Layers that are split with one first factor."""

    layers: list[Layer]
    mean: Array | None
    square: Tensor | None
    energies: Array
    most: int

    def __str__(self) -> str:
        return " and ".join(f"%{layer.weight.hint}" for layer in self.layers)

    @property
    def inputs(self) -> int:
        return self.layers[0].inputs

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def energy(self) -> float:
        return float(self.energies.sum())

    def size(self, rank: int) -> int:
        """Elements of the factors."""
        return rank * (self.inputs + sum(layer.outputs for layer in self.layers))

    def seconds(self, cost: CostModel, rank: int) -> float:
        """The time of its products, of the whole matrices for rank 0."""
        product = partial(cost.product_seconds, _rows(self.layers[0], cost))
        if not rank:
            return sum(product(layer.inputs, layer.outputs) for layer in self.layers)
        return product(self.inputs, rank) + sum(product(rank, layer.outputs) for layer in self.layers)

    def choice(self, of: str, cost: CostModel | None, multiple: int) -> Choice:
        """What it may become, at costs in elements or in seconds."""
        if of == PARAMETERS or cost is None:
            return choice(self.energies, self.most, float(self.parameters), self.size, multiple)
        return choice(self.energies, self.most, self.seconds(cost, 0), partial(self.seconds, cost), multiple)


def _side_by_side(layers: list[Layer]) -> Array:
    """The weights of layers that read one value, f32 [inputs, outputs of all]."""
    return layers[0].matrix() if len(layers) == 1 else np.concatenate([layer.matrix() for layer in layers], axis=1)


def _rows(layer: Layer, cost: CostModel) -> int:
    """How many vectors a layer multiplies in a run, where sizes are open a typical number."""
    shape = cost.shape(layer.node.output)
    if shape is None or not shape:
        return TYPICAL
    return max(1, int(np.prod(shape)) // max(1, layer.outputs))


def _may_share(layers: list[Layer]) -> bool:
    """True if what they read is read in the same way: convolutions by equal steps."""
    return len({layer.node.attr("strides") for layer in layers}) == 1
