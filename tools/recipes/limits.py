"""``--max-size`` and ``--max-memory``: what a result takes, found before it is written, and whether that is allowed."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...ir.core import Model
from ...ir.errors import UnsupportedModel
from ..running.peak import can_measure, measured_peak
from ..running.timing import native_output
from ..search.weighing import estimated
from ..writing import example_feeds, order_of
from .clock import ESTIMATED, MEASURED
from .said import Limit

if TYPE_CHECKING:
    from ..compiler import Compilation

SIZE, MEMORY = "--max-size", "--max-memory"
WRITTEN = "WRITTEN"
_BUILT = ("engine", "rtx-engine")  # what takes minutes to make is weighed when it is written


class Amount(NamedTuple):
    """Bytes, and how they were found."""

    bytes: int
    how: str


class Limits:
    """The limits of one compilation. Nothing is found out that has no limit."""

    def __init__(self, run: Compilation) -> None:
        self.run = run
        settings = run.settings
        self.wanted = {SIZE: settings.max_size, MEMORY: settings.max_memory}

    def __bool__(self) -> bool:
        return any(limit is not None for limit in self.wanted.values())

    def found(self, model: Model) -> list[Limit]:
        """What a finished model takes, limit by limit."""
        ways = {SIZE: self.size, MEMORY: self.memory}
        return [
            Limit(option, limit, amount.bytes, amount.how)
            for option, limit in self.wanted.items()
            if limit is not None
            for amount in [ways[option](model)]
        ]

    def size(self, model: Model) -> Amount:
        """Bytes of the largest form that is to be written, weights included wherever they lie.

        It is written to a place of its own for that, with all weights; an engine counts as the model that it is built
        of until it is there.
        """
        run = self.run
        order = replace(order_of(run, model), weights=None)
        sizes = []
        with tempfile.TemporaryDirectory(prefix="geoc-size-") as folder:
            outputs = [output for output in run.written if output.kind not in _BUILT]
            for output in outputs or [native_output(run, os.path.join(folder, "model"))]:
                path = os.path.join(folder, os.path.basename(output.path.rstrip(os.sep)))
                sizes.append(sum(output.emitter.write(model, path, order).files.values()))
        return Amount(max(sizes), WRITTEN)

    def memory(self, model: Model) -> Amount:
        """Bytes that running it takes at its peak: measured on this machine where that is the target, else estimated.

        Raises UsageError for a target without peak numbers that is not this machine, UnsupportedModel where it does not
        run.
        """
        feeds = example_feeds(self.run, model)
        has_inputs = bool(feeds) or not model.graph.inputs
        if has_inputs and can_measure(self.run) and all(isinstance(value, np.ndarray) for value in feeds.values()):
            try:
                return Amount(measured_peak(self.run, model, feeds), MEASURED)
            except RuntimeError as error:
                raise UnsupportedModel(f"it does not run, to be measured for {MEMORY}: {error}") from None
        return Amount(estimated(self.run, model)[0].peak_bytes, ESTIMATED)


def check_limits(run: Compilation, model: Model) -> None:
    """Say in the report what the result takes; what a search found to be missed stays as it said it."""
    limits = Limits(run)
    if not limits or run.report.limits:
        return
    run.progress.stage("weighing", 0.88, 0.9)
    run.report.limits = limits.found(model)


def check_written(run: Compilation, sizes: dict[str, int]) -> None:
    """Take back files that turn out to be larger than they may be; `sizes` by kind, in bytes."""
    limit = run.settings.max_size
    largest = max(sizes.values(), default=0)
    if limit is None or largest <= limit:
        return
    for path in run.report.files:
        if os.path.isfile(path):
            os.unlink(path)
    run.report.files = []
    others = [found for found in run.report.limits if found.option != SIZE]
    run.report.limits = [Limit(SIZE, limit, largest, WRITTEN, "what was written is gone again"), *others]
