"""Numbers of 8 bits or half precision: which is faster by the target's estimate, where nothing here can time either.

Both were made and compared before; of those inside the budget the fastest is taken, and the report says by how much. An
estimate is a roofline (`lowering.estimate`): it tells what arithmetic and traffic are saved, not what a clock shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...ir.clone import clone_model
from ...ir.core import Model
from ...lowering.estimate import Estimate, estimate_model
from ...passes.base import Place
from ..inputs.shapes import Shapes, specialise
from ..precision import SMALL, Attempt
from ..report import Refusal, Stays
from ..verbs.estimating import assume

if TYPE_CHECKING:
    from ...passes.quantize.placement import Keep
    from ..compiler import Compilation
    from .budget import Trial

WORTH = 0.98  # of the other's time: what saves less is within what an estimate is off by


def is_weighed(attempt: Attempt, attempts: list[Attempt]) -> bool:
    """True for numbers of 8 bits where the target has half precision to try as well."""
    return attempt.precision in SMALL and any(a.precision and a.precision not in SMALL for a in attempts)


@dataclass
class Candidate:
    """A model that fits, and what the compilation says of it: nodes that stay, the option for that, and the line."""

    trial: Trial
    kept: dict[Place, str]
    keep: dict[str, Keep]
    stays: Stays | None

    @classmethod
    def of(cls, run: Compilation, trial: Trial) -> Candidate:
        """One that was made just now."""
        return cls(trial, run.kept, run.keep, run.report.stays)

    def choose(self, run: Compilation) -> Trial:
        """Make it the result."""
        run.choose(self.trial.attempt)
        run.kept, run.keep, run.report.stays = self.kept, self.keep, self.stays
        return self.trial


def faster(run: Compilation, small: list[Candidate], other: Candidate | None) -> Candidate | None:
    """The fastest of those with numbers of 8 bits, unless `other` (None: the model in the source's precision) is about
    as fast; what was weighed is in the report. None where `other` is None and none is faster."""
    if other is None:
        run.kept, run.keep, run.report.stays = dict(run.slow), {}, None
        run.choose(run.plain)
        model = run.optimize(run.model(), [])
    else:
        model = other.trial.model
    name = "the source's precision" if other is None else other.trial.attempt.precision
    limit, sizes = seconds(run, model)
    where = f", at {', '.join(sizes)}" if sizes else ""
    times = [seconds(run, candidate.trial.model)[0] for candidate in small]
    first = times.index(min(times))
    for number, (candidate, found) in enumerate(zip(small, times)):
        precision = candidate.trial.attempt.precision
        said = f"ESTIMATED {_text(found)} beside {_text(limit)} in {name}{where}"
        pays = found < WORTH * limit
        if pays and number == first:
            run.report.notes.append(f"{precision} instead of {name}: {said}")
        else:
            why = f"{small[first].trial.attempt.precision} is no slower" if pays else "it saves no time to speak of"
            run.report.refused.append(Refusal(precision, f"{why}: {said}", 1, f"--precision {precision}"))
    return small[first] if times[first] < WORTH * limit else other


def seconds(run: Compilation, model: Model) -> tuple[float, list[str]]:
    """What a model takes on the target, and the sizes that were assumed for that where --shape leaves them open."""
    found, assumed = estimated(run, model)
    return found.seconds, assumed


def estimated(run: Compilation, model: Model) -> tuple[Estimate, list[str]]:
    """The estimate behind that. Raises UsageError for a target without peak numbers."""
    copy, _ = clone_model(model)
    best = run.shapes.best
    specialise(copy, Shapes(symbols=dict(best)))
    ranges = [f"{name}={best[name]}" for name, size in run.shapes.symbols.items() if not isinstance(size, int)]
    assumed = assume(copy)
    return estimate_model(copy, run.target), [*ranges, *assumed]


def _text(time: float) -> str:
    return f"{time * 1e3:.3g} ms"
