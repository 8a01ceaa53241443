"""Inputs that passes measure a model on, other ones than it is compared on: the user's samples, or made-up ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from time import perf_counter
from typing import Any

from ...ir.core import Model, Value
from ...ir.errors import UsageError
from ...passes.base import Arrays, Observer
from ...passes.precision.ranges import Range
from ..inputs.maker import InputMaker
from ..inputs.shapes import Shapes
from ..running.placed import PlacedWeights
from .kept import Kept, Saved
from .samples import OPTION, PART, Samples, digest_of
from .statistics import Found, StatisticsCache, key_of

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
        progress: Callable[[str, float], None] = lambda text, part: None,
        cache: StatisticsCache | None = None,
    ) -> None:
        """`model` is the source; `write` makes an ONNX file for onnxruntime; `given` None: made-up inputs.

        `progress` is told what is done and which part of it. `cache` keeps what observers have seen.
        """
        self._maker = InputMaker(model, shapes, seed + SEED)
        self._write = write
        self._given = given
        self._progress = progress
        self._weights = PlacedWeights()
        self.cache = cache
        self._digest = ""
        self.problem = "" if given is not None else self._maker.problem
        self.samples: list[Feeds] = []  # the first of those that were run last

    def close(self) -> None:
        """Take temporary files away."""
        self._weights.close()

    def ranges(self, model: Model) -> dict[Value, Range] | None:
        """The ranges of its values; None, with the reason in `problem`, where it does not run.

        Raises UsageError where one of the user's samples does not run.
        """
        from ..running.sessions import CannotCheck
        from .ranges import RangeTable, Watcher

        if self.problem:
            return None
        self.samples = []
        kept = None if self._given is None or self.cache is None else Kept(self.cache, self._samples_digest())
        try:
            table = RangeTable(model)
            saved = Saved(kept, model, [table])
            if saved.complete:
                self.samples = list(islice(self._walk(), KEPT))
                return table.ranges(model)
            with Watcher(model, self._write, weights=self._weights) as watcher:
                watcher.ranges = table.ranges(model)
                if self._given is None:
                    self._run_made_up(watcher)
                else:
                    self._run_given(watcher, saved, lambda: table.put(model, watcher.ranges))
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
        kept = None if self.cache is None else Kept(self.cache, self._samples_digest(), limit)
        observe(
            model, observers, islice(self._walk(), limit), self._write,
            step=self._step("calibrating", limit), label=self._label, weights=self._weights, kept=kept,
        )  # fmt: skip

    def recall(self, name: str, model: Model, given: object, find: Callable[[], Arrays]) -> Arrays:
        """What was found of a model on these samples, in this run or another: `Context.recall`."""
        if self.cache is None or (self._given is None and not self.samples):
            return find()
        found = Found(f"{name} {given!r}")
        key = key_of(model, [found], self._samples_digest(), None)
        _, is_known = self.cache.load(key, [found])
        if not is_known:
            found.arrays = find()
            self.cache.save(key, [found], 0, True)
        return found.arrays

    def _samples_digest(self) -> str:
        """What names the samples: of the user's it is found once."""
        if self._given is None:
            return digest_of(self.samples)
        self._digest = self._digest or self._given.digest()
        return self._digest

    def _label(self, number: int) -> str:
        """What the user calls the sample at hand."""
        return f"{number}, made up," if self._given is None else f"{self._given.label} of {self._given.text}"

    def _step(self, text: str, limit: int | None = None) -> Callable[[int], None]:
        """Tells how many samples are done, of how many where that is known."""
        whole = len(self.samples) if self._given is None else self._given.count()
        if whole is not None and self._given is not None:
            whole -= whole // PART
        total = limit if whole is None else whole if limit is None else min(whole, limit)

        def step(done: int) -> None:
            of = "" if total is None else f" of {total}"
            self._progress(f"{text}, {done}{of} samples", min(1.0, done / total) if total else 0.0)

        return step

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

    def _run_given(self, watcher: Any, saved: Saved, put: Callable[[], None]) -> None:
        """Run those of the samples that were not seen before; `put` makes what was seen so far ready to be saved."""
        assert self._given is not None
        step, count = self._step("measuring ranges"), 0
        for count, feeds in enumerate(self._given.calibration(), 1):
            if count > saved.samples and not watcher.run(feeds):
                raise UsageError(f"sample {self._label(count - 1)} does not run: {watcher.refusal}", source=OPTION)
            if len(self.samples) < KEPT:
                self.samples.append(feeds)
            step(count)
            saved.after(count, put)
        saved.end(count, put)
