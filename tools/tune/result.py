"""What a search found, as plain data: for --json, the page, the picture and the text alike."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from .ending import Winner
from .front import Outcome, front
from .search import Search

SCHEMA = 1
FITS, OVER, FAILED, UNSCORED = "fits", "over", "failed", "not scored"


def result_of(search: Search, winner: Winner | None, written: dict[str, Any] | None) -> dict[str, Any]:
    """Seconds and bytes; `lost` is the relative L2 error, or what of the metric is gone."""
    order = search.order
    on_front = {outcome.number for outcome in front(search.outcomes, order)}
    trials = [_trial(search, outcome, outcome.number in on_front) for outcome in search.outcomes]
    again = {} if winner is None else {str(number): ratio for number, ratio in winner.again.items()}
    return {
        "schema": SCHEMA,
        "source": order.source,
        "targets": list(order.targets),
        "goal": order.goal,
        "by": "accuracy" if order.is_by_accuracy else order.goal,
        "loss": order.measure_of_accuracy,
        "bound": search.bound,
        "latency_target": order.latency_target,
        "source_score": search.source_score,
        "machines": search.executor.machines,
        "journal": search.journal.path,
        "elapsed": round(search.elapsed, 1),
        "over": search.why_over,
        "repeated": search.repeated,
        "trials": trials,
        "winner": None if winner is None else {
            "trial": winner.outcome.number, "command": command_of(winner, written), "in_turn": again,
            "note": winner.note, **({} if written is None else {"output": written["output"], "size": written["size"]}),
        },
    }  # fmt: skip


def command_of(winner: Winner, written: dict[str, Any] | None) -> str:
    """The command that makes what was written."""
    output = None if written is None else str(written["output"])
    return replace(winner.settings, output=output).command()


def _trial(search: Search, outcome: Outcome, is_on_front: bool) -> dict[str, Any]:
    result = outcome.result
    fits = outcome.fits(search.order, search.source_score)
    status = FAILED if outcome.failed else UNSCORED if outcome.lost is None else FITS if fits else OVER
    return {
        "trial": outcome.number, "title": outcome.title, "status": status, "front": is_on_front,
        "why": outcome.failed, "seconds": outcome.seconds, "faster": _faster(result), "how": result.get("how", ""),
        "size": outcome.size or None, "lost": _number(outcome.lost), "error": _number(result.get("error")),
        "score": _number(result.get("score")), "took": result.get("took"), "command": outcome.settings.command(),
    }  # fmt: skip


def _faster(result: dict[str, Any]) -> float | None:
    """How many times as fast as the source on as many threads."""
    return 1 / result["ratio"] if result.get("ratio") else None


def _number(value: float | None) -> float | None:
    """JSON has no infinity."""
    return None if value is None or not math.isfinite(value) else value
