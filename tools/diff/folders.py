"""Folders of `--dump-dir`: which pass makes two compilations differ, and what each pass of one changed."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ...ir.core import Model
from ...ir.errors import UsageError
from ..files import load_any
from .changes import Difference, compare_models

_STEP = re.compile(r"(\d+)_(.+)\.gir")
TRACE = "trace.jsonl"


class Step(NamedTuple):
    """One dump: its number and the pass after which it was written, as in the file's name."""

    name: str  # 007_cse
    step: str  # cse
    path: Path


class Departure(NamedTuple):
    """Where two folders differ first: the models of that step and their difference, and how many steps are the same.

    `said` tells the step in words. Where no step differs, `found` is of the last ones, and same.
    """

    found: Difference
    before: Model
    after: Model
    same: int
    said: str


def load(path: str) -> Model:
    """A model whose data files may lie anywhere: dumps refer to weights where the compiled model has them."""
    return load_any(path, roots=(os.path.abspath(os.sep),))


def steps_of(folder: str) -> list[Step]:
    """The dumps in a folder, in order. Raises UsageError where there are none."""
    matches = [(_STEP.fullmatch(path.name), path) for path in Path(folder).iterdir()]
    found = sorted((int(m[1]), Step(path.stem, m[2], path)) for m, path in matches if m is not None)
    if not found:
        raise UsageError("no dumps in it (NNN_pass.gir, as --dump-dir writes them)", source=folder)
    return [step for _, step in found]


def departure_of(ours: str, theirs: str, detail: Callable[[str, float], None] = lambda text, part: None) -> Departure:
    """Compare two folders step by step, up to the first that differs."""
    a, b = steps_of(ours), steps_of(theirs)
    count = max(len(a), len(b))
    for number in range(count):
        x, y = a[min(number, len(a) - 1)], b[min(number, len(b) - 1)]
        detail(x.name, number / count)
        before, after = load(str(x.path)), load(str(y.path))
        found = compare_models(before, after)
        if found.same and number < count - 1:
            continue
        if found.same:
            said = f"all {count} steps are the same" if len(a) == len(b) else "the last steps are the same"
        elif number >= min(len(a), len(b)):
            which, more = ("first", x) if len(a) > len(b) else ("second", y)
            said = f"step {more.name} is in the {which} alone"
        elif x.step != y.step:
            said = f"step {number}: {x.step} in the first, {y.step} in the second"
        else:
            said = f"step {x.name} makes them differ" if number else f"they differ from the start ({x.name})"
        return Departure(found, before, after, number, said)
    raise AssertionError("folders have steps")


def rows_of(folder: str, detail: Callable[[str, float], None] = lambda text, part: None) -> list[dict[str, Any]]:
    """What each pass changed, as plain data: a row a step, with pairs of counts before and after it."""
    steps = steps_of(folder)
    rules = _rules(Path(folder) / TRACE, [step.step for step in steps[1:]])
    before = load(str(steps[0].path))
    rows = []
    for number, step in enumerate(steps[1:]):
        detail(step.name, number / len(steps))
        after = load(str(step.path))
        found = compare_models(before, after)
        ours, theirs = found.summary.before, found.summary.after
        operators = [f"{op} {a} -> {b}" for op, a, b in found.summary.operators()]
        fired = [f"{rule} x{count}" if count > 1 else rule for rule, count in rules[number].items()]
        rows.append({
            "step": step.name,
            "nodes": [ours.nodes, theirs.nodes],
            "weight_bytes": [ours.weight_bytes, theirs.weight_bytes],
            "changes": len(found.changes),
            "kinds": dict(Counter(change.kind for change in found.changes)),
            "operators": {op: [a, b] for op, a, b in found.summary.operators()},
            "rules": dict(rules[number]),
            "said": "; ".join(filter(None, [", ".join(fired[:4]), ", ".join(operators[:4])])) or "names or order only",
        })  # fmt: skip
        before = after
    return rows


def _rules(trace: Path, steps: list[str]) -> list[Counter[str]]:
    """How often each rule fired in each step, from the trace beside the dumps; nothing without one."""
    found: list[Counter[str]] = [Counter() for _ in steps]
    if not trace.is_file():
        return found
    with trace.open(encoding="utf-8") as lines:
        fired = [(line["pass"], line["rule"]) for line in map(json.loads, lines)]
    at = 0
    for number, step in enumerate(steps):
        while at < len(fired) and fired[at][0] == step:
            found[number][fired[at][1] or step] += 1
            at += 1
    # Rewrites that were taken back left no dump: then lines and steps do not go together.
    return found if at == len(fired) else [Counter() for _ in steps]
