"""unrounded.rules changes numbers, and has no natives."""

from __future__ import annotations

LOSSY = True
