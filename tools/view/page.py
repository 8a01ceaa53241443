"""The page itself: its frame in HTML, and the scripts that fill it."""

from __future__ import annotations

from html import escape
from typing import Any

from ..pages import document, resource

SCRIPTS = (
    "model.js", "layering.js", "placing.js", "boxes.js", "drawing.js", "pane.js", "panel.js", "stepper.js", "search.js",
    "address.js", "keys.js", "main.js",
)  # fmt: skip
"""In the order in which they need each other."""


def page(contents: dict[str, Any]) -> str:
    """The whole page, in one text."""
    title = " beside ".join(graph["title"] for graph in contents["graphs"][:2])
    if contents["mode"] == "steps":
        title = contents["name"]
    body = resource(__file__, "frame.txt").replace("{title}", escape(title))
    scripts = [resource(__file__, name) for name in SCRIPTS]
    return document(title, body, data=contents, style=resource(__file__, "view.css"), scripts=scripts)
