"""A progress bar on a terminal, for work of more than two seconds."""

from __future__ import annotations

from time import perf_counter
from typing import TextIO

from ..ir.core import Model
from ..passes.base import Instrument, Pass

AFTER = 2.0  # seconds of work before anything is shown
EVERY = 0.1  # seconds between two updates
WIDTH = 24


class Progress(Instrument):
    """Shows stages of the work and passes inside them, as far as known. Silent unless `out` is a terminal."""

    def __init__(self, out: TextIO | None) -> None:
        self._out = out if out is not None and out.isatty() else None
        self._begun = perf_counter()
        self._last = 0.0
        self._shown = False
        self._stage = ""
        self._from = self._to = 0.0
        self._done = self._total = 0
        self._window = (0.0, 1.0)
        self._title = ""

    def window(self, text: str, start: float, end: float) -> None:
        """Let the stages that follow take the bar from `start` to `end`, as parts of what `text` says."""
        self._window, self._title = (start, end), text

    def stage(self, text: str, start: float, end: float, steps: int = 0) -> None:
        """Enter a stage that takes the bar from `start` to `end` (0 to 1) in `steps` passes."""
        self._stage, self._from, self._to = text, start, end
        self._done, self._total = 0, steps
        self._show(text)

    def detail(self, text: str, part: float = 0.0) -> None:
        """Say what the stage is at; `part`, 0 to 1, of the pass at hand is done."""
        self._show(text, part)

    def before_pass(self, model: Model, step: Pass) -> None:
        self._show(f"{self._stage}: {step.name}")

    def after_pass(self, model: Model, step: Pass, changed: bool) -> None:
        self._done += 1

    def finished(self) -> None:
        """Take the bar away."""
        if self._shown and self._out is not None:
            self._out.write("\r\x1b[K")
            self._out.flush()
            self._shown = False

    def _show(self, text: str, within: float = 0.0) -> None:
        now = perf_counter()
        if self._out is None or now - self._begun < AFTER or now - self._last < EVERY:
            return
        self._last = now
        self._shown = True
        # Passes of a group may come again: approach the end of the stage, never pass it.
        passes = self._done + within
        part = passes / (self._done + max(1, self._total - self._done // 2)) if self._total else within
        done = self._from + (self._to - self._from) * min(part, 1.0)
        done = self._window[0] + (self._window[1] - self._window[0]) * done
        text = f"{self._title}: {text}" if self._title else text
        filled = round(done * WIDTH)
        bar = "#" * filled + "." * (WIDTH - filled)
        self._out.write(f"\r\x1b[K[{bar}] {done:4.0%}  {text[:48]}  {now - self._begun:.0f} s")
        self._out.flush()
