"""Text for terminals: colours where they can be shown, and short names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

Paint = Callable[[str, str], str]
"""(text, colour) -> text, of the colours below."""

LONGEST = 48  # letters of a name in a table
_COLOURS = {"bold": "1", "red": "1;31", "green": "32", "yellow": "33", "cyan": "36", "faint": "2"}


def has_colour(stream: Any) -> bool:
    """Colour only on a terminal that can show it, and never against NO_COLOR."""
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def painter(colour: bool) -> Paint:
    """What puts text into a colour; without `colour`, what leaves it as it is."""
    return _paint if colour else plain


def _paint(text: str, colour: str) -> str:
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def plain(text: str, colour: str) -> str:
    """What leaves text as it is."""
    return text


def shortened(names: Sequence[str]) -> list[str]:
    """Names without the folders that all have in common, and without what is in the middle of the longest."""
    ends = list(zip(min(names, default=""), max(names, default="")))  # what these have in common, all have
    same = next((i for i, (a, b) in enumerate(ends) if a != b), len(ends))
    start = names[0].rfind("/", 0, same) + 1 if len(names) > 1 else 0
    left = [name[start:] for name in names]
    return [name if len(name) <= LONGEST else f"{name[:16]}...{name[19 - LONGEST :]}" for name in left]
