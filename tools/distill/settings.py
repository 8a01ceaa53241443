"""What one distillation is asked to do: the options of the command, checked."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from ...ir.errors import UsageError
from ..args import Arguments
from ..files import format_of, need_folders, protect, stem_of
from ..report.report import check_suffix

DATA = "--data"
AUTO = "auto"
ATTENTION_MASK = "attention_mask"
_ABOVE_ZERO = ("lr", "temperature", "clip")


@dataclass(frozen=True)
class Settings:
    """The fields are the command's options. `alpha` None: 0.5 with labels, else 0; `mask` None: `ATTENTION_MASK`."""

    teacher: str
    student: str
    data: str
    output: str
    epochs: int = 10
    blocks: int = 0
    batch: int = 16
    lr: float = 1e-4
    temperature: float = 2.0
    alpha: float | None = None
    beta: float = 1.0
    clip: float = 1.0
    kl: tuple[str, ...] = ()
    mse: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    labels: str | None = None
    mask: str | None = None
    freeze: tuple[str, ...] = ()
    checkpoint: str | None = None
    threads: int | None = None
    report: str | None = None
    seed: int = 0

    @property
    def task(self) -> float:
        """The weight of the labels: `alpha`, or what it is by default."""
        return (0.0 if self.labels is None else 0.5) if self.alpha is None else self.alpha

    def decides(self) -> dict[str, Any]:
        """The options that decide what comes out, models and data apart."""
        apart = ("teacher", "student", "data", "output", "checkpoint", "report")
        return {key: value for key, value in asdict(self).items() if key not in apart}


def settings_of(arguments: Arguments) -> Settings:
    """The distillation that a command line asks for. Raises UsageError, OSError for folders that are not there."""
    if len(arguments.words) != 2:
        raise UsageError("give the teacher and the student: geoc distill TEACHER STUDENT --data DATA")
    teacher, student = arguments.words
    values = {key: arguments.values[key] for key in Settings.__dataclass_fields__ if key in arguments.values}
    for key in ("kl", "mse", "hidden", "freeze"):
        if key in values:
            values[key] = tuple(values[key])
    if "data" not in values:
        raise UsageError("needs the samples to train on: --data DATA, as --calib takes them")
    values.setdefault("output", f"{stem_of(student)}.distilled.onnx")
    found = Settings(teacher, student, **values)
    _check(found)
    return found


def _check(settings: Settings) -> None:
    for key in _ABOVE_ZERO:
        if not getattr(settings, key) > 0:
            raise UsageError("takes a number above 0", source=f"--{key}")
    for key in ("epochs", "batch", "threads"):
        least = 0 if key == "epochs" and settings.blocks else 1  # blocks alone
        if (getattr(settings, key) if getattr(settings, key) is not None else least) < least:
            raise UsageError(f"takes a whole number from {least} on", source=f"--{key}")
    if settings.blocks < 0:
        raise UsageError("takes a whole number from 0 on", source="--blocks")
    if settings.blocks and not settings.hidden:
        raise UsageError("refines what lies between hidden values: --hidden auto", source="--blocks")
    if not 0 <= settings.task <= 1:
        raise UsageError("takes a number from 0 to 1", source="--alpha")
    if not 0 <= settings.beta < float("inf"):
        raise UsageError("takes a number from 0 on", source="--beta")
    if settings.seed < 0:
        raise UsageError("takes no negative number", source="--seed")
    if settings.alpha and settings.labels is None:
        raise UsageError("weighs the labels, and there are none: --labels NAME", source="--alpha")
    if AUTO in settings.hidden and len(settings.hidden) > 1:
        raise UsageError(f"takes {AUTO} or pairs, not both", source="--hidden")
    if settings.hidden and not settings.beta:
        raise UsageError("of 0 leaves nothing of --hidden", source="--beta")
    format_of(settings.output)
    need_folders(settings.output, settings.report)
    check_suffix(settings.report, (".json",))
    protect([settings.output], [path for path in (settings.teacher, settings.student) if os.path.exists(path)])
