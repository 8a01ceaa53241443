"""The trials as points, of what they take and what they lose, with the front: as SVG for the page and as a PNG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, NamedTuple

from ...ir.errors import UsageError
from ..report import megabytes

_FAR = 3.0  # times the bound
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 1000, 420, 70, 44, 14


class Dot(NamedTuple):
    """One trial: `across` is milliseconds or megabytes, `up` what is lost."""

    across: float
    up: float
    title: str
    kind: str  # winner, front, fits, over


def dots(result: dict[str, Any]) -> list[Dot]:
    """Those that have both."""
    found = []
    winner = result["winner"] and result["winner"]["trial"]
    for trial in result["trials"]:
        across = trial["size"] if result["by"] == "size" else trial["seconds"]
        if across is None or trial["lost"] is None:
            continue
        across = across / 1e6 if result["by"] == "size" else across * 1e3
        kind = "winner" if trial["trial"] == winner else "front" if trial["front"] else trial["status"]
        found.append(Dot(across, trial["lost"], f"trial {trial['trial']}: {trial['title']}", kind))
    return found


def axes(result: dict[str, Any]) -> tuple[str, str]:
    """What the axes say."""
    across = "MB" if result["by"] == "size" else "ms"
    return across, "relative L2 error" if result["loss"] == "error" else "lost of the metric"


def svg(result: dict[str, Any]) -> str:
    """An SVG element; "" where there is nothing to show."""
    points = dots(result)
    if not points:
        return ""
    top = _top(points, result["bound"])
    rights = _scale([p.across for p in points])
    ups = _scale([*(min(p.up, top) for p in points), result["bound"] or 0.0, 0.0])

    def x(value: float) -> float:
        return LEFT + (value - rights[0]) / (rights[-1] - rights[0]) * (WIDTH - LEFT - 20)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - ups[0]) / (ups[-1] - ups[0]) * (HEIGHT - BOTTOM - TOP)

    across, up = axes(result)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="trials: {escape(up)} against {across}">']
    for value in ups:
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{_label(value, result)}</text>')
    for value in rights:
        parts.append(f'<text x="{x(value):.1f}" y="{HEIGHT - 22}" text-anchor="middle">{value:g}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{across}</text>')
    if result["bound"] is not None:
        at = y(result["bound"])
        parts.append(f'<line class="bound" x1="{LEFT}" x2="{WIDTH}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{WIDTH - 4}" y="{at - 4:.1f}" text-anchor="end">bound</text>')
    corners = " ".join(f"{x(a):.1f},{y(min(b, top)):.1f}" for a, b in steps(points))
    parts.append(f'<polyline class="front" points="{corners}"/>')
    for point in sorted(points, key=lambda p: p.kind in ("front", "winner")):
        size = 8 if point.kind == "winner" else 5
        said = f"{point.title}: {point.across:.4g} {across}, {_label(point.up, result)}"
        parts.append(
            f'<circle class="{point.kind}" cx="{x(point.across):.1f}" cy="{y(min(point.up, top)):.1f}" r="{size}">'
            f"<title>{escape(said)}</title></circle>"
        )
    return "".join([*parts, "</svg>"])


def steps(points: Sequence[Dot]) -> Iterator[tuple[float, float]]:
    """The corners of the front: what is lost at least, for what may be taken."""
    before: float | None = None
    for point in sorted((p for p in points if p.kind in ("front", "winner")), key=lambda p: (p.across, p.up)):
        if before is not None and point.up >= before:
            continue
        if before is not None:
            yield point.across, before
        yield point.across, point.up
        before = point.up


def _top(points: Sequence[Dot], bound: float | None) -> float:
    """What is lost at the most that is shown in its place: what is far over the bound would hide all differences below
    it, and stands at the edge."""
    most = max(point.up for point in points)
    return most if not bound else min(most, _FAR * bound)


def _label(value: float, result: dict[str, Any]) -> str:
    return f"{value:.2%}" if result["loss"] == "error" else f"{value:.4g}"


def _scale(values: Sequence[float]) -> list[float]:
    """Round numbers around all of them."""
    low, high = min(values), max(values)
    width = (high - low) or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(width / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if width / (step * factor) <= 6)
    first, last = math.floor(low / step), math.ceil(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]


_COLOURS = {"winner": "#1a7f37", "front": "#2a6fb0", "fits": "#9bb8d3", "over": "#e0a3ad"}


def write_png(result: dict[str, Any], path: str) -> None:
    """The same by matplotlib. Raises UsageError where that is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("a PNG needs matplotlib: pip install 'geoc[plot]'", source="-o") from None
    points = dots(result)
    across, up = axes(result)
    top = _top(points, result["bound"]) if points else 0.0
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    panel: Any = figure.subplots()
    for kind, colour in _COLOURS.items():
        mine = [p for p in points if p.kind == kind]
        if mine:
            size = 90 if kind == "winner" else 36
            ups = [min(p.up, top) for p in mine]
            panel.scatter([p.across for p in mine], ups, size, color=colour, label=kind, zorder=3)
    corners = list(steps(points))
    if corners:
        panel.plot([a for a, _ in corners], [min(b, top) for _, b in corners], color=_COLOURS["front"], linewidth=1)
    if result["bound"] is not None:
        panel.axhline(result["bound"], color="#c4314b", linewidth=1, linestyle="--", label="bound")
    panel.set_xlabel(across)
    panel.set_ylabel(up)
    if result["loss"] == "error":
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:.1%}")
    panel.spines[["top", "right"]].set_visible(False)
    if points:
        panel.legend(frameon=False, fontsize=8)
    number = result["winner"] and result["winner"]["trial"]
    # Where the time was over in the midst of a batch, some numbers are missing.
    won = next((trial for trial in result["trials"] if trial["trial"] == number), None)
    made = f", {megabytes(won['size'])} MB" if won else ""
    panel.set_title(f"{len(result['trials'])} trials for {result['by']}{made}", fontsize=10, loc="left")
    figure.savefig(path, format="png", dpi=130)
