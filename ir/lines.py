"""Source locations that are lines of a program, ``modeling_bert.py:297``: of nodes that a framework's exporter traced.

A node's first location is its own name; a line follows it, and is that of all nodes which the line asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_LINE = re.compile(r"[^/\\]*\.py:\d+\Z")


def is_line(location: str) -> bool:
    """True for ``FILE.py:NUMBER``, where FILE has no folders."""
    return _LINE.match(location) is not None


def split_lines(locations: Iterable[str]) -> tuple[list[str], list[str]]:
    """The names among some locations, and the lines."""
    names: list[str] = []
    lines: list[str] = []
    for location in locations:
        (lines if is_line(location) else names).append(location)
    return names, lines
