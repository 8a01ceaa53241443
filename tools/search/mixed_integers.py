"""Which layers must stay in floats for a quantized model to fit an error budget: the counterpart of `mixed`.

What quantization harms is measured for stretches of neighbouring layers, each by itself, and in shorter stretches where
it harms most. Squares of their errors add up about; a knapsack weighs them against the time or the bytes that each
stretch gains. Its choice is measured as a whole and adjusted, all on calibration samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from time import process_time
from typing import Protocol

from ...ir.core import Node
from ...passes.base import Place, place_of
from ...passes.quantize.knapsack import chosen
from ...passes.quantize.placement import Keep
from .mixed import Kept, named
from .refining import refined

GROUPS = 10  # stretches that are measured first
MAX_RUNS = 40  # of models on samples, to find what harms
PATIENCE = 120.0  # seconds of the processor after which no further stretch is looked into
LIMIT = 8  # samples that errors are measured on
HARMLESS = 0.1  # of the squared error that is allowed: when what makes less is left, it is not looked into
CHOICES = 5  # that are measured as a whole, for each error that is asked for
FULL = 0.7  # of the squared error that is allowed: a choice that uses so much is not improved


class Parts(Protocol):
    """Nodes that a pass would change, in order, the errors of outputs when some are, and its option for what stays."""

    nodes: list[Node]

    def errors(self, nodes: Collection[Node], limit: int | None) -> list[float]: ...

    def keep(self, nodes: Collection[Node]) -> Keep: ...


class Stretch:
    """Neighbours that are treated alike: what they gain in all, and the square of the error that they alone make."""

    def __init__(self, nodes: Sequence[Node], gain: float, squared: float) -> None:
        self.nodes = nodes
        self.gain = gain
        self.squared = squared

    @property
    def error(self) -> float:
        """The relative L2 error that quantizing these alone makes."""
        return math.sqrt(self.squared)

    @property
    def text(self) -> str:
        """For the summary: the first node, and how many there are."""
        return named(self.nodes[0]) + (f" and {len(self.nodes) - 1} behind it" if len(self.nodes) > 1 else "")


class MixedIntegers:
    """A model in floats, and what quantizing stretches of it does."""

    def __init__(
        self,
        parts: Parts,
        stretches: Sequence[Stretch],
        switches: Sequence[float],
        joint: Callable[[Sequence[Node]], float],
    ) -> None:
        """`switches`: the cost of a change between floats and integers in front of each stretch, in what they gain.

        `joint` is the squared error when nodes are quantized together.
        """
        self.parts = parts
        self.stretches = stretches
        self.switches = switches
        self._joint = joint
        self._known: dict[tuple[bool, ...], float] = {}
        whole, total = self._squared([True] * len(stretches)), sum(s.squared for s in stretches)
        self._whole = whole
        self._scale = min(10.0, max(0.1, whole / total)) if total else 1.0

    @property
    def error(self) -> float:
        """That of the worst output where nothing stays for its sake."""
        return math.sqrt(self._whole)

    def kept(self, error: float, pass_name: str) -> Kept | None:
        """What must stay so that the error is `error` at most; None where nothing would be left to change."""
        allowed = limit = error**2
        best: Sequence[bool] = []
        for _ in range(CHOICES):
            taken = self._chosen(allowed)
            squared = self._squared(taken) if any(taken) else 0.0
            if squared > limit:
                allowed *= 0.9 * limit / squared
                if best:
                    break
                continue
            if not any(taken) or (best and self._gain(taken) <= self._gain(best)):
                break
            best = taken
            if all(taken) or squared >= FULL * limit:
                break
            allowed *= min(4.0, limit / squared if squared else 4.0)
        return self._kept(best, pass_name) if best else None

    def _chosen(self, allowed: float) -> list[bool]:
        """The choice if errors added up as they do on the whole."""
        gains, harms = [s.gain for s in self.stretches], [s.squared * self._scale for s in self.stretches]
        if sum(harms) <= allowed and min(gains, default=0.0) > 0:
            return [True] * len(gains)
        return chosen(gains, harms, self.switches, allowed)

    def _squared(self, taken: Sequence[bool]) -> float:
        key = tuple(taken)
        if key not in self._known:
            nodes = [node for stretch, is_taken in zip(self.stretches, taken) if is_taken for node in stretch.nodes]
            self._known[key] = self._joint(nodes)
        return self._known[key]

    def _gain(self, taken: Sequence[bool]) -> float:
        changes = sum(cost for a, b, cost in zip(taken, taken[1:], self.switches[1:]) if a != b)
        return sum(s.gain for s, is_taken in zip(self.stretches, taken) if is_taken) - changes

    def _kept(self, taken: Sequence[bool], pass_name: str) -> Kept:
        reasons: dict[Place, str] = {}
        stay = [stretch for stretch, is_taken in zip(self.stretches, taken) if not is_taken]
        for stretch in stay:
            why = "it gains no time in integers"
            if stretch.gain > 0:
                who = "it makes" if len(stretch.nodes) == 1 else f"{len(stretch.nodes)} neighbours make"
                why = f"error budget: in integers {who} {stretch.error:.2%} alone"
            reasons.update((place_of(pass_name, "", node), why) for node in stretch.nodes)
        worst = sorted(((s.text, s.error) for s in stay), key=lambda pair: -pair[1])
        return Kept(reasons, worst, self.parts.keep([node for stretch in stay for node in stretch.nodes]))


def measure_integers(
    parts: Parts,
    gains: Mapping[Node, float],
    switches: Mapping[Node, float],
    limit: float,
    counted: Sequence[bool],
    progress: Callable[[str], None] = lambda text: None,
) -> MixedIntegers:
    """Find out what quantizing parts of a model does to its outputs.

    `gains`: what each node gains, `switches`: what a change between floats and integers in front of it costs, in the
    same unit. `limit`: the relative L2 error that is wanted; `counted`: which outputs in single precision count.
    """
    runs = 0
    begun = process_time()

    def squared(nodes: Sequence[Node]) -> float:
        nonlocal runs
        runs += 1
        progress(f"trying what may be in integers, {runs} runs")
        errors = parts.errors(set(nodes), LIMIT)
        return max((error for error, counts in zip(errors, counted) if counts), default=0.0) ** 2

    def is_late() -> bool:
        return runs + 2 > MAX_RUNS or process_time() - begun > PATIENCE

    found = refined(parts.nodes, squared, GROUPS, HARMLESS * limit**2, is_late)
    order = {node: number for number, node in enumerate(parts.nodes)}
    stretches = [Stretch(nodes, sum(gains[node] for node in nodes), harm) for harm, nodes in found]
    stretches.sort(key=lambda stretch: order[stretch.nodes[0]])
    return MixedIntegers(parts, stretches, [switches[stretch.nodes[0]] for stretch in stretches], squared)
