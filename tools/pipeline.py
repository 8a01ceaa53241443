"""The pipeline that settings ask for: a level or ``--passes``, a target's edits, what a precision and users add."""

from __future__ import annotations

from typing import Any

from ..passes.pipelines import Item, apply_edits, before_forms, level_items, parse, with_rules
from ..passes.registry import Registry
from .precision import Attempt
from .settings import Settings

# Edits of the levels in place of a target's, for what is written of standard operators: a Gemm hides its MatMul.
CANONICAL: dict[str, Any] = {"drop": ("gemm",)}


def items_of(attempt: Attempt, settings: Settings, registry: Registry, edits: dict[str, Any]) -> tuple[Item, ...]:
    """The whole pipeline of an attempt; `edits` are the target's."""
    more = attempt.items
    if settings.io_precision is not None:
        more += parse(f"interface{{to={settings.io_precision}}}")
    items = plan(settings, registry, edits, more, attempt.first)
    return items if attempt.edits is None else apply_edits(items, attempt.edits)


def plan(
    settings: Settings,
    registry: Registry,
    edits: dict[str, Any],
    more: tuple[Item, ...] = (),
    first: tuple[Item, ...] = (),
) -> tuple[Item, ...]:
    """The pipeline that the settings ask for, with the user's own rules in it, `more` behind it, and `first` before the
    target's forms of operators."""

    def expand(level: int) -> tuple[Item, ...]:
        items = level_items(level, edits)
        return before_forms(items, first) if first else items

    if settings.passes is not None:
        items = with_rules(parse(settings.passes, expand), registry.added_rules, at_end=True)
    else:
        items = with_rules(expand(settings.level), registry.added_rules, at_end=settings.level == 0)
    return (*items, *more)
