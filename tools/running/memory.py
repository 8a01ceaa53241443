"""Memory that this process has freed, given back to the system."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any


@cache
def _trim() -> Any:
    """glibc's malloc_trim; None where there is no such function."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def give_back() -> None:
    """Let go of what was freed: glibc keeps freed blocks of up to 32 MB, of a closed session most of what it took."""
    trim = _trim()
    if trim is not None:
        trim(0)
