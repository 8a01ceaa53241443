"""The profile as a picture: scopes in each other, as wide as their time, and the operators beside."""

from __future__ import annotations

import os
from typing import Any

from ...ir.errors import UsageError
from ..units import scaled

PALETTE = ("#2a6fb0", "#e07b39", "#3a9a5c", "#9a5fb5", "#c4314b", "#b08d2a", "#2a9ab0", "#5f6fd0", "#d06fa8", "#7a7a7a")
"""The last one is for all others."""
_DEPTHS = 9
_LEAST = 0.0015  # of the width: narrower boxes are not drawn
_SCOPE = "#d8dee4"


def colours_of(profile: dict[str, Any]) -> dict[str, str]:
    """By operator; those that take the most time have one of their own."""
    return {entry["op"]: PALETTE[min(place, len(PALETTE) - 1)] for place, entry in enumerate(profile["operators"])}


def write_picture(profile: dict[str, Any], path: str) -> None:
    """As PNG. Raises UsageError where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        said = "a PNG needs matplotlib (pip install 'geoc[plot]'); .html and .json need nothing"
        raise UsageError(said, source="-o") from None
    boxes = boxes_of(profile)
    depth = max(box["depth"] for box in boxes) + 1
    colours = colours_of(profile)
    figure = Figure(figsize=(15, 0.34 * depth + 2.4), layout="constrained")
    axes: Any = figure.subplots(2, 1, height_ratios=(0.34 * depth + 0.3, 1.6))
    for box in boxes:
        left, width, row = box["left"], box["width"], box["depth"]
        fill = _SCOPE if box["node"] is None else colours[profile["nodes"][box["node"]]["op"]]
        axes[0].barh(row, width, left=left, height=0.94, color=fill, edgecolor="white", linewidth=0.4)
        letters = int(width * 190)
        if letters >= 3:
            name = box["name"] if len(box["name"]) <= letters else box["name"][: letters - 1] + "…"
            ink = "#1f2328" if box["node"] is None else "white"
            axes[0].text(left + width / 2, row, name, ha="center", va="center", fontsize=7.5, color=ink)
    axes[0].set_xlim(0, 1)
    axes[0].set_ylim(depth - 0.5, -0.5)
    axes[0].axis("off")
    seconds = profile["seconds"]
    threads = f"{profile['threads']} thread{'s' * (profile['threads'] > 1)}"
    what = f"{os.path.basename(profile['model'])} in {profile['runtime']}"
    title = f"{what}: {scaled(seconds['run'], 's')} a run, {threads}, {profile['shape']}"
    axes[0].set_title(title, fontsize=11, loc="left")
    shown = profile["operators"][:10]
    axes[1].bar(range(len(shown)), [e["share"] * 100 for e in shown], color=[colours[e["op"]] for e in shown])
    axes[1].set_xticks(range(len(shown)), [f"{e['op']}\n{scaled(e['seconds'], 's')}" for e in shown], fontsize=8)
    axes[1].set_ylabel("% of the time", fontsize=8)
    axes[1].spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png", dpi=120)


def boxes_of(profile: dict[str, Any]) -> list[dict[str, Any]]:
    """Rectangles of the tree: `left` and `width` from 0 to 1, `depth` from the root, `node` a number or None."""
    whole = profile["tree"]["seconds"] or 1.0
    found: list[dict[str, Any]] = []
    waiting = [(profile["tree"], 0.0, 0)]
    while waiting:
        at, left, depth = waiting.pop()
        width = at["seconds"] / whole
        if width < _LEAST or depth >= _DEPTHS:
            continue
        found.append({"name": at["name"], "left": left, "width": width, "depth": depth, "node": at.get("node")})
        for child in at.get("children", ()):
            waiting.append((child, left, depth + 1))
            left += child["seconds"] / whole
    return found
