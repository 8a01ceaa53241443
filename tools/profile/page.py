"""The profile as a page: scopes to zoom into, nodes to search and sort, and the estimates that were off."""

from __future__ import annotations

import os
from html import escape
from typing import Any

from ..pages import document, resource, table
from ..units import scaled
from .picture import colours_of
from .text import estimate_text, overhead_text, source_text

_OPERATORS = 12  # that have a row of their own


def page(profile: dict[str, Any]) -> str:
    """HTML; nothing in it comes from elsewhere."""
    seconds = profile["seconds"]
    threads = f"{profile['threads']} thread{'s' * (profile['threads'] > 1)}"
    facts = [
        f"{profile['runtime']}, {threads}, {profile['shape']}, inputs {profile['inputs']}",
        f"{scaled(seconds['run'], 's')} a run: {scaled(seconds['nodes'], 's')} in {len(profile['nodes'])} nodes, "
        f"{scaled(seconds['between'], 's')} between them",
        f"profiler: {overhead_text(profile)}",
        f"estimate: {estimate_text(profile)}",
        *([profile["note"]] if profile["note"] else []),
    ]
    name = escape(os.path.basename(profile["model"]))
    body = (
        f"<h1>Profile of {name}</h1>\n<p class=\"soft\">{'<br>'.join(map(escape, facts))}</p>\n"
        '<h2>Time by scope</h2>\n<div class="bar"><span id="path"></span><input id="find" type="search" '
        'placeholder="find a node, scope or operator" aria-label="find"></div>\n'
        '<div id="icicle" role="img" aria-label="time by scope"></div>\n'
        '<pre id="detail" class="soft">Click a box to zoom, a node to see it.</pre>\n'
        f'<div class="columns"><section><h2>Operators</h2>\n{_operators(profile)}</section>\n'
        f"<section><h2>Where the estimate is off</h2>\n{_misses(profile)}</section></div>\n"
        '<h2>Nodes, the slowest first</h2>\n<div id="nodes"></div>\n'
    )
    data = {
        "tree": profile["tree"], "nodes": profile["nodes"], "total": seconds["nodes"],
        "colours": colours_of(profile),
    }  # fmt: skip
    return document(
        f"Profile of {profile['model']}", body, data=data, style=resource(__file__, "profile.css"),
        scripts=[resource(__file__, "profile.js")],
    )  # fmt: skip


def _operators(profile: dict[str, Any]) -> str:
    shown, others = profile["operators"][:_OPERATORS], profile["operators"][_OPERATORS:]
    if others:
        sums = {key: sum(entry[key] for entry in others) for key in ("nodes", "calls", "seconds", "share")}
        shown = [*shown, {"op": f"{len(others)} others", **sums}]
    rows = [
        (e["op"], e["nodes"], f"{e['calls']:.3g}", scaled(e["seconds"], "s"), f"{e['share']:.1%}") for e in shown
    ]
    return table(("operator", "nodes", "calls", "time", "share"), rows, range(1, 5))


def _misses(profile: dict[str, Any]) -> str:
    misses = [profile["nodes"][number] for number in profile["estimate"]["misses"][:20]]
    if not misses:
        return f"<p>{escape(profile['estimate']['why_not'] or 'Nowhere by more than a factor of two.')}</p>"
    rows = [
        (
            scaled(node["measured"], "s"), scaled(node["estimate"], "s"), f"{node['ratio']:.2g}", node["bound"],
            node["op"], source_text(node),
        )
        for node in misses
    ]  # fmt: skip
    return table(("measured", "estimate", "ratio", "bound by", "operator", "from"), rows, range(3))
