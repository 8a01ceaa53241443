"""A difference as text for terminals: counts first, then every change as a unified view of statements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..report import megabytes
from ..terminal import Paint, painter
from ..units import aligned

CHANGES, LINES = 50, 12  # that are shown of a difference, and of either side of a change; all with -v
_OPERATORS = 8


def text_of(data: dict[str, Any], names: tuple[str, str], colour: bool = False, verbose: bool = False) -> str:
    """The whole text; `names` of the two models."""
    paint = painter(colour)
    lines = [verdict(data, names, paint), *counts(data)]
    if verbose:
        said = f"renamed {data['renamed']}, other source names {data['relocated']}, moved in the order {data['moved']}"
        lines.append(f"quiet      of {data['matched']} nodes that correspond: {said}")
    lines += [f"note       {note}" for note in data["notes"]]
    shown = data["changes"] if verbose else data["changes"][:CHANGES]
    for change in shown:
        lines += ["", *_change(change, paint, verbose)]
    if len(shown) < len(data["changes"]):
        lines += ["", f"and {len(data['changes']) - len(shown)} more changes; -v shows all"]
    return "\n".join(lines)


def verdict(data: dict[str, Any], names: tuple[str, str], paint: Paint) -> str:
    """The first line: whether they are the same, and how many changes of which kinds there are."""
    title = f"{names[0]} -> {names[1]}"
    if data["same"]:
        moved = [what for what in ("renamed", "moved") if data[what]]
        said = ", ".join(f"{data[what]} {what}" for what in moved)
        beside = f" (apart from names and order: {said})" if moved else ""
        return f"{title}   {paint('SAME', 'green')} structurally equal, {data['matched']} nodes{beside}"
    count = len(data["changes"])
    kinds = ", ".join(f"{number} {kind}" for kind, number in data["kinds"].items())
    said = f"{count} change{'s' if count != 1 else ''}: {kinds}"
    follows = f"; {data['followed']} statements follow" if data["followed"] else ""
    return f"{title}   {paint('DIFFERENT', 'red')} {said}{follows}"


def counts(data: dict[str, Any]) -> list[str]:
    """Lines of counts, of what differs only."""
    a, b = data["nodes"]
    lines = [f"nodes      {_pair(a, b)}, {data['matched']} correspond"]
    lines.append(f"weights    {_sizes(data['weight_bytes'])}")
    lines += [f"{what:<10} {_pair(*data[what])}" for what in ("inputs", "outputs") if data[what][0] != data[what][1]]
    operators = list(data["operators"].items())
    if operators:
        parts = [f"{op} {_pair(*pair)}" for op, pair in operators[:_OPERATORS]]
        more = f", {len(operators) - _OPERATORS} more" if len(operators) > _OPERATORS else ""
        lines.append(f"operators  {', '.join(parts)}{more}")
    return lines


def _pair(a: int, b: int) -> str:
    return str(a) if a == b else f"{a} -> {b}"


def _change(change: dict[str, Any], paint: Paint, verbose: bool) -> Iterator[str]:
    yield paint(f"@@ {change['where']} @@", "cyan") + f" {heading(change)}"
    for sign, side, colour in (("-", "before", "red"), ("+", "after", "green")):
        shown = change[side] if verbose else change[side][:LINES]
        for line in shown:
            yield paint(f"{sign} {within(line, change)}", colour)
        if len(shown) < len(change[side]):
            yield paint(f"{sign} ... {len(change[side]) - len(shown)} more", colour)
    for line in change["context"]:
        yield paint(f"  {within(line, change)}", "faint")


def within(line: str, change: dict[str, Any]) -> str:
    """A statement whose names below the place that stands above it begin with ``%./``."""
    return line.replace(f"%{change['where']}/", "%./")


def heading(change: dict[str, Any]) -> str:
    """What kind of change it is, in words."""
    kind: str = change["kind"]
    a, b = change["nodes"]
    if kind == "replaced":
        return f"replaced, {a} node{'s' if a != 1 else ''} by {b}"
    if kind == "moved":
        return f"moved, {a} node{'s' if a != 1 else ''} {change['details'][0]}"
    if kind in ("removed", "added"):
        number = a or b
        return kind + (f", {number} nodes" if number > 1 else "")
    return f"{kind}: {'; '.join(change['details'])}"


def steps_text(rows: list[dict[str, Any]], title: str) -> str:
    """The table of steps of one dump folder."""
    table = [("step", "nodes", "changes", "weights", "what")]
    for row in rows:
        a, b = row["nodes"]
        sizes = _sizes(row["weight_bytes"]) if len(set(row["weight_bytes"])) > 1 else ""
        table.append((row["step"], _pair(a, b), str(row["changes"]), sizes, row["said"]))
    return "\n".join([title, "", *aligned(table, numbers=(2,))])


def _sizes(pair: list[int]) -> str:
    a, b = (f"{megabytes(size)} MB" for size in pair)
    if a != b:
        return f"{a} -> {b}"
    return a if pair[0] == pair[1] else f"{a} ({pair[1] - pair[0]:+,} bytes)"
