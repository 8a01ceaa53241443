"""The search as a page: the picture, the winner with its command, and every trial with its own."""

from __future__ import annotations

import os
from html import escape
from typing import Any

from ..pages import document, resource, table
from ..report import megabytes
from .picture import svg
from .text import bound_text


def page(result: dict[str, Any]) -> str:
    """The whole page in HTML; the result is its element "data"."""
    name = os.path.basename(result["source"])
    winner = result["winner"]
    said = f"{len(result['trials'])} trials in {result['elapsed']:.0f} s on {result['machines']}; {result['over']}"
    parts = [
        f"<h1>geoc tune {escape(name)}</h1>",
        f"<p>for {escape(result['by'])}, {escape(bound_text(result))}; target {escape(' and '.join(result['targets']))}"
        f'<br><span class="soft">{escape(said)}</span></p>',
        svg(result),
    ]
    if winner is None:
        parts.append(f'<p class="bad">nothing fits {escape(bound_text(result))}; nothing was written</p>')
    else:
        won = next(trial for trial in result["trials"] if trial["trial"] == winner["trial"])
        parts.append(f"<h2>The winner: {escape(won['title'])}</h2><pre>{escape(winner['command'])}</pre>")
        if winner["in_turn"]:
            rows = [(number, f"{1 / ratio:.3f}") for number, ratio in winner["in_turn"].items()]
            parts.append("<h2>The best, timed in turn</h2>" + table(("trial", "times as fast"), rows, (0, 1)))
    head = ("trial", "form", "", "front", "ms", "times as fast", "MB", "off by", "score", "seconds")
    rows_all = [_row(trial) for trial in result["trials"]]
    parts.append("<h2>Trials</h2>" + table(head, rows_all, (0, 4, 5, 6, 7, 8, 9)))
    commands = "\n".join(f"{trial['trial']:>4}  {trial['command']}" for trial in result["trials"])
    parts.append(f"<details><summary>The command of each</summary><pre>{escape(commands)}</pre></details>")
    body = "<main>\n" + "\n".join(part for part in parts if part) + "\n</main>"
    return document(f"geoc tune: {name}", body, data=result, style=resource(__file__, "tune.css"))


def _row(trial: dict[str, Any]) -> tuple[object, ...]:
    def text(value: float | None, form: str) -> str:
        return "" if value is None else form.format(value)

    milliseconds = None if trial["seconds"] is None else trial["seconds"] * 1e3
    return (
        trial["trial"], trial["title"], trial["why"] or trial["status"], "yes" if trial["front"] else "",
        text(milliseconds, "{:.3g}"), text(trial["faster"], "{:.2f}"),
        "" if trial["size"] is None else megabytes(trial["size"]), text(trial["error"], "{:.2%}"),
        text(trial["score"], "{:.4f}"), text(trial["took"], "{:.1f}"),
    )  # fmt: skip
