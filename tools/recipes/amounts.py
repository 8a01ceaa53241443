"""Amounts of bytes as people write them: 10MB, 1.5 GB, 512KiB, 1000000."""

from __future__ import annotations

import re

from ...ir.errors import UsageError

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_FORM = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zA-Z]*)\s*")


def read_bytes(text: str, option: str) -> int:
    """Bytes; MB are 10^6 of them, MiB 2^20. Raises UsageError that names the option for anything else."""
    found = _FORM.fullmatch(text)
    unit = None if found is None else _UNITS.get(found[2].lower())
    amount = 0 if found is None or unit is None else round(float(found[1]) * unit)
    if amount < 1:
        raise UsageError(f"takes an amount of bytes such as 10MB or 512KiB, not {text!r}", source=option)
    return amount


def amount_text(amount: int) -> str:
    """The shortest text that is read as the same amount."""
    for unit in ("GB", "MB", "kB"):
        if amount % _UNITS[unit.lower()] == 0:
            return f"{amount // _UNITS[unit.lower()]}{unit}"
    return f"{amount}B"
