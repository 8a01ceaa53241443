"""A difference as a page that needs nothing but a browser."""

from __future__ import annotations

from html import escape
from typing import Any

from ..pages import document, resource, table
from ..report import megabytes
from .text import counts, heading, within


def page(data: dict[str, Any], names: tuple[str, str]) -> str:
    """Counts, then every change as a unified view, with a search and a choice of kinds."""
    title = f"{names[0]} and {names[1]}"
    same = data["same"]
    verdict = '<span class="verdict good">SAME</span> structurally equal' if same else (
        f'<span class="verdict bad">DIFFERENT</span> {len(data["changes"])} changes; '
        f"{data['followed']} statements follow from them"
    )  # fmt: skip
    facts = [" ".join(line.split()) for line in counts(data)] + data["notes"]
    parts = [f"<h1>{escape(title)}</h1>\n<p>{verdict}<br>{'<br>'.join(map(escape, facts))}</p>"]
    rows = [(op, a, b, f"{b - a:+d}") for op, (a, b) in data["operators"].items()]
    if rows:
        drawn = table(("operator", "before", "after", "change"), rows, numbers=(1, 2, 3))
        parts.append(f"<details><summary>Operators</summary>\n{drawn}</details>")
    if not same:
        boxes = "".join(
            f'<label><input type="checkbox" value="{kind}" checked> {kind} ({count})</label>'
            for kind, count in data["kinds"].items()
        )
        search = '<input type="search" placeholder="search">'
        parts.append(f'<nav>{search} {boxes}<span class="soft" id="count"></span></nav>')
        parts += [_section(change) for change in data["changes"]]
    scripts = [] if same else [resource(__file__, "diff.js")]
    return document(title, "\n".join(parts), style=resource(__file__, "diff.css"), scripts=scripts)


def _section(change: dict[str, Any]) -> str:
    lines = [
        f'<div class="{kind}">{sign} {escape(within(line, change))}</div>'
        for side, kind, sign in (("before", "old", "-"), ("after", "new", "+"), ("context", "near", " "))
        for line in change[side]
    ]
    body = f'<pre class="diff">{"".join(lines)}</pre>' if lines else ""
    head = f"<h3>{escape(change['where'])}<span>{escape(heading(change))}</span></h3>"
    return f'<section data-kind="{change["kind"]}">{head}{body}</section>'


def steps_page(rows: list[dict[str, Any]], folder: str) -> str:
    """A table of what each pass changed."""
    cells = [
        (row["step"], *row["nodes"], row["changes"], *(megabytes(size) for size in row["weight_bytes"]), row["said"])
        for row in rows
    ]
    head = ("step", "nodes before", "after", "changes", "MB before", "after", "what")
    title = f"Passes of {folder}"
    return document(title, f"<h1>{escape(title)}</h1>\n{table(head, cells, numbers=(1, 2, 3, 4, 5))}")
