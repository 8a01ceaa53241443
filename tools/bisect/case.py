"""A model, the options of a compilation, and a test: what can be asked again and again with some rewrites left out.

    with opened_case(settings, "ort", log) as case:
        case.outcome(limit=7)            # with the first seven rewrites
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, TextIO

from ...ir.core import Model
from ...ir.errors import GeocError, UsageError
from ...passes.base import Instrument, Place
from ...passes.instruments import Verify
from ...passes.manager import BrokenPass
from ..comparing.kept_inputs import Recorded, kept_inputs
from ..running.sessions import CannotCheck
from ..selection import flat
from .outcome import Outcome
from .tests import OPTION, Test, test_called

if TYPE_CHECKING:
    from ..calibration.samples import Samples
    from ..compiler import Compilation
    from ..settings import Settings


class Stop(Exception):
    """Raised by an instrument: the rest of the pipeline is not to run. What there is by then is judged."""


class Case:
    """One source under one test. `source` gives it afresh; `tests` counts what was judged."""

    def __init__(self, run: Compilation, test: Test, source: Callable[[], Model]) -> None:
        self.run = run
        self.test = test
        self.source = source
        self.tests = 0
        self.left_out: frozenset[str] = frozenset()  # passes, in every compilation
        self.begun = perf_counter()

    def outcome(
        self,
        limit: int | None = None,
        *,
        disabled: frozenset[int | Place] = frozenset(),
        skip: frozenset[str] = frozenset(),
        watching: Sequence[Instrument] = (),
    ) -> Outcome:
        """Compile with the first `limit` rewrites, without what is disabled or skipped, and test the result.

        A compilation that fails is an outcome of its own. Raises UsageError for what the options get wrong.
        """
        self.tests += 1
        model = self.source()
        try:
            self.run.optimize(model, [*watching, Verify()], limit=limit, disabled=disabled, skip=skip | self.left_out)
        except Stop:
            pass
        except (UsageError, OSError, MemoryError):
            raise
        except BrokenPass as error:
            return Outcome(f"crash {error.pass_name}", " ".join(str(error).split()))
        except GeocError as error:
            return Outcome(f"crash {type(error).__name__}", " ".join(error.message.split()))
        return self.test.outcome(model)

    def without_lossy(self, outcome: Outcome) -> Outcome:
        """Leave out, from now on, what changes numbers on purpose, if the model is wrong without that too.

        Errors of such passes add up, and the rewrite that takes the sum over the limit of a lossy compilation would be
        blamed for a fault anywhere else. Gives what is wrong: by the limits of a lossless compilation, or `outcome`.
        """
        judge = self.test.judge
        if outcome.kind != "numbers" or judge is None or not self.run.is_lossy:
            return outcome
        allowed, judge.max_error = judge.max_error, None
        self.left_out = frozenset(step.name for step in flat(self.run.steps) if step.lossy and not step.required)
        found = self.outcome()
        if found.kind == outcome.kind:
            return found
        judge.max_error, self.left_out = allowed, frozenset()
        return outcome

    def feeds(self) -> list[dict[str, Any]]:
        """Inputs that the source was run on; [] where the test compares nothing."""
        return [] if self.test.judge is None else [run.feeds for run in self.test.judge.runs]

    def tell(self, text: str, done: float) -> None:
        """Say what goes on, with the part of it (0 to 1) that is done."""
        self.run.progress.stage(text, done, done)


@contextmanager
def opened_case(settings: Settings, test: str, log: TextIO | None) -> Iterator[Case]:
    """The case that a command line describes. Raises UsageError where the test cannot be made."""
    from ..compiler import Compilation

    run = Compilation(settings, log)
    with run.opened() as model:
        case = Case(run, test_called(test), run.model)
        run.progress.stage("running the source", 0.05, 0.05)
        kept = kept_inputs(model)
        samples = run.samples if kept is None else Recorded(kept)
        if run.is_lossy:
            run.calibrate(run.model(), samples)
        prepare(case, model, lambda: run.reference(model), samples)
        yield case


def prepare(case: Case, model: Model, reference: Callable[[], str], samples: Samples | None) -> None:
    """Show the source to the test. Raises UsageError where nothing can be compared with it."""
    try:
        case.test.prepare(case.run, model, reference, samples)
    except CannotCheck as error:
        raise UsageError(f"nothing can be compared with the source: {error}", source=OPTION) from None
    except ImportError as error:
        raise UsageError(f"onnxruntime is not there to run the source: {error}", source=OPTION) from None
