"""``--goal``: what is preferred where no form of a model is the best at everything. It is read here alone.

Forms of products with weights of few bits differ in how many rows they are fast for, so a goal says how many there are.
"""

from __future__ import annotations

from ..ir.errors import UsageError

# A token of one request is one row, and few rows have the fewest bytes. What is paid for is time, which many rows take.
ROWS = {"latency": "few", "throughput": "many", "cost": "many", "size": "few"}
GOALS = tuple(ROWS)


def rows_for(goal: str | None) -> str:
    """What products are made fast for: ``few`` rows or ``many``. None is latency. Raises UsageError for no goal."""
    if goal is None:
        return ROWS["latency"]
    if goal not in ROWS:
        raise UsageError(f"takes one of {', '.join(GOALS)}; not {goal!r}", source="--goal")
    return ROWS[goal]
