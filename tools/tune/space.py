"""What can be chosen for a model and its targets, and the command line of each choice.

    space = Space(order, offer)
    point = space.suggest(trial)              # {"precision": "w8a8", "structure": "prune", "left": 0.8, ...}
    space.settings(point).command()           # geoc model.onnx --passes ...

A point is a dictionary of plain values, with no key for what does not matter in it: choices of scales are there where
something is in integers alone. Equal points have equal commands, and `suggest` draws no point twice differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...ir.errors import UsageError
from ...lowering.targets import get_target
from ...passes.base import Pass
from ...passes.pipelines import level_items, names, parse, render
from ...passes.quantize.blocks import ASYMMETRIC, SYMMETRIC
from ...passes.quantize.quantize import Quantize
from ...passes.quantize.smooth import Smooth
from ...passes.quantize.weight_only import QuantizeWeights
from ...passes.registry import Registry
from ..pipeline import items_of
from ..precision import Attempt, attempts
from ..recipes.forms import attempt_with
from ..recipes.gains import Guess, guess_of
from ..recipes.recipe import Placed
from ..settings import Settings
from .codes import OPTIONS, changed, choices_of, is_step
from .offer import Offer
from .order import Order

if TYPE_CHECKING:
    from optuna.trial import Trial

VERSION = 2  # of what points mean: journals of another one are not gone on with
Point = Mapping[str, Any]
LEVEL = 2  # what is searched for stands in the pipeline of this level
INTEGERS, WEIGHTS = "w8a8", ("w8a16", "w4a16")
_PRECISIONS = ("fp16", "bf16", "fp8", INTEGERS, *WEIGHTS)
STRUCTURES: dict[str, str] = {
    "prune": "prune{{left={left},repair=64}}",
    "low-rank": "low-rank{{left={left},repair=64,slower=true}},low-rank-conv{{left={left},repair=64,slower=true}}",
    "low-rank-time": "low-rank{{left={left},of=time,repair=64}},low-rank-conv{{left={left},of=time,repair=64}}",
}
"""Passes that make layers smaller, with the share that is `left`: as geoc's recipes write them."""
LEAST_LEFT, MOST_LEFT, LEFT_STEP = 0.5, 0.95, 0.0125
_CORRECTED = 40  # samples that biases are corrected on, where they are


class Space:
    """The choices of one order."""

    def __init__(self, order: Order, offer: Offer) -> None:
        self.order = order
        self.offer = offer
        self.targets = {name: get_target(name) for name in order.targets}
        self.precisions = {name: available(order, name) for name in order.targets}

    # Points

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """A point by Optuna's choices; what depends on another choice is asked for where that was made."""
        point: dict[str, Any] = {"target": self.order.targets[0]}
        if len(self.order.targets) > 1:
            point["target"] = trial.suggest_categorical("target", list(self.order.targets))
        target = point["target"]
        point["precision"] = trial.suggest_categorical(f"precision {target}", self.precisions[target])
        self._suggest_codes(trial, point)
        if self.offer.costs[target] and any(cost.kind == "layer" for cost in self.offer.costs[target]):
            point["structure"] = trial.suggest_categorical("structure", ["", *STRUCTURES])
            if point["structure"]:
                point["left"] = trial.suggest_float("left", LEAST_LEFT, MOST_LEFT, step=LEFT_STEP)
        if self.offer.fired[target]:
            point["without"] = trial.suggest_categorical(f"without {target}", ["", *self.offer.fired[target]])
        if self.chooses_threads:
            point["threads"] = trial.suggest_categorical("threads", list(self.threads))
        return self.normal(point)

    def _suggest_codes(self, trial: Trial, point: dict[str, Any]) -> None:
        choose, target = trial.suggest_categorical, point["target"]
        if point["precision"] == INTEGERS:
            usual = self.usual(target, INTEGERS)
            can_be_static, is_dynamic = self.order.calib is not None, self._has_dynamic(target)
            both = can_be_static and is_dynamic
            point["static"] = choose(f"static {target}", [True, False]) if both else can_be_static
            point["weights"] = choose("weights", ["mse", "minmax"])
            if point["static"]:
                point["method"] = choose("method", ["percentile", "mse", "entropy", "average", "minmax"])
                point["rounding"] = choose("rounding", ["gptq", "nearest"])
                point["correct"] = choose("correct", [True, False])
                if usual["smooth"]:
                    point["smooth"] = choose("smooth", [True, False])
            ladder = self.offer.ladder.get(target, ())
            if len(ladder) > 1:
                point["keep"] = ladder[trial.suggest_int(f"keep {target}", 0, len(ladder) - 1)]
        elif point["precision"] in WEIGHTS:
            usual = self.usual(target, point["precision"])
            ways = ["gptq", "awq", "hqq", "rtn"] if self.order.calib is not None else ["hqq", "rtn"]
            point["way"] = choose("way", ways)
            point["block"] = choose("block", sorted({32, 64, 128, usual["block"]}))
            if usual["kind"] == SYMMETRIC:
                point["kind"] = choose("kind", [SYMMETRIC, ASYMMETRIC])
            if usual["head"]:
                point["head"] = choose("head", [8, 4])

    def usual(self, target: str, precision: str) -> dict[str, Any]:
        """The choices that a target's own passes for a precision stand for."""
        given = attempts(self.targets[target], precision, LEVEL, None, self.order.calib, self.order.goal)[0]
        return choices_of(given)

    def _has_dynamic(self, target: str) -> bool:
        return bool(self.targets[target].integers.dynamic)

    @property
    def threads(self) -> tuple[int, ...]:
        """How many of them there may be."""
        return self.order.thread_choices or (1, self.offer.cores)

    @property
    def chooses_threads(self) -> bool:
        """True if how many threads there are is to be found out: of one run at a time, where it can be timed."""
        is_one_at_a_time = self.order.goal == "latency" or self.order.is_by_accuracy
        is_here = all(target.is_here for target in self.targets.values())
        return self.order.threads is None and is_one_at_a_time and len(set(self.threads)) > 1 and is_here

    def normal(self, point: Point) -> dict[str, Any]:
        """A point without choices that are the usual ones: of equal pipelines there is one point."""
        usual = {"structure": "", "without": "", "keep": (), "static": True}
        return {name: value for name, value in point.items() if name not in usual or value != usual[name]}

    def params(self, point: Point) -> dict[str, Any] | None:
        """What Optuna has to choose for a point: the inverse of `suggest`; None where it does not choose that."""
        target = point["target"]
        if "form" in point or point.get("keep", ()) not in (self.offer.ladder.get(target) or ((),)):
            return None
        named = {name: f"{name} {target}" for name in ("precision", "keep", "without", "static")}
        whole = {"structure": "", "without": "", **point}
        if point["precision"] == INTEGERS:
            whole = {"static": True, **whole}
            whole["keep"] = self.offer.ladder[target].index(point.get("keep", ())) if target in self.offer.ladder else 0
        if self.chooses_threads:
            whole = {"threads": self.threads[0], **whole}
        return {named.get(name, name): value for name, value in whole.items()}

    def title(self, point: Point) -> str:
        """A point in a few words."""
        if "form" in point:
            return str(point["form"])
        words = [point["precision"] or "source precision"]
        if point["precision"] == INTEGERS:
            words += [point["method"]] if point.get("static", True) else ["dynamic"]
            words += [name for name in ("smooth", "correct") if point.get(name)]
            words += ["gptq"] if point.get("rounding") == "gptq" else []
            words += ["mse weights"] if point.get("weights") == "mse" else []
            if point.get("keep"):
                words.append(f"{len(self._keep(point))} layers kept")
        elif point["precision"] in WEIGHTS:
            words += [str(point[name]) for name in ("way", "block", "kind") if name in point]
            words += [f"head {point['head']}"] if "head" in point else []
        if point.get("structure"):
            words.append(f"{point['structure']} {point['left']:g}")
        if point.get("without"):
            words.append(f"without {point['without']}")
        if "threads" in point:
            words.append(f"{point['threads']} thread{'s' * (point['threads'] > 1)}")
        if len(self.order.targets) > 1:
            words.append(f"on {point['target']}")
        return ", ".join(words)

    # Commands

    def settings(self, point: Point) -> Settings:
        """The compilation of a point. Raises UsageError where the target does not have it."""
        plain = self.order.plain(point["target"])
        if "threads" in point:
            plain = replace(plain, threads=point["threads"])
        if point.get("without"):
            plain = replace(plain, skip=(point["without"],))
        attempt = self._attempt(point)
        edits = self.targets[point["target"]].pipeline
        level = {step.name for step in names(level_items(LEVEL, edits))}
        placed = [Placed(step) for step in parse(self._structure(point))]
        attempt = attempt_with(attempt, placed, {*level, *(s.name for s in names((*attempt.first, *attempt.items)))})
        return self.of_attempt(plain, attempt)

    def of_attempt(self, plain: Settings, attempt: Attempt) -> Settings:
        """The compilation that runs an attempt, and nothing else, in its --passes."""
        target = get_target(plain.target)
        items = items_of(attempt, replace(plain, level=LEVEL), Registry(target.rule_sets), target.pipeline)
        return replace(plain, passes=render(items))

    def _attempt(self, point: Point) -> Attempt:
        precision, order = point["precision"], self.order
        target = self.targets[point["target"]]
        given = attempts(target, precision or "fp32", LEVEL, None, order.calib, order.goal)[0]
        changes = self._codes(point, choices_of(given))
        first, last = (changed(items, changes) for items in (given.first, given.items))
        if precision == INTEGERS and not point.get("smooth", False):
            first, last = (tuple(item for item in items if not is_step(item, Smooth.name)) for items in (first, last))
        return given._replace(first=first, items=last)

    def _codes(self, point: Point, usual: Point) -> dict[type[Pass], dict[str, Any]]:
        """The options of the passes that make codes, where they are not the usual ones."""
        changes: dict[type[Pass], dict[str, Any]] = {}
        if point["precision"] == INTEGERS:
            given = ("static", "weights", "method", "rounding")
            changes[Quantize] = {name: point[name] for name in given if name in point}
            if bool(usual.get("correct")) != point.get("correct", False):
                changes[Quantize]["correct"] = _CORRECTED if point.get("correct") else 0
            if keep := self._keep(point):
                changes[Quantize]["keep"] = changes.setdefault(Smooth, {})["keep"] = keep
        elif point["precision"] in WEIGHTS:
            changes[QuantizeWeights] = {OPTIONS[name]: point[name] for name in OPTIONS if name in point}
        return changes

    def _keep(self, point: Point) -> tuple[str | int, ...]:
        """What leaves the stretches of a point in floats."""
        stretches = self.offer.stretches.get(point["target"], ())
        return tuple(name for number in point.get("keep", ()) for name in stretches[number].keep)

    def _structure(self, point: Point) -> str:
        kind = point.get("structure", "")
        return STRUCTURES[kind].format(left=f"{point['left']:g}") if kind else ""

    # What a point is likely to give, before anything is run

    def guess(self, point: Point) -> Guess:
        """Bytes and seconds by the sizes of layers."""
        keep = {str(place) for place in self._keep(point)}
        return guess_of(point["precision"], point.get("left", 1.0), self.offer.costs[point["target"]], keep)

    def guessed(self, point: Point) -> float:
        """What the goal is about, of that."""
        found = self.guess(point)
        return found.bytes if self.order.goal == "size" else found.seconds


def available(order: Order, target: str) -> list[str]:
    """The precisions that a target has for this order; "" is the source's."""
    found = [""]
    for precision in _PRECISIONS:
        try:
            attempts(get_target(target), precision, LEVEL, None, order.calib, order.goal)
        except UsageError:
            continue
        found.append(precision)
    return found
