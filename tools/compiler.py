"""One compilation from source to report: load, run the pipeline, compare, repair, write.

Nothing is written before the result has been compared, and nothing at all when it is wrong.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, TextIO

from ..ir.core import Model
from ..ir.errors import FormatError, InvalidModel, UnsupportedModel, UsageError
from ..lowering.backend import Order
from ..lowering.emit import write_onnx
from ..lowering.onnx.external import with_external_weights
from ..lowering.onnx.save import is_inside
from ..lowering.targets import get_target
from ..passes.base import Context, Instrument, Pass, Place
from ..passes.instruments import Refusals, Tally, Timing
from ..passes.last_logits import keep_last_logits
from ..passes.manager import run_pipeline
from ..passes.pipelines import Item, names, render
from ..passes.precision.interface import Interface
from ..passes.registry import Registry
from .calibration.calibration import RANDOM, Calibration
from .calibration.samples import Samples, open_samples
from .calibration.statistics import open_cache
from .emitting import FASTEST, is_canonical, outputs_of
from .files import files_of, is_in_blocks, is_onnx, load_any, need_folders, protect
from .goal import GOALS
from .inputs.shapes import read_shapes, specialise
from .pipeline import CANONICAL, items_of
from .precision import SMALL, Attempt, attempts, canonical_attempts, for_blocks, untried
from .progress import Progress
from .recipes.planning import RECIPE, Planner, described
from .report import NOT_CHECKED, Accuracy, GraphSize, Refusal, Report, group_refusals
from .report.facts import fired
from .report.provenance import Hashes, provenance
from .report.report import SUFFIXES, check_suffix
from .selection import selected
from .settings import Settings
from .watch import TRACE, Outputs, old_dumps

if TYPE_CHECKING:
    from ..ir.ops.cost import CostModel
    from ..passes.quantize.placement import Keep
    from .comparing.check import Judge
    from .metric import Metric

# Bytes of weights up to which the default is to compare. What changes results beyond rounding is compared, and measured
# before, where that takes minutes: the budget would be a guess.
CHECK_MAX, LOSSY_CHECK_MAX = 500_000_000, 2_000_000_000
# Bytes of weights from which on they are in a file of their own where a model is run: onnxruntime maps that, and reads
# what is inside a model into memory twice.
MAPPED = 16 << 20


class Compilation:
    """The state of one run. `model()` gives the source afresh, so that repairs can start over."""

    def __init__(self, settings: Settings, log: TextIO | None = None) -> None:
        """`log` is where progress, times and numbers go (the command gives stderr)."""
        self.settings = settings
        self.log = log
        self.progress = Progress(log)
        self.report = Report(level=None if settings.passes is not None else settings.level)
        self.calibration: Calibration | None = None  # where a pass wants to see numbers
        self.samples: Samples | None = None  # those of --calib
        self.scratch: str | None = None
        self.judge: Judge | None = None  # what the result was compared by
        self.metric: Metric | None = None  # that of --metric
        self.slow: dict[Place, str] = {}  # those of them that were timed and do not pay
        self.keep: dict[str, Keep] = {}  # the options of passes that say the same as `kept`
        self.hashes: Hashes | None = None  # of the source's files, where somebody asks for them
        self.layer_times: dict[Place, float] = {}  # seconds that layers save in integers, where they were timed
        self.kept: dict[Place, str] = {}  # nodes that lossy passes leave as they are, and why
        self.plain = Attempt("", ())  # the precision of the source
        self._reference: str | None = None
        self._times: CostModel | None = None
        self._in_place = settings.source if isinstance(settings.source, Model) else None
        self._used_source = False

    def run(self) -> Report:
        """Do everything. Raises GeocError or OSError for the user's errors, BrokenPass for geoc's."""
        try:
            return self._run()
        except (FormatError, InvalidModel, UnsupportedModel) as error:
            error.source = error.source or self.settings.path or ""
            raise

    def _run(self) -> Report:
        begun, settings = perf_counter(), self.settings
        with ExitStack() as stack:
            stack.callback(self.progress.finished)
            stack.callback(self._clean)
            self._plan()
            self.progress.stage("reading", 0.0, 0.1)
            model = self.model()
            self._protect(model)
            self._keep_blocks(model)
            if settings.report is not None or (self.written and not settings.is_copy):
                self.hashes = Hashes(self.inputs)
            if self.written:
                from .writing import check_outputs

                check_outputs(self, model, self.written)
            self.outputs = stack.enter_context(Outputs(self.settings, self.log))
            model = self._compile(model)
            if self.has_limits:
                from .recipes.limits import check_limits

                check_limits(self, model)
            if settings.measure and self.report.ok:
                from .search.profit import measure_result

                measure_result(self, model)
            self._write(model)
            self.finished(model)
            if self._in_place is not None and model is not self._in_place:
                _replace(self._in_place, model)
                model = self._in_place
        cache = None if self.calibration is None else self.calibration.cache
        if cache is not None and cache.hits:
            known = f"{cache.hits} of {cache.hits + cache.misses} measurements on samples are those of an earlier run"
            self.report.notes.append(f"{known}, from {cache.folder}; --cache=off measures again")
        self.report.model = model
        self.report.seconds = perf_counter() - begun
        self.report.again = settings.command()
        if settings.report is not None:
            sources = {} if self.hashes is None else self.hashes.found()
            self.report.provenance = provenance(sources, settings.given_files(), self.report.files)
            self.report.write(settings.report)
        return self.report

    # Before the passes

    @contextmanager
    def opened(self) -> Iterator[Model]:
        """Planned and read, for who drives the passes himself: gives the source. Nothing is compiled or written."""
        with ExitStack() as stack:
            stack.callback(self.progress.finished)
            stack.callback(self._clean)
            self._plan()
            self.progress.stage("reading", 0.0, 0.05)
            model = self.model()
            self._protect(model)
            self._keep_blocks(model)
            if self.settings.calib not in (None, RANDOM):
                self.samples = open_samples(str(self.settings.calib), model)
            yield model

    def calibrate(self, model: Model, samples: Samples | None) -> None:
        """Let passes measure on these samples of `model`, or (None) on made-up inputs."""
        if self.calibration is not None:
            self.calibration.close()
        self.calibration = Calibration(
            model, self.shapes, self.settings.seed, self.export_placed, samples, self.progress.detail,
            open_cache(self.settings.cache, self.report.notes.append),
        )  # fmt: skip

    def _plan(self) -> None:
        settings = self.settings
        self.target = get_target(settings.target)
        self.fallback = None if settings.fallback == "none" else get_target(settings.fallback)
        self.written = outputs_of(self.target.backend, settings.emit, settings.output, settings.path)
        self.canonical = is_canonical(self.written)
        if self.canonical and settings.logits == "last":
            raise UsageError("llama.cpp makes those that it is asked for; nothing says so in GGUF", source="--logits")
        self.registry = Registry(self.target.rule_sets)
        self.registry.add_user_code(settings.plugin, settings.rules)
        level = None if settings.passes else settings.level
        self.attempts = self._attempts(level, settings.goal)
        self.plan = Planner(settings, self.target).made()
        if self.plan.recipe is not None:
            self.report.recipe = described(self.plan, settings, self.registry)
        is_usual = settings.goal is not None and not self.plan.kind
        if is_usual and all(self._attempts(level, goal) == self.attempts for goal in GOALS):
            self.report.notes.append(f"--goal={settings.goal} decides nothing here: all goals have the same form")
        self.choose(self.plan.forms[0].attempt if self.plan.kind == RECIPE else self.attempts[0])
        if not self.canonical and (settings.precision == "auto" or (level == 3 and settings.precision is None)):
            self.report.notes += untried(self.target, settings.calib)
        tried = [*self.attempts, *(form.attempt for form in self.plan.forms), *self._in_blocks()]
        every = [step for attempt in tried for step in self.registry.resolve(self._items(attempt))]
        self.skip = selected(every, settings.skip, settings.only)
        if self.plan.recipe is not None and settings.passes is not None:
            name = self.plan.recipe.name
            self.report.notes.append(f"the passes of recipe {name} are left out: --passes says what runs")
        report = self.report
        report.source = settings.path or ""
        report.target = settings.target
        report.target_description = self.target.describe().partition("(")[2].rstrip(")")
        if settings.output is not None:
            report.output = settings.output
        need_folders(settings.output, settings.report)
        check_suffix(settings.report, SUFFIXES)
        self._plan_metric()

    def _attempts(self, level: int | None, goal: str | None) -> list[Attempt]:
        settings = self.settings
        if self.canonical:
            return canonical_attempts(settings.precision, settings.calib)
        return attempts(self.target, settings.precision, level, settings.io_precision, settings.calib, goal)

    def _keep_blocks(self, model: Model) -> None:
        """Let a source whose weights are in blocks keep them, or have floats: it is known now that it is read."""
        found = self._in_blocks()
        if found and is_in_blocks(model):
            self.attempts = found
            self.plain = next((found for found in self.attempts if not found.precision and not found.items), self.plain)
            self.choose(self.attempts[0])

    def _in_blocks(self) -> list[Attempt]:
        """The attempts for a source whose weights are in blocks; [] where the settings say what is done with any."""
        settings = self.settings
        if settings.passes is not None or settings.level < 2 or self.plan.kind or self.canonical:
            return []
        has_budget = settings.max_error is not None or settings.max_drop is not None or len(self.attempts) > 1
        return for_blocks(self.attempts, self.target, settings.precision, settings.goal, has_budget)

    def _plan_metric(self) -> None:
        settings = self.settings
        if settings.max_drop is not None and settings.metric is None:
            raise UsageError("is how much of a metric may be lost: --metric FILE.py:FUNCTION", source="--max-drop")
        if settings.metric is None:
            return
        if settings.check == "off":
            raise UsageError("a metric is measured where results are compared, and --check=off", source="--metric")
        from .metric import Metric

        self.metric = Metric(settings.metric, settings.max_drop, settings.threads)

    def choose(self, attempt: Attempt) -> None:
        """Make the pipeline that of one of the attempts."""
        self.chosen = attempt
        items = self._items(attempt)
        self.steps = self.registry.resolve(items)
        self.is_lossy = any(self.registry.find(step.name).lossy for step in names(items))
        self.report.pipeline = render(items)
        self.report.precision = attempt.precision

    def _items(self, attempt: Attempt) -> tuple[Item, ...]:
        edits = CANONICAL if self.canonical else self.target.pipeline
        return items_of(attempt, self.settings, self.registry, edits)

    def choose_unchecked(self) -> None:
        """Where nothing is compared: the first attempt whose numbers need no budget to be trusted."""
        if self.plan.kind == RECIPE:
            why = "nothing is compared that could keep its other forms within a budget"
            self.report.refused.append(Refusal(f"recipe {self.settings.recipe}", why, 1, "--check=end"))
            self.choose(self.plan.ordered(self.settings.precision))
            return
        first = self.attempts[0].precision
        if len(self.attempts) > 1 and first in SMALL:
            self.choose(next(attempt for attempt in self.attempts if attempt.precision not in SMALL))
            why = "nothing is compared that could keep it within a budget"
            self.report.refused.append(Refusal(first, why, 1, f"--precision {first}"))

    def before(self, step: Pass) -> Model:
        """The source as it is when a step of the pipeline comes to it."""
        chosen, self.steps = self.steps, self.steps[: self.steps.index(step)]
        try:
            return self.optimize(self.model(), [])
        finally:
            self.steps = chosen

    @property
    def has_limits(self) -> bool:
        """True if there is a --max-size or a --max-memory."""
        return self.settings.max_size is not None or self.settings.max_memory is not None

    @property
    def interface(self) -> str | None:
        """What the pipeline declares float inputs and outputs as; None where it leaves them alone."""
        return next((step.to for step in reversed(self.steps) if isinstance(step, Interface)), None)

    def model(self) -> Model:
        """The source model, with the sizes of --shape; read again on each call."""
        if self._in_place is not None and not self._used_source:
            self._used_source = True
            model = self._in_place
        elif self._in_place is not None:
            assert self._reference is not None
            with open(self._reference, "rb") as file:
                return load_any(file.read())  # shapes are in it already
        else:
            model = load_any(self.settings.source)
        self.shapes = read_shapes(self.settings.shape, model)
        specialise(model, self.shapes)
        if self.settings.logits == "last":
            keep_last_logits(model)
        return model

    def _protect(self, model: Model) -> None:
        """Nothing that is written may be what is read."""
        settings = self.settings
        self.inputs = files_of(settings.source, model)
        written = [path for path in (settings.report, settings.remarks) if path is not None]
        for output in self.written:
            written += [output.path, output.path + ".data"]
            if output.emitter.is_folder:
                written += [path for path in self.inputs if is_inside(path, output.path)]
        if settings.dump_dir is not None:
            written += [*old_dumps(settings.dump_dir), os.path.join(settings.dump_dir, TRACE)]
        protect(written, self.inputs)

    def _source_bytes(self) -> int:
        """Bytes of the source's files; 0 for a folder, which may have the weights twice, and other things."""
        path = self.settings.path
        return 0 if path is not None and os.path.isdir(path) else sum(map(os.path.getsize, self.inputs))

    def scratch_folder(self) -> str:
        """A folder for files that go when this is done."""
        if self.scratch is None:
            self.scratch = tempfile.mkdtemp(prefix="geoc-")
        return self.scratch

    def finished(self, model: Model) -> None:
        """What somebody who compiles does with the result while all that it was compared with is still there: nothing
        here."""

    def _clean(self) -> None:
        if self.calibration is not None:
            self.calibration.close()
        if self.scratch is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def reference(self, model: Model) -> str:
        """A file with the unoptimized model: the source itself where that is ONNX. `model` is unoptimized.

        Of a large source it is a copy whose weights onnxruntime maps (`lowering.onnx.external`).
        """
        if self._reference is None:
            path, copy = self.settings.path, os.path.join(self.scratch_folder(), "reference.onnx")
            if path is None or not is_onnx(path) or self.settings.logits == "last":
                self.export(model, copy)
            elif os.path.getsize(path) <= MAPPED or not with_external_weights(path, copy):
                copy = path
            self._reference = copy
        return self._reference

    def export(self, model: Model, path: str) -> None:
        """Write `model` as ONNX for the target, to be run here: onnxruntime maps weights that are large."""
        weights = "copy" if model.weight_bytes > MAPPED else None
        write_onnx(model, path, Order(self.target, self.settings.opset, weights))

    def export_placed(self, model: Model, path: str) -> None:
        """The same where large weights are in files beside it already (`PlacedWeights`)."""
        write_onnx(model, path, Order(self.target, self.settings.opset, "reuse"))

    # Passes and comparison

    def _compile(self, model: Model) -> Model:
        self.report.before = GraphSize.of(model, self._source_bytes())
        weights = sum(self.report.before.weights.values())
        if self.settings.calib not in (None, RANDOM):
            self.samples = open_samples(str(self.settings.calib), model)
        is_lossy = self.is_lossy or bool(self.plan.kind)
        most = LOSSY_CHECK_MAX if is_lossy else CHECK_MAX
        mode = self.settings.check
        if mode is None:
            mode = "end" if weights < most or self.metric is not None else "off"
            if mode == "off":
                reason = f"{weights / 1e6:,.0f} MB of weights; --check=end compares anyway"
                self.report.accuracy = Accuracy(NOT_CHECKED, reason)
        elif mode == "off":
            self.report.accuracy = Accuracy(NOT_CHECKED, "--check=off")
        if mode == "off":
            self.choose_unchecked()
        # Who wants it run for a comparison, or gives samples, wants it measured too.
        if is_lossy and (weights < most or mode != "off" or self.samples is not None):
            self.calibrate(model, self.samples)
        if mode == "off":
            return self.optimize(model, self.final_instruments())
        from .comparing.checked import compile_checked

        return compile_checked(self, model, mode)

    def optimize(
        self,
        model: Model,
        instruments: list[Instrument],
        *,
        skip: frozenset[str] = frozenset(),
        disabled: frozenset[int | Place] = frozenset(),
        limit: int | None = None,
    ) -> Model:
        """Run the pipeline over `model` and return it; `limit` further lowers --bisect-limit."""
        limits = [n for n in (self.settings.bisect_limit, limit) if n is not None]
        ctx = Context(
            capabilities=self.target.capabilities,
            instruments=instruments,
            bisect_limit=min(limits) if limits else None,
            skip=self.skip | skip,
            disabled=disabled,
            seed=self.settings.seed,
            measure=None if self.calibration is None else self.calibration.ranges,
            observe=None if self.calibration is None or self.settings.calib is None else self.calibration.observe,
            kept=self.kept,
            times=self.times(),
            recall=None if self.calibration is None or self.settings.calib is None else self.calibration.recall,
        )
        run_pipeline(model, self.steps, ctx)
        return model

    def times(self) -> CostModel | None:
        """What layers take, timed once in this compilation where --measure asks for it; None for the estimate."""
        if self.settings.measure and self._times is None:
            from .search.measured_cost import measured_cost

            self._times = measured_cost(self)
        return self._times

    def final_instruments(self) -> list[Instrument]:
        """Fresh instruments for a run whose result may be the one that is kept."""
        self.progress.stage("optimizing", 0.1, 0.7, len(self.steps) * 6)
        self.tally, self.refusals = Tally(), Refusals()
        wants_times = self.settings.time_passes or self.settings.report is not None
        self.timing = Timing() if wants_times else None
        watching: list[Instrument] = [self.progress, self.tally, self.refusals]
        if self.timing is not None:
            watching.append(self.timing)
        return [*watching, *self.outputs.instruments()]

    # After the passes

    def _write(self, model: Model) -> None:
        report = self.report
        report.rewrites = {
            f"{name}.{rule}" if rule else name: count for (name, rule), count in sorted(self.tally.counts.items())
        }
        report.refused += group_refusals(self.refusals)
        if self.chosen.note:
            report.notes.append(self.chosen.note)
        if self.timing is not None:
            report.timing = self.timing.root.to_json()
            if self.log is not None and self.settings.time_passes:
                self.progress.finished()
                self.log.write(self.timing.text() + "\n")
        report.after = GraphSize.of(model)
        if self.settings.report is not None:
            report.rules = fired(self.tally, self.registry)
            if report.ok:
                from .quantreport.section import quantization_of

                report.quantization = quantization_of(self, model)
        self.outputs.flush()
        if self.written and report.ok:
            self.progress.stage("writing", 0.9, 1.0)
            from .writing import write_outputs

            sizes = write_outputs(self, model, self.written)
            if self.has_limits:
                from .recipes.limits import check_written

                check_written(self, sizes)


def _replace(model: Model, new: Model) -> None:
    """Make `model` hold what `new` holds."""
    for name in Model.__slots__:
        if name != "source":
            setattr(model, name, getattr(new, name))


def compile_settings(settings: Settings, log: TextIO | None = None) -> Report:
    """Run one compilation, or those that ``fastest-cpu`` chooses between."""
    if settings.target == FASTEST:
        from .search.fastest import compile_fastest

        return compile_fastest(settings, log)
    return Compilation(settings, log).run()
