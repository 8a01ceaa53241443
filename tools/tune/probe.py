"""What is found of a model once, before any trial: what it offers to choose between, and the source's score.

    found = probed(job)                   # in a worker's process, as trials are
    Offer.from_json(found["offer"])

Which layers are better left in floats is measured as `search.mixed_integers` does it: stretches of layers in integers
alone, shorter ones where they harm most. Of the harms and gains a knapsack makes a ladder: lists of layers that stay,
for ever smaller errors. What their errors are in the model as it will be, trials tell.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...ir.core import Model, Node
from ...ir.types import F32, I8
from ...passes.base import Context, place_of
from ...passes.pipelines import BASE, CLEAN_UP, FEWEST, Step, level_items, names, parse, render
from ...passes.quantize.placement import Keep
from ...passes.quantize.quantize import Quantize
from ...passes.quantize.sensitivity import Parts
from ...passes.quantize.speed import IntegerSpeed
from ..compiler import Compilation
from ..metric import Metric
from ..recipes.gains import costs_of
from ..search.mixed_integers import measure_integers
from .offer import Offer, Stretch, Stretches
from .order import Order
from .space import INTEGERS, LEVEL, Space, available

SAMPLES = 8  # that errors are measured on
RUNGS = (0.84, 0.7, 0.59, 0.495, 0.416, 0.35, 0.25, 0.175, 0.12)  # of the error that all in integers make
_MOST_FIRED = 8  # fusions and forms to do without


class _Plain(Compilation):
    """The model without anything that is searched for."""

    found: dict[str, Any]

    def finished(self, model: Model) -> None:
        kinds = {*BASE, *CLEAN_UP, *FEWEST}
        fired = [name for (name, _), _ in self.tally.counts.most_common() if name not in kinds]
        self.found = {
            "fired": [name for name in dict.fromkeys(fired) if name in _skippable(self)][:_MOST_FIRED],
            "costs": [list(cost) for cost in costs_of(model, self.target, dict(self.shapes.best))],
        }


def _skippable(run: Compilation) -> set[str]:
    return {step.name for step in names(level_items(LEVEL, run.target.pipeline))}


class _Layers(Compilation):
    """The model as it is before its layers become integers."""

    step: Quantize
    limit: float | None
    by_size: bool
    found: dict[str, Any]

    def finished(self, model: Model) -> None:
        assert self.calibration is not None and self.judge is not None
        context = Context(capabilities=self.target.capabilities, observe=self.calibration.observe)
        parts = Parts(model, self.step, context)
        random = self.judge.random_outputs
        counted = [n not in random for n, value in enumerate(model.graph.outputs) if value.dtype is F32]
        speed = IntegerSpeed(self.target.integers, self.target.hardware, F32, self.shapes.best)
        if self.by_size:
            gains, switches = {node: _saved(node) for node in parts.nodes}, dict.fromkeys(parts.nodes, 0.0)
        else:
            gains, switches = ({node: f(node) for node in parts.nodes} for f in (speed.gain, speed.switch))
        errors = parts.errors(set(parts.nodes), SAMPLES) if parts.nodes else []
        whole = max((error for error, counts in zip(errors, counted) if counts), default=0.0)
        stretches, rungs = ladder(parts, gains, switches, self.limit or whole, counted)
        self.found = {"stretches": [[list(each.keep), *each[1:]] for each in stretches], "ladder": [*map(list, rungs)]}


def _saved(node: Node) -> float:
    """Bytes that constants of a layer take less in integers."""
    constants = [v.const for v in node.inputs if v is not None and v.const is not None]
    return sum((1 - I8.bits / const.dtype.bits) * const.length for const in constants)


class _Scored(Compilation):
    """The source, measured by the user's metric."""

    text: str
    score: float

    def finished(self, model: Model) -> None:
        assert self.judge is not None
        self.score = Metric(self.text, None, self.settings.threads).of_source(self.judge)


def probed(order: Order) -> dict[str, Any]:
    """The offer of a model as plain data, and with a metric the source's score. Raises as compilations do."""
    found: dict[str, dict[str, Any]] = {name: {} for name in ("fired", "costs", "ladder", "stretches")}
    score = None
    for target in order.targets:
        plain = replace(order.plain(target), level=LEVEL, cache=order.cache)
        is_scored = order.metric is not None and score is None
        run: Any = _Plain(plain)
        run.run()
        layers = _layers_of(order, target) if INTEGERS in available(order, target) and order.calib is not None else {}
        for name, value in {**run.found, **layers}.items():
            found[name][target] = value
        if is_scored:
            run = _Scored(replace(plain, passes=""))
            run.text = order.metric
            run.run()
            score = run.score
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"offer": {**found, "cores": cores}, "score": score}


def _layers_of(order: Order, target: str) -> dict[str, Any]:
    """Stretches and ladder of one target: its own pipeline runs up to where layers would become integers."""
    space = Space(order, Offer({target: ()}, {}, {target: ()}))
    usual = space.usual(target, INTEGERS)
    if not usual["static"]:
        return {}
    point = {"target": target, "precision": INTEGERS, **usual}
    settings = replace(space.settings(point), cache=order.cache)
    steps = parse(settings.passes or "")
    before = next(n for n, item in enumerate(steps) if isinstance(item, Step) and item.name == Quantize.name)
    own = Quantize(**dict(steps[before].options))  # type: ignore[union-attr]
    nothing = Step(Quantize.name, (("keep", ("*",)),))  # it brings samples, and changes nothing
    run = _Layers(replace(settings, passes=render((*steps[:before], nothing))))
    run.step, run.limit, run.by_size = own, order.max_error, order.goal == "size"
    run.run()
    found: dict[str, Any] = run.found
    return found


def ladder(
    parts: Parts, gains: Mapping[Node, float], switches: Mapping[Node, float], limit: float, counted: Sequence[bool]
) -> tuple[list[Stretch], list[Stretches]]:
    """All stretches, and which of them stay in floats: first none, then ever more.

    The rungs are those that a compilation over its budget asks for (`search.partly`), and what lies between: where one
    of them keeps the bound, this ladder has it. `gains`: what each layer gains in integers, `switches`: what a change
    in front of it costs, in the same unit; `limit`: the error that is wanted.
    """
    rungs: list[Stretches] = [()]
    if not parts.nodes:
        return [], rungs
    mixture = measure_integers(parts, gains, switches, limit, counted)
    stretches = [
        Stretch(_named(parts, each.nodes), each.gain, each.squared, switch)
        for each, switch in zip(mixture.stretches, mixture.switches)
    ]
    for share in RUNGS:
        kept = mixture.kept(share * mixture.error, Quantize.name)
        if kept is None:
            break
        stay = tuple(
            number for number, each in enumerate(mixture.stretches)
            if place_of(Quantize.name, "", each.nodes[0]) in kept.reasons
        )  # fmt: skip
        if sum(len(stretches[n].keep) for n in stay) > sum(len(stretches[n].keep) for n in rungs[-1]):
            rungs.append(stay)
    return stretches, rungs


def _named(parts: Parts, stay: Sequence[Node]) -> Keep:
    """What leaves these in floats, by source location where that is theirs alone, so that it holds where other passes
    change how many layers there are."""
    places = [node.loc[0] if node.loc else "" for node in parts.nodes]
    plain = {place for place in places if place and places.count(place) == 1 and not set("*?[") & set(place)}
    mine = {node.loc[0] for node in stay if node.loc and node.loc[0] in plain}
    rest = [node for node in stay if not node.loc or node.loc[0] not in mine]
    return (*(place for place in places if place in mine), *(parts.keep(rest) if rest else ()))

