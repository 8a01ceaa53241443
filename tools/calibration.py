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
PATIENCE = 60.0  # seconds after which no further shape is run


class Calibration:
    """Makes inputs up for a source model and runs what passes have made of it on them."""

    def __init__(self, model: Model, shapes: Shapes, seed: int, write: Callable[[Model, str], None]) -> None:
        """`model` is the source; `write` makes an ONNX file for onnxruntime of a model."""
        self._maker = InputMaker(model, shapes, seed + SEED)
        self._write = write
        self.problem = self._maker.problem
        self.shapes = 0  # how many were run

    def ranges(self, model: Model) -> dict[Value, Range] | None:
        """The ranges of its values; None, with the reason in `problem`, where it does not run."""
        from .check import CannotCheck
        from .ranges import Watcher

        if self.problem:
            return None
        begun = perf_counter()
        wanted = 2
        try:
            with Watcher(model, self._write) as watcher:
                self.shapes = 0
                for sizes in self._maker.sizes() if self._maker.symbols else [{}, {}]:
                    feeds: dict[str, Any] = self._maker.feeds(sizes, self.shapes)
                    self.shapes += watcher.run(feeds)
                    if self.shapes == wanted or perf_counter() - begun > PATIENCE:
                        break
                if not self.shapes:
                    self.problem = f"it ran on none of the inputs made up for it: {watcher.refusal}"
                    return None
                return watcher.ranges
        except CannotCheck as error:
            self.problem = str(error)
        except ImportError as error:
            self.problem = f"onnxruntime is not there to run it: {error}"
        return None
