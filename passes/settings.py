"""Checks of what a pass is told: one line that names the option and the pass for what is out of range.

    check_share(self, "left", "channels")       # above 0, up to 1; None says nothing
    check_least(self, 1, "multiple")
    check_word(self, "of", ("parameters", "time"))
    by_samples(self, "method", ctx, "plain", "aware")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..ir.errors import UsageError

if TYPE_CHECKING:
    from .base import Context, Pass

AUTO = "auto"


def refused(step: Pass, option: str, said: str) -> UsageError:
    """The error for an option of a pass, whose value is shown in front of what is said of it."""
    value = getattr(step, option)
    shown = f"{value:g}" if isinstance(value, float) else value
    return UsageError(f"{option}={shown} of {step.name} {said}", source="--passes")


def check_share(step: Pass, *options: str, whole: bool = True) -> None:
    """Raise UsageError for an option that is no share above 0 and up to 1, which with `whole` False is none either."""
    check_number(step, *options)
    for option in options:
        value = getattr(step, option)
        if value is not None and not (0 < value <= 1 and (whole or value < 1)):
            raise refused(step, option, f"is no share above 0{', up to 1' if whole else ' and below 1'}")


def check_number(step: Pass, *options: str) -> None:
    """Raise UsageError for an option that is neither a number nor None."""
    for option in options:
        value = getattr(step, option)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise refused(step, option, "is no number")


def check_least(step: Pass, least: int, *options: str) -> None:
    """Raise UsageError for an option that is less than it may be."""
    for option in options:
        if getattr(step, option) < least:
            raise refused(step, option, f"is less than {least}")


def check_word(step: Pass, option: str, words: Sequence[str]) -> None:
    """Raise UsageError for an option that is none of these words."""
    word = getattr(step, option)
    if word not in words:
        raise UsageError(f"{option} of {step.name} is {' or '.join(words)}, not {word!r}", source="--passes")


def by_samples(step: Pass, option: str, ctx: Context, without: str, using: str) -> str:
    """The word of an option of which only `without` needs no samples; for auto, `using` where there are some.

    Raises UsageError for a word that needs samples where there are none.
    """
    word: str = getattr(step, option)
    if word == AUTO:
        return without if ctx.observe is None else using
    if word != without and ctx.observe is None:
        text = f"{option}={word} of {step.name} needs samples (--calib); {without} needs none"
        raise UsageError(text, source="--passes")
    return word
