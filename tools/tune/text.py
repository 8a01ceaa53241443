"""What is printed: a line after each trial while it goes on, and the table at the end."""

from __future__ import annotations

from time import monotonic
from typing import Any, TextIO

from ..report import megabytes
from ..units import aligned, scaled
from .front import Outcome
from .order import Order
from .result import FAILED, FITS
from .search import Search

_ROWS = 12  # of trials off the front that the table shows; all with -v
_TITLE = 78  # characters
_EVERY = 0.2


class Watch:
    """Progress on stderr: on a terminal one line that is written over, else one line for each trial."""

    def __init__(self, out: TextIO | None) -> None:
        self._out = out
        self._is_terminal = out is not None and out.isatty()
        self._said = 0
        self._last = 0.0

    def __call__(self, search: Search) -> None:
        """Say where a search is."""
        if self._out is None:
            return
        done = sum("trial" in entry for entry in search.journal.entries)
        if self._is_terminal:
            self._line(search, done)
        elif done > self._said:
            last = next(entry for entry in reversed(search.journal.entries) if "trial" in entry)
            self._out.write(f"trial {last['trial']}: {outcome_text(search, last)}; {_left(search)}\n")
            self._out.flush()
        self._said = done

    def _line(self, search: Search, done: int) -> None:
        now = monotonic()
        assert self._out is not None
        if now - self._last < _EVERY:
            return
        self._last = now
        best = search.fitting[:1]
        said = "nothing fits yet"
        if best:
            said = f"best {_gain(best[0], search.order)}, {lost_text(best[0].lost, search.order)}"
        self._out.write(f"\r\x1b[K{done} trials, {said}; {_left(search)}: {search.now[:60]}")
        self._out.flush()

    def finished(self) -> None:
        """Take the line away."""
        if self._is_terminal and self._out is not None:
            self._out.write("\r\x1b[K")
            self._out.flush()


def _left(search: Search) -> str:
    left = max(0, int(search.order.seconds - search.elapsed))
    return f"{left // 60}:{left % 60:02d} left"


def outcome_text(search: Search, entry: dict[str, Any]) -> str:
    """A line of the journal in words."""
    result, title = entry["result"], search.space.title(entry["point"])
    if "failed" in result:
        return f"{title}: failed: {result['failed']}"
    said = [f"{megabytes(result['size'])} MB"]
    if "ratio" in result:
        said.append(f"x{1 / result['ratio']:.2f} {result['how']}")
    said.append(f"off by {result['error']:.2%}")
    if "score" in result:
        said.append(f"scores {result['score']:.4f}")
    elif search.order.metric is not None:
        said.append("not scored: no better than the best")
    return f"{title}: {', '.join(said)}"


def _gain(outcome: Outcome, order: Order) -> str:
    if not order.is_timed:
        return f"{megabytes(outcome.size)} MB"
    return f"x{1 / outcome.result['ratio']:.2f}" if "ratio" in outcome.result else ""


def lost_text(lost: float | None, order: Order) -> str:
    """What is lost, as an error or of a metric."""
    if lost is None:
        return ""
    return f"off by {lost:.2%}" if order.metric is None else f"loses {lost:.4f}"


def table(result: dict[str, Any], verbose: bool) -> list[str]:
    """The front, and the best of the rest, by time or size."""
    trials = result["trials"]
    front = [t for t in trials if t["front"]]
    rest = [t for t in trials if not t["front"] and t["status"] != FAILED]
    failed = [t for t in trials if t["status"] == FAILED]
    key = "size" if result["by"] == "size" else "seconds"
    rest.sort(key=lambda t: (t["status"] != FITS, t[key] or 0.0))
    shown = [*sorted(front, key=lambda t: t[key] or 0.0), *(rest if verbose else rest[: max(0, _ROWS - len(front))])]
    is_scored = result["loss"] == "score"
    head = ["", "trial", "ms", "faster", "MB", "off by", *(["score"] if is_scored else []), "", "form"]
    rows = [head]
    winner = result["winner"] and result["winner"]["trial"]
    for trial in [*shown, *(failed if verbose else ())]:
        mark = ">" if trial["trial"] == winner else "*" if trial["front"] else ""
        score = [_cell(trial["score"], "{:.4f}")] if is_scored else []
        why = trial["status"] if not trial["why"] else f"{trial['status']}: {trial['why'][:60]}"
        rows.append([
            mark, str(trial["trial"]), "" if trial["seconds"] is None else f"{trial['seconds'] * 1e3:.3g}",
            _cell(trial["faster"], "x{:.2f}"), "" if trial["size"] is None else megabytes(trial["size"]),
            _cell(trial["error"], "{:.2%}"), *score, why, trial["title"][:_TITLE],
        ])  # fmt: skip
    numbers = (1, 2, 3, 4, 5, *((6,) if is_scored else ()))
    return aligned(rows, numbers)


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def summary(result: dict[str, Any], verbose: bool, written: list[str]) -> str:
    """All that is printed at the end."""
    trials = result["trials"]
    count = f"{len(trials)} trial{'s' * (len(trials) != 1)} in {result['elapsed']:.0f} s"
    known = f", {result['repeated']} of them known from the journal" if result["repeated"] else ""
    target = " and ".join(result["targets"])
    wanted = f"for {result['by']}, {bound_text(result)}"
    lines = [f"{result['source']}   target {target}   {wanted}   {count}{known}; {result['over']}"]
    lines += table(result, verbose)
    lines.append("> the winner, * on the front: nothing is both better and more exact")
    winner = result["winner"]
    if winner is None:
        return "\n".join([*lines, f"nothing fits {bound_text(result)}; nothing was written"])
    if winner["in_turn"]:
        turns = ", ".join(f"trial {number} x{1 / ratio:.2f}" for number, ratio in winner["in_turn"].items())
        lines.append(f"in turn   {turns}")
    if winner["note"]:
        lines.append(f"note      {winner['note']}")
    lines.append(f"written   {', '.join(written)}")
    lines.append(f"again     {winner['command']}")
    return "\n".join(lines)


def bound_text(result: dict[str, Any]) -> str:
    """The bound in words."""
    parts = []
    if result["latency_target"] is not None:
        parts.append(f"within {scaled(result['latency_target'], 's')}")
    if result["bound"] is not None:
        is_score = result["loss"] == "score"
        parts.append(f"losing at most {result['bound']:.4g}" if is_score else f"off by at most {result['bound']:.2%}")
    return " and ".join(parts) or "no bound"
