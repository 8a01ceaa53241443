"""What a target's own passes choose where they make codes, and the same passes with other options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...passes.base import Pass
from ...passes.pipelines import Item, Step, names
from ...passes.quantize.quantize import Quantize
from ...passes.quantize.smooth import Smooth
from ...passes.quantize.weight_only import QuantizeWeights
from ..precision import Attempt

OPTIONS = {"way": "method", "block": "block", "kind": "kind", "head": "head_bits"}  # of codes of weights alone


def is_step(item: Item, name: str) -> bool:
    return isinstance(item, Step) and item.name == name


def choices_of(attempt: Attempt) -> dict[str, Any]:
    """What a target's own passes choose: the values of a point's keys; {} without codes."""
    steps = {step.name: step for step in names((*attempt.first, *attempt.items))}
    if Quantize.name in steps:
        found = {name: _option(steps[Quantize.name], Quantize, name) for name in ("static", "weights")}
        if found["static"]:
            found |= {name: _option(steps[Quantize.name], Quantize, name) for name in ("method", "rounding")}
            found["correct"] = bool(_option(steps[Quantize.name], Quantize, "correct"))
            found["smooth"] = Smooth.name in steps
        return found
    if QuantizeWeights.name in steps:
        return {name: _option(steps[QuantizeWeights.name], QuantizeWeights, key) for name, key in OPTIONS.items()}
    return {}


def _option(step: Step, kind: type[Pass], name: str) -> Any:
    return dict(step.options).get(name, getattr(kind, name))


def changed(items: tuple[Item, ...], changes: Mapping[type[Pass], Mapping[str, Any]]) -> tuple[Item, ...]:
    """The items with options of passes replaced where they are others than they have anyway."""
    kinds = {kind.name: kind for kind in changes}
    found = []
    for item in items:
        if isinstance(item, Step) and item.name in kinds:
            kind = kinds[item.name]
            new = {name: value for name, value in changes[kind].items() if _option(item, kind, name) != value}
            item = replace(item, options=tuple({**dict(item.options), **new}.items()))
        found.append(item)
    return tuple(found)
