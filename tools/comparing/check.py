"""Comparing an optimized model with the unoptimized one, both in onnxruntime without its optimizations.

    judge = Judge(source_path, model, write, shapes, seed=0)
    judge.prepare(samples)             # finds inputs on which the source runs; raises CannotCheck
    verdict = judge.compare(optimized)

The norm is per output: max |difference| / max |reference|. Integers, booleans and strings must be equal,
NaN and infinities must stand in the same places, and outputs that depend on random operators are compared
by shape and element type only.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir.clone import clone_model
from ...ir.core import Model
from ...ir.errors import UsageError
from ...ir.tensor import Tensor
from ...ir.types import F16, F32, F64
from ...lowering.onnxruntime.runnable import make_runnable
from ..calibration.samples import OPTION, Samples
from ..inputs.maker import InputMaker, Sizes
from ..inputs.shapes import Shapes
from ..running.emulate import emulated, has_bfloat16
from ..running.sessions import CannotCheck, first_line, folds, refusals, unoptimized_session
from .declared import Declared
from .differences import difference, l2_error
from .exactness import QUANTIZING, float_limit, quantizes, random_outputs
from .float_caches import with_float_caches
from .own_caches import caches_by_name, filled

if TYPE_CHECKING:
    from ..running.runtimes import Own

SHAPES = 2  # how many shapes are compared where shapes are symbolic
PATIENCE = 20.0  # seconds after which no further shape is tried
KEPT_BYTES = 512 * 2**20  # of results of the source on the user's samples
SLOW = 0.5  # seconds of one run above which a second shape is no larger than the first
NOISE_RUNS = 3
NOISE_FACTOR = 10  # how much more than the noise of its inputs a result may move
# A quantizer turns the rounding of the sums before it into whole steps, or into none: it takes a few units in the last
# place, as another order of additions gives, to see whether a result can move by a step.
NOISE_UNITS, NOISE_UNITS_QUANTIZED = 0.5, 8.0


@dataclass
class Verdict:
    """The worst output of a comparison: its error and what was allowed; `message` when it is wrong."""

    ok: bool = True
    error: float = 0.0
    limit: float | None = None
    output: str = ""
    message: str = ""
    kind: str = ""  # how it is wrong: "numbers", "type" (or shape), "load", "run"
    run: int = 0  # the number of the inputs on which it is wrong
    score: float | None = None  # by the user's metric, where it was measured
    unlock: str = ""  # the option that would allow it, where that is not --max-error


@dataclass
class _Run:
    shape: str
    feeds: dict[str, Any]
    outputs: list[Any]
    seconds: float
    given: bool = False  # one of the user's samples
    noise: list[tuple[float, str]] | None = None  # per output, what `Judge._noise` found


class Judge:
    """Holds inputs and reference outputs of one source model, and compares others with it.

    `reference` is the file of the unoptimized model; `write(model, path)` writes a model for onnxruntime. `interface`:
    what results declare their float inputs and outputs as (``fp16``), where that is not what the source does.
    `stand_in`: results are for another runtime than onnxruntime, and may have forms that its kernels do not take.
    `runtime` runs them in that one, which is what counts where they are inexact on purpose (`max_error`): its kernels
    may round where the graph does not.
    """

    def __init__(
        self,
        reference: str,
        model: Model,
        write: Callable[[Model, str], Any],
        shapes: Shapes,
        seed: int = 0,
        interface: str | None = None,
        stand_in: bool = False,
        runtime: Own | None = None,
    ) -> None:
        self.reference = reference
        self.output_names = list(model.graph.output_names)
        self.runs: list[_Run] = []
        self.held_back = False  # the user's samples among them were never measured on
        self.max_error: float | None = None  # of lossy passes: the mean relative L2 error that each output may have
        self._write = write
        self._stand_in = stand_in
        self._runtime = runtime
        self._maker = InputMaker(model, shapes, seed)
        self._caches = caches_by_name(model.graph)
        self._random = random_outputs(model)
        self._limit = float_limit(model)
        self._noise_units = NOISE_UNITS_QUANTIZED if quantizes(model) else NOISE_UNITS
        self._tables = _tables(model)
        self._declared = None if interface is None else Declared(model, interface)
        if self._declared is not None:
            self._limit = max(self._limit, self._declared.limit)
        self._reference_folds = folds(model)
        self._unstable: dict[str, str] = {}  # outputs whose limit was raised, and why

    @property
    def shapes(self) -> list[str]:
        """The shapes that are compared, as text: ``2x16``."""
        return list(dict.fromkeys(run.shape for run in self.runs))

    @property
    def samples(self) -> int:
        """How many samples of the user are compared."""
        return sum(run.given for run in self.runs)

    @property
    def random_outputs(self) -> frozenset[int]:
        """Numbers of the outputs that depend on random operators."""
        return frozenset(self._random)

    def notes(self) -> list[str]:
        """What the comparison did not cover."""
        found = []
        if self._random:
            found.append(
                f"random operators: {len(self._random)} of {len(self.output_names)} outputs "
                "compared by shape and element type only"
            )
        empty = sorted(
            name
            for i, name in enumerate(self.output_names)
            if self.runs and all(_size(run.outputs[i]) == 0 for run in self.runs)
        )
        if empty:
            shown = ", ".join(empty[:3]) + (f" and {len(empty) - 3} more" if len(empty) > 3 else "")
            found.append(f"empty on these inputs: {shown}")
        if self._runtime is not None and self.max_error is not None:
            found.append(f"computed by {self._runtime.title}")
        return found + list(self._unstable.values())

    def prepare(self, samples: Samples | None = None, made_up: bool = True) -> None:
        """Find inputs on which the source runs, and run it: samples that are held back, and (`made_up`) made-up ones.

        Raises CannotCheck, UsageError where a sample does not run.
        """
        session = unoptimized_session(self.reference, "the source", fold=self._reference_folds)
        if samples is not None:
            self._run_samples(session, samples)
        given = len(self.runs)
        if not made_up:
            return
        try:
            self._run_made_up(session, given)
        except CannotCheck:
            if not given:
                raise

    def _run_samples(self, session: Any, samples: Samples) -> None:
        """As many of the samples as results are kept of; those that are measured on where none are held back."""
        kept = 0
        for held_back in (True, False):
            for number, feeds in enumerate(samples.held_back() if held_back else samples.calibration()):
                begun = perf_counter()
                try:
                    outputs = session.run(self.output_names, feeds)
                except refusals() as error:
                    which = f"sample {number} of those {'held back' if held_back else 'measured on'}"
                    message = f"{samples.text}: {which} does not run: {first_line(error)}"
                    raise UsageError(message, source=OPTION) from None
                self.runs.append(_Run(_shape_text(feeds), feeds, outputs, perf_counter() - begun, True))
                kept += sum(_bytes(output) for output in outputs)
                if kept > KEPT_BYTES:
                    break
            if self.runs:
                self.held_back = held_back
                return

    def _run_made_up(self, session: Any, given: int) -> None:
        if self._maker.problem:
            raise CannotCheck(self._maker.problem)
        wanted = SHAPES if self._maker.symbols else 1
        first_reason = ""
        begun = perf_counter()
        candidates = list(self._maker.sizes())
        while candidates and len(self.runs) - given < wanted and perf_counter() - begun < PATIENCE:
            sizes = candidates.pop(0)
            reason = self._try(session, sizes)
            first_reason = first_reason or reason
            if not reason and self.runs[-1].seconds > SLOW:
                candidates.sort(key=lambda other: _by_cost(other, sizes))
        if len(self.runs) > given and not self._maker.symbols and self.runs[-1].seconds < SLOW:
            self._try(session, {})  # other values, and boolean switches the other way
        if len(self.runs) == given:
            raise CannotCheck(f"the source ran on none of the inputs made up for it: {first_reason}")
        if all(_size(out) == 0 for run in self.runs for out in run.outputs) and self.output_names:
            raise CannotCheck("every output is empty on the inputs made up for it")

    def _try(self, session: Any, sizes: Sizes) -> str:
        feeds = self._feeds(session, sizes)
        begun = perf_counter()
        try:
            outputs = session.run(self.output_names, feeds)
            if any(_has_nan(out) for out in outputs):
                # A mask that hides all, read the other way round: what is no number compares with nothing.
                other = self._feeds(session, sizes, inverted=True)
                again = session.run(self.output_names, other)
                if not any(_has_nan(out) for out in again):
                    feeds, outputs = other, again
        except refusals() as error:
            return first_line(error)
        self.runs.append(_Run(_shape_text(feeds), feeds, outputs, perf_counter() - begun))
        return ""

    def _feeds(self, session: Any, sizes: Sizes, inverted: bool = False) -> dict[str, Any]:
        feeds = self._maker.feeds(sizes, len(self.runs), inverted=inverted)
        feeds = filled(feeds, session.run, self._maker, sizes, len(self.runs), self._caches)
        if self._declared is None:
            return feeds
        return {name: self._declared.rounded(value) for name, value in feeds.items()}

    def compare(self, model: Model) -> Verdict:
        """Write `model`, run it on the recorded inputs and compare. A model that does not run is wrong.

        Where its inputs and outputs have other float types than the source's, values are cast on the way.
        """
        if self._runtime is not None and self.max_error is not None:
            return self._in_its_runtime(model, self._runtime)
        with self.written(model) as (path, runnable):
            return self.compare_file(path, folds(runnable))

    def _in_its_runtime(self, model: Model, runtime: Own) -> Verdict:
        model = with_float_caches(model)
        if self._declared is not None:
            model = self._declared.restored(model)
        found: list[list[Any]] = []
        try:
            with runtime.running(model) as call:
                for run in self.runs:
                    # Copies, because the next run may write over them.
                    found.append([o.copy() if isinstance(o, np.ndarray) else o for o in call(run.feeds)])
        except RuntimeError as error:
            return Verdict(False, float("inf"), message=f"does not run at {run.shape}: {first_line(error)}", kind="run")
        return self.compare_results(found)

    @contextmanager
    def written(self, model: Model) -> Iterator[tuple[str, Model]]:
        """A file with `model` as onnxruntime runs it here, inputs and outputs as in the source; and what it holds."""
        model = with_float_caches(model)
        if self._declared is not None:
            model = self._declared.restored(model)
        folder = tempfile.mkdtemp(prefix="geoc-check-")
        try:
            path = os.path.join(folder, "model.onnx")
            is_half = self.max_error is not None or has_bfloat16(model)
            runnable = emulated(model) if is_half else model
            if self._stand_in:
                runnable = runnable if is_half else clone_model(runnable)[0]
                make_runnable(runnable)
            self._write(runnable, path)
            yield path, runnable
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def compare_file(self, path: str, fold: bool = False) -> Verdict:
        """Compare the model in a file with the reference. `fold`: onnxruntime folds constants of the model first."""
        try:
            session = unoptimized_session(path, "the result", fold=fold)
        except CannotCheck as error:
            return Verdict(False, float("inf"), message=str(error), kind="load")
        found: list[list[Any]] = []
        for run in self.runs:
            try:
                found.append(session.run(self.output_names, run.feeds))
            except refusals() as error:
                message = f"does not run at {run.shape}: {first_line(error)}"
                return Verdict(False, float("inf"), message=message, kind="run")
        return self.compare_results(found)

    def compare_results(self, results: list[list[Any]]) -> Verdict:
        """Compare outputs in the order of the graph's, for each of `runs`, from whatever computed them."""
        return self._exactly(results) if self.max_error is None else self._within(results, self.max_error)

    def _within(self, results: list[list[Any]], limit: float) -> Verdict:
        """Compare by the relative L2 error of each output, its mean over the user's samples where there are any."""
        counted = [pair for pair in zip(self.runs, results) if pair[0].given] or list(zip(self.runs, results))
        worst = Verdict(limit=limit)
        for index, name in enumerate(self.output_names):
            if index in self._random:
                continue
            errors = []
            for run, outputs in counted:
                error, problem = l2_error(run.outputs[index], outputs[index])
                if problem:
                    message = f"output {name!r}: {problem} at {run.shape}"
                    kind = _kind(run.outputs[index], outputs[index])
                    return Verdict(False, float("inf"), limit, name, message, kind)
                errors.append(error)
            mean = sum(errors) / len(errors) if errors else 0.0
            if mean > worst.error:
                worst = Verdict(True, mean, limit, name)
        if worst.error > limit:
            worst.ok, worst.kind = False, "numbers"
            worst.message = f"output {worst.output!r}: relative L2 error {worst.error:.2%} over the limit {limit:.2%}"
        return worst

    def _exactly(self, results: list[list[Any]]) -> Verdict:
        worst = Verdict()
        for number, (run, outputs) in enumerate(zip(self.runs, results)):
            for index, got in enumerate(outputs):
                found = self._one(run, index, got)
                if not found.ok:
                    found.run = number
                    return found
                if found.error > worst.error or worst.limit is None:
                    worst = found
        return worst

    def _one(self, run: _Run, index: int, got: Any) -> Verdict:
        name = self.output_names[index]
        expected = run.outputs[index]
        limit, error, problem = difference(expected, got, self._limit, index in self._random)
        if not problem and error <= limit:
            return Verdict(True, error, limit, name)
        noise, unstable = self._noise(run, index)
        if unstable:
            self._unstable[name] = f"not compared: {name}, {unstable} when inputs change in their last bit"
            return Verdict(True, 0.0, limit, name)
        if not problem and error <= noise * NOISE_FACTOR:
            limit = noise * NOISE_FACTOR
            self._unstable[name] = (
                f"limit raised to {limit:.0e} for {name}: the source's own result changes by {noise:.0e} "
                "when inputs change in their last bit"
            )
            return Verdict(True, error, limit, name)
        if problem:
            return Verdict(False, float("inf"), limit, name, f"output {name!r}: {problem}", _kind(expected, got))
        message = f"output {name!r}: error {error:.1e} over the limit {limit:.0e}"
        return Verdict(False, error, limit, name, message, "numbers")

    def _noise(self, run: _Run, index: int) -> tuple[float, str]:
        """How far the source's own output moves when its float inputs change in their last bits (`NOISE_UNITS`).

        Of integer inputs it is the tables that they index which change. A model may be so badly conditioned on
        made-up inputs that any other order of additions gives other results; the second value says what differs
        where there is no distance (integers, shapes).
        """
        if run.noise is None:
            run.noise = [(0.0, "")] * len(self.output_names)
            rng = np.random.default_rng(0)
            session = None
            for _ in range(NOISE_RUNS):
                if session is None or self._tables:
                    tables = {name: _nudged(t.array(), self._noise_units, rng) for name, t in self._tables.items()}
                    session = unoptimized_session(self.reference, "the source", tables, fold=self._reference_folds)
                feeds = {name: _nudged(value, self._noise_units, rng) for name, value in run.feeds.items()}
                for i, moved in enumerate(session.run(self.output_names, feeds)):
                    _, error, problem = difference(run.outputs[i], moved, 0.0, i in self._random)
                    before = run.noise[i]
                    run.noise[i] = (max(before[0], error), before[1] or problem)
        return run.noise[index]


def _kind(expected: Any, got: Any) -> str:
    """How two results differ that cannot be measured: in what they are, or in numbers (integers, NaN)."""
    if isinstance(expected, np.ndarray) and isinstance(got, np.ndarray):
        return "numbers" if expected.shape == got.shape and expected.dtype == got.dtype else "type"
    return "type"


def _bytes(output: Any) -> int:
    return output.nbytes if isinstance(output, np.ndarray) else 0


def _has_nan(output: Any) -> bool:
    return isinstance(output, np.ndarray) and output.dtype.kind == "f" and bool(np.isnan(output).any())


def _tables(model: Model) -> dict[str, Tensor]:
    """The float weights that nodes combine with integer inputs, and the scales that round, by name.

    A sum of integers times their scales may lie halfway between two steps for all inputs alike: the last bits of the
    scales decide whether it is rounded up.
    """
    found: dict[str, Tensor] = {}
    for node in model.graph:
        if node.op.name in QUANTIZING:
            scales = (v for v in node.inputs if v is not None and v.const is not None and v.dtype is F32)
            found.update((v.hint, v.const) for v in scales if v.const is not None)
    for value in model.graph.inputs:
        if value.dtype is not None and value.dtype.is_float:
            continue
        for user, _ in value.uses:
            for other in user.inputs:
                if other is not None and other.const is not None and other.dtype in (F16, F32, F64) and other.rank:
                    found[other.hint] = other.const
    return found


def _nudged(value: Any, units: float, rng: np.random.Generator) -> Any:
    """Floats changed by about so many units in the last place; anything else as it is."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return value
    step = np.finfo(value.dtype).eps * units
    with np.errstate(over="ignore"):  # the greatest number, in a mask, may become infinity
        return np.asarray(value * (1 + step * rng.standard_normal(value.shape)), value.dtype)


def _by_cost(sizes: Sizes, first: Sizes) -> tuple[bool, int]:
    """Order of candidates after a slow run: no larger than the first, then as different as possible."""
    larger = math.prod(sizes.values()) > math.prod(first.values())
    return larger, sum(size == first.get(name) for name, size in sizes.items())


def _shape_text(feeds: dict[str, Any]) -> str:
    """The shape of the input that says most: the one with most dimensions, the first of those."""
    shapes = [np.shape(v) for v in feeds.values() if not isinstance(v, list)]
    if not shapes:
        return "-"
    best = max(shapes, key=lambda s: sum(d != 1 for d in s))
    return "x".join(str(d) for d in best) or "scalar"


def _size(output: Any) -> int:
    if isinstance(output, (list, dict)):
        return len(output)
    return 0 if output is None else int(np.asarray(output).size)
