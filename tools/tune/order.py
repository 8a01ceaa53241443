"""What one call of `geoc tune` is asked for, and the command lines that its trials are."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ...ir.errors import UsageError
from ...lowering.targets import get_target
from ..emitting import FASTEST
from ..metric import Drop
from ..precision import MAX_ERROR
from ..search.fastest import ONNXRUNTIME, OPENVINO
from ..settings import Settings

MINUTES = 10.0  # of a search, where nothing else is said
BATCH = 4  # trials that are asked for together: whoever runs them, the same ones come next


def targets_of(text: str) -> tuple[str, ...]:
    """The targets that --target names: several with ``+``, or both runtimes of this machine for fastest-cpu.

    Raises UsageError for one that there is not, and for several that do not run on this machine.
    """
    if text == FASTEST:
        from ...lowering.installed import runtime_version

        if runtime_version("openvino") is None:
            raise UsageError(f"{FASTEST} tries OpenVINO as well: pip install 'geoc[openvino]'", source="--target")
        return ONNXRUNTIME, OPENVINO
    found = tuple(dict.fromkeys(part for part in text.split("+") if part))
    targets = [get_target(name) for name in found]
    away = [target.name for target in targets if not target.is_here]
    if len(found) > 1 and away:
        said = f"several are compared by the clock, and {', '.join(away)} is not this machine"
        raise UsageError(said, source="--target")
    return found


@dataclass(frozen=True)
class Order:
    """One order. `max_error` and `max_drop` None: the other one is the bound, or accuracy is what is preferred
    (`latency_target`, seconds). `thread_choices`: what to choose between, where `threads` is None; () for one and all
    of the machine. `trials` None is as many as the time allows; `seconds` of the clock, all in all."""

    source: str
    targets: tuple[str, ...] = ("cpu",)
    goal: str = "latency"
    max_error: float | None = None
    metric: str | None = None
    max_drop: Drop | None = None
    latency_target: float | None = None
    calib: str | None = None
    shape: tuple[str, ...] = ()
    threads: int | None = None
    thread_choices: tuple[int, ...] = ()
    trials: int | None = None
    seconds: float = MINUTES * 60
    batch: int = BATCH
    seed: int = 0
    cache: str | None = None
    given: tuple[str, ...] = field(default=(), compare=False)  # files that were named, for whoever runs trials

    @property
    def is_by_accuracy(self) -> bool:
        """True where what is most accurate within a time wins."""
        return self.latency_target is not None

    @property
    def is_timed(self) -> bool:
        """True if trials are timed: sizes alone decide nothing about time."""
        return self.goal != "size" or self.is_by_accuracy

    @property
    def measure_of_accuracy(self) -> str:
        """What accuracy is: "score" or "error"."""
        return "error" if self.metric is None else "score"

    def plain(self, target: str) -> Settings:
        """A compilation for a target without anything that is searched for."""
        return Settings(
            source=self.source, target=target, calib=self.calib, shape=self.shape, threads=self.threads,
            seed=self.seed, check="end",
        )  # fmt: skip

    def bounded(self, settings: Settings) -> Settings:
        """The same compilation with the bound in its command: it writes nothing where that is passed."""
        if self.metric is not None:
            return replace(settings, metric=self.metric, max_drop=self.max_drop)
        return replace(settings, max_error=self.max_error)

    def key(self) -> dict[str, Any]:
        """What results depend on, but for the files' contents; how long to search is not among it."""
        left_out = ("source", "calib", "given", "seconds", "trials", "cache", "metric")
        found = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in left_out}
        found["metric"] = None if self.metric is None else os.path.basename(self.metric)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def bounds_of(max_error: float | None, metric: str | None, drop: Drop | None, latency: float | None) -> dict[str, Any]:
    """The bound that options mean together. Raises UsageError where they do not go together."""
    if drop is not None and metric is None:
        raise UsageError("is how much of a metric may be lost: --metric FILE.py:FUNCTION", source="--max-drop")
    if metric is not None and max_error is not None:
        raise UsageError("a metric is the bound, by --max-drop; leave --max-error out", source="--max-error")
    if metric is not None and drop is None and latency is None:
        raise UsageError("how much of it may be lost? --max-drop 0.01 or 1%", source="--metric")
    if metric is None and max_error is None and latency is None:
        max_error = MAX_ERROR
    return {"max_error": max_error, "metric": metric, "max_drop": drop, "latency_target": latency}
