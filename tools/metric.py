"""``--metric FILE.py:FUNCTION`` and ``--max-drop``: what the user measures of a model, and how much of it may be lost.

    def accuracy(run):                              # FILE.py; the higher the better
        return np.mean([run({"x": x})[0].argmax() == label for x, label in data])

`run` takes arrays by input and gives the outputs in the model's order. The source is measured once, each result that is
considered too: a metric may take minutes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..ir.errors import UsageError
from .report import Score
from .running.timing import RUNNERS
from .userfile import located, user_function

if TYPE_CHECKING:
    from ..ir.core import Model
    from .comparing.check import Judge, Verdict

OPTION, DROP = "--metric", "--max-drop"
_DIGITS = 4  # of what a drop is rounded up to
_ROUNDED = 1 + 1e-9  # times a drop: of 1.0 down to 0.98 is 2 %, though 1 - 0.98 is a little more in binary


class Drop(NamedTuple):
    """How much of a metric may be lost: in its own units, or a share of what the source has."""

    value: float
    relative: bool = False

    def allowed(self, source: float) -> float:
        """In the metric's units."""
        return self.value * (abs(source) if self.relative else 1.0) * _ROUNDED

    def __str__(self) -> str:
        return f"{self.value * 100:g}%" if self.relative else f"{self.value:g}"


def read_drop(text: str) -> Drop:
    """``0.01``, in the metric's units, or ``1%`` of what the source has. Raises UsageError for anything else."""
    number, relative = (text[:-1], True) if text.endswith("%") else (text, False)
    try:
        value = float(number) * (0.01 if relative else 1.0)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UsageError(f"takes a drop such as 0.01 or 1%, not {text!r}", source=DROP)
    return Drop(value, relative)


class Metric:
    """A function of the user's, and what it says of the source and of results."""

    def __init__(self, text: str, drop: Drop | None, threads: int | None) -> None:
        """`drop` None: it limits nothing. Raises UsageError where there is no such function."""
        self.text = text
        self.drop = drop
        self.calls = 0
        self._path, self._function = user_function(text, OPTION)
        self._threads = threads or 0  # onnxruntime's choice
        self._source: float | None = None

    def of_source(self, judge: Judge) -> float:
        """The source's, measured once. Raises UsageError where the function fails or gives no finite number."""
        if self._source is None:
            found = self._of_file(judge, judge.reference, None)
            if not math.isfinite(found):
                raise UsageError(f"{self.text} gives {found} for the source", source=OPTION)
            self._source = found
        return self._source

    def of(self, judge: Judge, model: Model) -> float:
        """That of a finished model. Raises UsageError where the function fails."""
        with judge.written(model) as (path, runnable):
            return self._of_file(judge, path, runnable)

    def limit(self, verdict: Verdict, judge: Judge, model: Model) -> None:
        """Measure a model that is good enough otherwise, and say in its verdict what came of it."""
        source = self.of_source(judge)
        verdict.score = score = self.of(judge, model)
        if self.drop is None:
            return
        lost, allowed = source - score, self.drop.allowed(source)
        if not lost <= allowed:  # NaN is no score
            verdict.ok = False
            said = f"{self.name} {score:.4f}, {lost:.4f} below the source's {source:.4f}"
            verdict.message = f"{said}, over the limit {allowed:.4f}"
            verdict.unlock = f"{DROP} {math.ceil(lost * 10**_DIGITS) / 10**_DIGITS:g}" if math.isfinite(lost) else ""

    def score(self, judge: Judge, found: float) -> Score:
        """What the report says of a result that has `found`."""
        return Score(self.text, found, self.of_source(judge), self.drop and self.drop.allowed(self.of_source(judge)))

    @property
    def name(self) -> str:
        """The function's."""
        return self.text.rpartition(":")[2]

    def _of_file(self, judge: Judge, path: str, model: Model | None) -> float:
        call = RUNNERS["onnxruntime"](path, self._threads, model)
        self.calls += 1

        def run(feeds: dict[str, np.ndarray]) -> list[Any]:
            return list(call(feeds))[: len(judge.output_names)]  # what is compared may have more

        try:
            found = self._function(run)
        except Exception as error:
            raise located(error, self._path, OPTION) from error
        try:
            return float(found)
        except (TypeError, ValueError):
            message = f"{self.text} gives {type(found).__name__}, and a metric is one number"
            raise UsageError(message, source=OPTION) from None
