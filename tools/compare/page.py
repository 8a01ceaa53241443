"""A comparison as a page that needs nothing but a browser."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from ..pages import document, svg_bars, table
from .text import HEAD, badness, beyond_of, cells, inputs_of, said_of


def page(data: dict[str, Any]) -> str:
    """The outputs as a table; of nodes a plot in the order of the graph, the first that departs, and a table."""
    title = " and ".join(data["models"])
    verdict = '<b class="good">WITHIN</b> the limits' if data["ok"] else '<b class="bad">BEYOND</b> a limit'
    facts = [f"{model}: {runtime}" for model, runtime in zip(data["models"], data["runtimes"])]
    facts += [inputs_of(data), *data["notes"]]
    rows = [(row["name"], row["other"], row["type"], *cells(row)) for row in data["outputs"]]
    parts = [
        f"<h1>{escape(title)}</h1>\n<p>{verdict}<br>{'<br>'.join(map(escape, facts))}</p>",
        "<h2>Outputs</h2>",
        table(("output", "of the second", "type", *HEAD), rows, numbers=(3, 4, 5, 6, 7)),
    ]
    if data["nodes"] is not None:
        parts += _nodes(data["nodes"])
    return document(title, "\n".join(parts))


def _nodes(nodes: dict[str, Any]) -> list[str]:
    values = nodes["values"]
    said = f"{nodes['compared']} of {nodes['of']} values correspond; {beyond_of(nodes)}"
    parts = [f"<h2>Nodes, in the order of the graph</h2>\n<p>{escape(said)}</p>"]
    if nodes["first"] is not None:
        row = values[nodes["first"]]
        statements = "\n".join(f"{sign} {text}" for sign, text in zip("-+", row["statements"]))
        error = said_of(row)
        parts.append(
            f'<p>The first that departs is <b class="bad">{escape(row["where"])}</b>: {escape(error)}</p>\n'
            f"<pre>{escape(statements)}</pre>"
        )
    errors = [math.nan if row["error"] is None else row["error"] for row in values]
    names, legend = [row["where"] for row in values], "nodes; relative L2 error"
    parts.append(svg_bars(names, {"relative L2": errors}, "error of each node", legend))
    worst = sorted(values, key=badness, reverse=True)
    rows = [(row["where"], row["op"], row["value"], row["by"], *cells(row)) for row in worst]
    head = ("node", "op", "value", "matched by", *HEAD)
    return [*parts, "<h2>Nodes, the worst first</h2>", table(head, rows, numbers=(4, 5, 6, 7, 8))]
