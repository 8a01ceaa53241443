"""What OpenVINO's .xml says of itself: the version of the intermediate representation."""

from __future__ import annotations

import re

from ..about import About

_START = 4096  # bytes in which the root element is


def about(path: str) -> About:
    """Raises OSError."""
    with open(path, "rb") as file:
        start = file.read(_START)
    named = re.search(rb"<net\b[^>]*\bversion=[\"'](\d+)[\"']", start)
    return About(f"version {named[1].decode()}" if named else "")
