"""Which nodes must stay in single precision for a half-precision model to fit an error budget.

Where a model in half precision is too inexact as a whole, most of it need not be. The harm of each rounding is measured
by runs in which it alone is switched on (`rounding`), of groups of them first, and of what harms most in ever smaller
groups. Then time and error are weighed in one minimum cut: errors are given a price in seconds, the lowest that makes
the sum of squares fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...ir.clone import clone_model
from ...ir.core import Model, Node
from ...ir.ops.cost import CostModel
from ...passes.base import Place as Name
from ...passes.base import place_of
from ...passes.instruments import where
from ...passes.precision.network import Place
from ...passes.precision.placement import Harm, Placement
from ...passes.quantize.placement import Keep
from ..comparing.differences import l2_error
from ..inputs.shapes import read_shapes, specialise
from .refining import refined
from .rounding import Roundings, Source, sources_of

GROUPS = 16  # that are measured first
MAX_RUNS = 200  # of the model on all samples
EFFORT = 25.0  # seconds of a nominal machine, after which no further group is measured: the same on every machine
HARMLESS = 0.1  # of the squared error that is allowed: when what makes less is left, it is not looked into
WORST = 100.0  # relative error that NaN and infinity count as
CUTS, PRICES = 12, 1024.0  # choices that are weighed, between prices this far off the one that eats all that is gained
Feeds = dict[str, Any]


@dataclass
class Kept:
    """Nodes that stay: the reason of each by what names it, and those that harm most with their errors alone.

    `keep` is what says the same as an option of the pass, where it has one.
    """

    reasons: dict[Name, str]
    worst: list[tuple[str, float]]
    keep: Keep = ()

    def text(self) -> str:
        """The worst of them, for the summary; `reasons` are not empty."""
        most = self.worst[0][1]
        named = [f"{name} ({error:.2%} alone)" for name, error in self.worst if error > most / 4]
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        return ", ".join(named[:3]) + more


def named(node: Node) -> str:
    """A node for the summary."""
    return f"{node.op.name} at {where(node)}"


class Mixed:
    """A model in single precision, and what rounding it in places does."""

    def __init__(self, placement: Placement, harm: Harm, places: set[Place]) -> None:
        """`places` are in half precision where nothing is said of errors."""
        self.placement = placement
        self.harm = harm
        self.places = places

    @property
    def error(self) -> float:
        """That of the worst output where nothing stays for its sake."""
        return math.sqrt(self._squared(self.places))

    def kept(self, error: float, pass_name: str) -> Kept | None:
        """What must stay so that the error is about `error` at most; None where nothing would be left to change."""
        allowed = error**2
        if self.error <= error:
            return self._kept(self.places, pass_name)
        middle = self._gain(self.places) / self.error**2  # a price at which nothing is gained in all
        low, high = middle / PRICES, middle * PRICES
        few: set[Place] = set()
        many = self.places
        for _ in range(CUTS):
            price = math.sqrt(low * high)
            places = self.placement.halved(self.harm, price)
            if not places or self._squared(places) <= allowed:
                high, few = price, places or few
            else:
                low, many = price, places
        best = self._between(few, many, allowed)
        return self._kept(best, pass_name) if best else None

    def _between(self, few: set[Place], many: set[Place], allowed: float) -> set[Place]:
        """More than the `few` that fit, of the `many` that are too many for the error.

        Between two prices there may be nothing. There, what comes first stays, or what comes last.
        """
        nodes = self.placement.network.nodes
        single = [node for node in nodes if node in self.places and node not in many]
        between = [node for node in nodes if node in many and node not in few]
        best = few
        for order in (between, between[::-1]):
            low, high = 0, len(order)
            while high - low > 1:
                count = (low + high) // 2
                kept: dict[Place, str] = dict.fromkeys([*single, *order[:count]], "")
                places = replace(self.placement, stays={**self.placement.stays, **kept}).halved()
                if self._squared(places) <= allowed:
                    high = count
                    best = max(best, places, key=self._gain)
                else:
                    low = count
        return best

    def _gain(self, places: set[Place]) -> float:
        """Seconds that these places save, casts not counted."""
        return sum(max(0.0, self.placement.speed.gain(node)) for node in self.placement.network.nodes if node in places)

    def _squared(self, places: set[Place]) -> float:
        return self.harm.of(self.placement.network, places)

    def _kept(self, places: set[Place], pass_name: str) -> Kept:
        reasons: dict[Name, str] = {}
        errors: list[tuple[str, float]] = []
        for node in self.placement.network.nodes:
            if node not in self.places or node in places:
                continue
            error = math.sqrt(self.harm.of_node(node))
            alone = f"rounded alone it makes {error:.2%}" if error >= 1e-5 else "it is beside nodes that stay"
            reasons[place_of(pass_name, "", node)] = f"error budget: {alone}"
            errors.append((named(node), error))
        errors.sort(key=lambda pair: -pair[1])
        return Kept(reasons, errors)


def measure(
    model: Model,
    placement: Placement,
    samples: Sequence[Feeds],
    limit: float,
    write: Callable[[Model, str], None],
    *,
    ignored: frozenset[int] = frozenset(),
    progress: Callable[[str], None] = lambda text: None,
) -> Mixed:
    """Find out what rounding does to the outputs of a model in single precision on samples that it runs on.

    `limit`: the relative L2 error that is wanted; `ignored`: outputs that do not count, by number. Raises CannotCheck
    where onnxruntime does not load the model.
    """
    places = placement.halved()
    sources = sources_of(placement, places)
    with Roundings(model, sources, placement, write) as trial:
        harm = _Search(trial, samples, _most_runs(model, samples), ignored, progress).harm(sources, limit)
    for flow in placement.network.flows:  # where such a value is cast, what it is made of is rounded
        maker = flow.value.producer
        if maker is not None and flow.value not in harm.values:
            harm.values[flow.value] = sum(harm.values.get(v, 0.0) for v in maker.inputs if v is not None)
    return Mixed(placement, harm, places)


def _most_runs(model: Model, samples: Sequence[Feeds]) -> int:
    """How many times a model may run on all samples, by the estimate of what that takes."""
    seconds = 0.0
    for feeds in samples:
        copy, _ = clone_model(model)
        specialise(copy, read_shapes([f"{name}={','.join(map(str, a.shape))}" for name, a in feeds.items()], copy))
        cost = CostModel()
        seconds += sum(cost.seconds(node) or cost.machine.launch for node in copy.walk())
    return min(MAX_RUNS, int(EFFORT / seconds))


class _Search:
    """Measures groups of roundings, the worst in ever smaller ones."""

    def __init__(
        self,
        trial: Roundings,
        samples: Sequence[Feeds],
        most_runs: int,
        ignored: frozenset[int],
        progress: Callable[[str], None],
    ) -> None:
        self.trial = trial
        self.samples = samples
        self.ignored = ignored
        self.progress = progress
        self.expected = [trial.run(feeds, []) for feeds in samples]
        self.runs = 0
        self.most_runs = most_runs

    def squared(self, on: Sequence[Source]) -> float:
        """The square of the mean error of the worst output with these roundings."""
        self.runs += 1
        self.progress(f"trying what may be rounded, {self.runs} runs")
        errors: dict[int, float] = {}
        for feeds, expected in zip(self.samples, self.expected):
            for index, (a, b) in enumerate(zip(expected, self.trial.run(feeds, on))):
                error, problem = l2_error(a, b)
                errors[index] = errors.get(index, 0.0) + (WORST if problem else min(error, WORST))
        worst = max((error for index, error in errors.items() if index not in self.ignored), default=0.0)
        return float((worst / len(self.samples)) ** 2)

    def harm(self, sources: Sequence[Source], limit: float) -> Harm:
        """The harm of each. Looks no further where all that it did not look into may be rounded."""

        def is_late() -> bool:
            return self.runs + 2 > self.most_runs

        return self._shared(refined(sources, self.squared, GROUPS, HARMLESS * limit**2, is_late), self.squared(sources))

    def _shared(self, done: Sequence[tuple[float, Sequence[Source]]], whole: float) -> Harm:
        """The errors of groups as those of their members, so that they add up to that of the whole."""
        total = sum(squared for squared, _ in done)
        scale = min(10.0, max(0.1, whole / total)) if total else 1.0
        harm = Harm()
        for squared, group in done:
            for source in group:
                share = scale * squared / len(group)
                if isinstance(source, Node):
                    harm.weights[source] = share
                else:
                    harm.values[source] = share
        return harm
