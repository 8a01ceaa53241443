"""Why a node cannot be run at compile time."""

from __future__ import annotations


class CannotEvaluate(Exception):
    """The node cannot be run on these operands; the text says why, in a clause without a full stop."""
