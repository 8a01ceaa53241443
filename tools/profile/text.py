"""The profile as tables for terminals."""

from __future__ import annotations

import math
from typing import Any

from ...ir.lines import split_lines
from ..units import aligned, scaled

_SHOWN = 20  # nodes, the slowest; all with -v
_OPERATORS = 12
_MISSES = 10
_LONGEST = 56  # letters of a name


def text_of(profile: dict[str, Any], everything: bool = False) -> str:
    """Some lines on the whole, operators, nodes, and the estimates that were far off."""
    seconds = profile["seconds"]
    threads = f"{profile['threads']} thread{'s' * (profile['threads'] > 1)}"
    lines = [
        f"{profile['model']} in {profile['runtime']}, {threads}, {profile['shape']}, inputs {profile['inputs']}",
        f"run       {scaled(seconds['run'], 's')}: {scaled(seconds['nodes'], 's')} in {len(profile['nodes'])} nodes, "
        f"{scaled(seconds['between'], 's')} between them; {profile['runs']} runs",
        f"profiler  {overhead_text(profile)}",
        f"estimate  {estimate_text(profile)}",
    ]
    if profile["note"]:
        lines.append(f"note      {profile['note']}")
    head = ("operator", "nodes", "calls", "time", "share")
    rows = [
        (e["op"], str(e["nodes"]), _calls(e["calls"]), scaled(e["seconds"], "s"), f"{e['share']:.1%}")
        for e in profile["operators"]
    ]
    lines += ["", *aligned([head, *(rows if everything else rows[:_OPERATORS])], (1, 2, 3, 4)), ""]
    shown = profile["nodes"] if everything else profile["nodes"][:_SHOWN]
    columns = ("time", "share", "sum", "calls", "operator", "estimate", "ratio", "from")
    lines += aligned([columns, *map(_row, shown)], (0, 1, 2, 3, 5, 6))
    if len(shown) < len(profile["nodes"]):
        lines.append(f"and {len(profile['nodes']) - len(shown)} more; -v shows all")
    return "\n".join([*lines, *_misses(profile)])


def overhead_text(profile: dict[str, Any]) -> str:
    """What the profiler costs."""
    overhead = profile["overhead"]
    plain = scaled(profile["seconds"]["without_profiler"], "s")
    span = f"{overhead['low'] - 1:+.1%} to {overhead['high'] - 1:+.1%}; noise ±{math.expm1(overhead['noise']):.1%}"
    return f"{overhead['middle'] - 1:+.1%} ({span}): without it a run takes {plain}"


def estimate_text(profile: dict[str, Any]) -> str:
    """The roofline beside the clock."""
    estimate = profile["estimate"]
    if estimate["why_not"]:
        return f"none: {estimate['why_not']}"
    if not estimate["seconds"]:
        return "none: no size is known"
    ratio = estimate["measured"] / estimate["seconds"]
    measured = scaled(estimate["measured"], "s")
    known = f"{scaled(estimate['seconds'], 's')} by roofline for nodes that took {measured}"
    return f"{known}, {ratio:.2g} times that ({estimate['target']})"


def source_text(node: dict[str, Any]) -> str:
    """The source of a node, the first of several with their number, and the line of a program that it comes from; where
    it is in a body, that as well."""
    names, lines = split_lines(node["sources"])
    sources = names or [node["name"]]
    name = sources[0] if len(sources[0]) <= _LONGEST else f"...{sources[0][3 - _LONGEST :]}"
    more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
    inside = f" in {node['inside'].rsplit('/', 1)[-1]}" if node["inside"] else ""
    line = f", {lines[0]}" if lines else ""
    return name + more + line + inside


def _row(node: dict[str, Any]) -> tuple[str, ...]:
    return (
        scaled(node["seconds"], "s"), f"{node['share']:.1%}", f"{node['cumulative']:.1%}", _calls(node["calls"]),
        node["op"], "" if node["estimate"] is None else scaled(node["estimate"], "s"),
        "" if node["ratio"] is None else f"{node['ratio']:.2g}", source_text(node),
    )  # fmt: skip


def _calls(calls: float) -> str:
    return f"{calls:.3g}"


def _misses(profile: dict[str, Any]) -> list[str]:
    misses = [profile["nodes"][number] for number in profile["estimate"]["misses"]]
    if not misses:
        return []
    rows = [
        (
            scaled(node["measured"], "s"), scaled(node["estimate"], "s"), f"{node['ratio']:.2g}", node["bound"],
            node["op"], source_text(node),
        )
        for node in misses[:_MISSES]
    ]  # fmt: skip
    head = ("measured", "estimate", "ratio", "bound by", "operator", "from")
    more = [f"and {len(misses) - _MISSES} more"] if len(misses) > _MISSES else []
    title = "where the estimate is off by more than a factor of two, the most time first"
    return ["", title, *aligned([head, *rows], (0, 1, 2)), *more]
