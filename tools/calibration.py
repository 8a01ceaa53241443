"""Inputs that passes measure a model on, other ones than it is compared on: the user's samples, or made-up ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from time import perf_counter
from typing import Any

from ..ir.core import Model, Value
from ..ir.errors import UsageError
from ..passes.base import Observer
from ..passes.precision.ranges import Range
from .inputs import InputMaker
from .samples import OPTION, Samples
from .shapes import Shapes

SEED = 1_000_003  # added to the seed of the comparison
SHAPES = 2  # of made-up inputs, where shapes are open
KEPT = 8  # samples that are kept for what is run again and again
PATIENCE = 60.0  # seconds after which no further shape is run
RANDOM = "random"  # the word for made-up inputs
Write = Callable[[Model, str], None]
Feeds = dict[str, Any]


class Calibration:
    """Runs what passes have made of a source model on the user's samples, or on inputs made up for it."""

    def __init__(
        self,
        model: Model,
        shapes: Shapes,
        seed: int,
        write: Write,
        given: Samples | None = None,
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`model` is the source; `write` makes an ONNX file for onnxruntime; `given` None: made-up inputs."""
        self._maker = InputMaker(model, shapes, seed + SEED)
        self._write = write
        self._given = given
        self._progress = progress
        self.problem = "" if given is not None else self._maker.problem
        self.samples: list[Feeds] = []  # the first of those that were run last

    def ranges(self, model: Model) -> dict[Value, Range] | None:
        """The ranges of its values; None, with the reason in `problem`, where it does not run.

        Raises UsageError where one of the user's samples does not run.
        """
        from .check import CannotCheck
        from .ranges import Watcher

        if self.problem:
            return None
        self.samples = []
        try:
            with Watcher(model, self._write) as watcher:
                (self._run_made_up if self._given is None else self._run_given)(watcher)
                return watcher.ranges if self.samples else None
        except CannotCheck as error:
            self.problem = str(error)
        except ImportError as error:
            self.problem = f"onnxruntime is not there to run it: {error}"
        return None

    def observe(self, model: Model, observers: Mapping[Value, Observer], limit: int | None = None) -> None:
        """Show values of a model to observers, on all samples or `limit` of them at most: `Context.observe`."""
        from .observing import observe

        if self._given is None and not self.samples:
            self.ranges(model)  # finds inputs on which it runs
        if self.problem:
            raise UsageError(f"nothing to measure on: {self.problem}", source=OPTION)

        def step(done: int) -> None:
            self._progress(f"calibrating, {done} samples")

        observe(model, observers, islice(self._walk(), limit), self._write, step=step)

    def _walk(self) -> Iterator[Feeds]:
        """The samples to measure on. Made-up ones are those that `ranges` found the model to run on."""
        return iter(self.samples) if self._given is None else self._given.calibration()

    def _run_made_up(self, watcher: Any) -> None:
        begun = perf_counter()
        for sizes in self._maker.sizes() if self._maker.symbols else [{}, {}]:
            feeds = self._maker.feeds(sizes, len(self.samples))
            if watcher.run(feeds):
                self.samples.append(feeds)
            if len(self.samples) == SHAPES or perf_counter() - begun > PATIENCE:
                break
        if not self.samples:
            self.problem = f"it ran on none of the inputs made up for it: {watcher.refusal}"

    def _run_given(self, watcher: Any) -> None:
        assert self._given is not None
        for number, feeds in enumerate(self._given.calibration()):
            if not watcher.run(feeds):
                raise UsageError(f"{self._given.text}: sample {number} does not run: {watcher.refusal}", source=OPTION)
            if len(self.samples) < KEPT:
                self.samples.append(feeds)
            self._progress(f"measuring ranges, {number + 1} samples")
