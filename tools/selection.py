"""``--skip`` and ``--only``: names of passes and rules, with globs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..passes.base import Pass
from ..passes.manager import Repeat
from ..passes.registry import match_names


def flat(steps: Sequence[Pass]) -> Iterator[Pass]:
    """Every pass, those in groups included, in order."""
    for step in steps:
        if isinstance(step, Repeat):
            yield from flat(step.steps)
        else:
            yield step


def selected(steps: Sequence[Pass], skip: Sequence[str], only: Sequence[str]) -> frozenset[str]:
    """Names of the passes and rules that must not run. Raises UsageError for a pattern that fits none.

    ``--only`` with a pass keeps all its rules, with a rule keeps that rule of its pass; required passes stay.
    """
    if not skip and not only:
        return frozenset()
    passes = {step.name: step for step in flat(steps)}
    rules = {name: step.rule_names() for name, step in passes.items()}
    names = sorted({*passes, *(rule for found in rules.values() for rule in found)})
    left_out = match_names(skip, names, "--skip")
    if only:
        wanted = match_names(only, names, "--only")
        for name, step in passes.items():
            if name in wanted or step.required:
                continue
            kept = wanted.intersection(rules[name])
            left_out.update(set(rules[name]) - kept if kept else {name})
    return frozenset(left_out)
