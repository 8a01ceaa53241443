"""Numbers as people read and write them: 1.23 ms, 312 TOP/s, 10s."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from ..ir.errors import UsageError

_PREFIXES = (
    (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"),
)  # fmt: skip
_SECONDS = {"": 1.0, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_TIME = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*")


def scaled(value: float, unit: str) -> str:
    """A number with a prefix: 1.23 ms, 312 TOP/s."""
    for factor, prefix in _PREFIXES:
        if abs(value) >= factor * 0.9995:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def read_seconds(text: str, option: str) -> float:
    """Seconds. Raises UsageError that names the option for what is no time above 0.

    >>> read_seconds("1.5m", "--time"), read_seconds("250ms", "--time")
    (90.0, 0.25)
    """
    found = _TIME.fullmatch(text)
    unit = None if found is None else _SECONDS.get(found[2])
    seconds = 0.0 if found is None or unit is None else float(found[1]) * unit
    if seconds <= 0:
        raise UsageError(f"takes a time such as 10s, 500ms or 2m, not {text!r}", source=option)
    return seconds


def aligned(rows: Sequence[Sequence[str]], numbers: Collection[int] = ()) -> list[str]:
    """Lines of a table, two spaces between columns; those of `numbers` stand at the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(
            f"{cell:>{width}}" if place in numbers else f"{cell:<{width}}"
            for place, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
