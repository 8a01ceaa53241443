"""The shell of a page, and the pieces that pages share."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, LEFT, BOTTOM = 1000, 280, 60, 30
"""Of a plot of bars, in units of its view box."""


def resource(package_file: str, name: str) -> str:
    """The text of a file, a style or a script, that lies beside the module `package_file`."""
    return (Path(package_file).parent / name).read_text(encoding="utf-8")


def document(title: str, body: str, *, data: Any = None, style: str = "", scripts: Sequence[str] = ()) -> str:
    """A whole page. `body` is HTML, `data` any JSON for the element "data", `style` follows the common one, `scripts`
    run at the end of the body in their order. What the data holds cannot end its element: every "<" in it is escaped.
    """
    parts = [
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        '<meta name="viewport" content="width=device-width">',
        f"<style>\n{resource(__file__, 'base.css')}{style}</style></head><body>\n{body}\n",
    ]
    if data is not None:
        text = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
        parts.append(f'<script type="application/json" id="data">{text}</script>\n')
    for script in scripts:
        if "</script" in script:
            raise ValueError("a script of a page holds the end of its own element")
        parts.append(f"<script>\n{script}</script>\n")
    parts.append("</body></html>\n")
    return "".join(parts)


def table(head: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[int] = ()) -> str:
    """A table in HTML; the columns of `numbers` stand at the right. Cells are escaped."""
    return "\n".join(["<table>", *table_lines(head, rows, numbers), "</table>"])


def table_lines(head: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[int] = ()) -> list[str]:
    """The rows of `table` in HTML, the head first."""
    kinds = [' class="n"' if place in numbers else "" for place in range(len(head))]

    def line(tag: str, cells: Sequence[object]) -> str:
        return "<tr>" + "".join(f"<{tag}{k}>{escape(str(cell))}</{tag}>" for k, cell in zip(kinds, cells)) + "</tr>"

    return [line("th", head), *(line("td", row) for row in rows)]


def svg_bars(names: Sequence[str], series: Mapping[str, Sequence[float]], label: str, legend: str) -> str:
    """SVG: for each name one bar a series, at most two, on a logarithmic scale of shares from 1 down to six powers of
    ten below the largest. NaN has no bar; "" where nothing is above zero."""
    known = [number for numbers in series.values() for number in numbers if number > 0]
    if not known:
        return ""
    top, low = math.ceil(math.log10(max(known)) + 1e-9), math.floor(math.log10(min(known)))
    low = max(min(low, top - 1), top - 6)
    height, width = HEIGHT - BOTTOM, (WIDTH - LEFT) / len(names)

    def tall(number: float) -> float:
        return max(0.0, min(1.0, (math.log10(number) - low) / (top - low))) * (height - 10) if number > 0 else 0.0

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
    for power in range(low, top + 1):
        y = height - (power - low) / (top - low) * (height - 10)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:.4%}</text>')
    for place, (kind, numbers) in enumerate(series.items()):
        start, tone = (0.1, "") if place == 0 else (0.55, ' class="pale"')
        for index, (name, number) in enumerate(zip(names, numbers)):
            if number == number:
                x, bar = LEFT + (index + start) * width, tall(number)
                parts.append(
                    f'<rect{tone} x="{x:.2f}" y="{height - bar:.2f}" width="{width * 0.4:.2f}" '
                    f'height="{bar:.2f}"><title>{escape(name)}: {escape(kind)} {number:.3%}</title></rect>'
                )
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 8}">{len(names)} {escape(legend)}</text></svg>')
    return "".join(parts)
