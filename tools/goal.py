"""``--goal``: what is preferred where no form of a model is the best at everything. It is read here alone.

Forms of products with weights of few bits differ in how many rows they are fast for, so a goal says how many there are.
"""

from __future__ import annotations

from ..ir.errors import UsageError

# A token of one request is one row. What is paid for is time, which many rows take. What is small is fast for none.
ROWS = {"latency": "few", "throughput": "many", "cost": "many", "size": "none"}
GOALS = tuple(ROWS)


def rows_for(goal: str | None) -> str:
    """What products are made fast for: ``few`` rows, ``many`` or ``none``, which is the smallest. None is latency.

    Raises UsageError for no goal.
    """
    if goal is None:
        return ROWS["latency"]
    if goal not in ROWS:
        raise UsageError(f"takes one of {', '.join(GOALS)}; not {goal!r}", source="--goal")
    return ROWS[goal]
