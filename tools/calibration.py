"""Inputs that passes measure a model on, other ones than it is compared on."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from ..ir.core import Model, Value
from ..passes.precision.ranges import Range
from .inputs import InputMaker
from .shapes import Shapes

SEED = 1_000_003  # added to the seed of the comparison
SAMPLES = 2  # of different shapes where those are open
PATIENCE = 60.0  # seconds after which no further shape is run


class Calibration:
    """Makes inputs up for a source model and runs what passes have made of it on them."""

    def __init__(self, model: Model, shapes: Shapes, seed: int, write: Callable[[Model, str], None]) -> None:
        """`model` is the source; `write` makes an ONNX file for onnxruntime of a model."""
        self._maker = InputMaker(model, shapes, seed + SEED)
        self._write = write
        self.problem = self._maker.problem
        self.samples: list[dict[str, Any]] = []  # what was run last

    def ranges(self, model: Model) -> dict[Value, Range] | None:
        """The ranges of its values; None, with the reason in `problem`, where it does not run."""
        from .check import CannotCheck
        from .ranges import Watcher

        if self.problem:
            return None
        begun = perf_counter()
        self.samples = []
        try:
            with Watcher(model, self._write) as watcher:
                for sizes in self._maker.sizes() if self._maker.symbols else [{}, {}]:
                    feeds = self._maker.feeds(sizes, len(self.samples))
                    if watcher.run(feeds):
                        self.samples.append(feeds)
                    if len(self.samples) == SAMPLES or perf_counter() - begun > PATIENCE:
                        break
                if not self.samples:
                    self.problem = f"it ran on none of the inputs made up for it: {watcher.refusal}"
                    return None
                return watcher.ranges
        except CannotCheck as error:
            self.problem = str(error)
        except ImportError as error:
            self.problem = f"onnxruntime is not there to run it: {error}"
        return None
