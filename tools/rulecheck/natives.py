"""Numbers that natives compare with: read from their code, because a number like 0.044715 is not found by chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from types import CodeType
from typing import Any

_DEPTH = 2
_MOST = 40


@cache
def numbers_in(function: Callable[..., Any], depth: int = _DEPTH) -> tuple[float, ...]:
    """The floating-point numbers that a function's code names, in the module's constants and in functions it calls."""
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    if code is None:
        return ()
    around: dict[str, Any] = getattr(getattr(function, "__wrapped__", function), "__globals__", {})
    found: dict[float, None] = {}
    for name in code.co_names:
        value = around.get(name)
        if isinstance(value, float):
            found[value] = None
        elif (
            depth
            and callable(value)
            and getattr(value, "__module__", "").startswith(("geoc.passes", "geoc.lowering", "geoc_plugin"))
        ):
            found.update(dict.fromkeys(numbers_in(value, depth - 1)))
    # Tolerances are no numbers that a rule looks for.
    found.update(dict.fromkeys(n for n in _constants(code) if abs(n) > 5e-3 or n == 0))
    return tuple(found)


def _constants(code: CodeType) -> list[float]:
    found: list[float] = []
    for item in code.co_consts:
        if isinstance(item, float):
            found.append(item)
        elif isinstance(item, CodeType):
            found += _constants(item)
    return found


def combined(numbers: Sequence[float], literals: Sequence[Any]) -> list[float]:
    """The numbers, and products of two of them or of one with a literal."""
    factors = [x for x in literals if isinstance(x, float) and x not in (0.0, 1.0)]
    found: dict[float, None] = dict.fromkeys(numbers)
    usual = [n for n in numbers if abs(n) > 1e-3]
    found.update(dict.fromkeys(a * b for a in usual for b in factors))
    found.update(dict.fromkeys(a * b for i, a in enumerate(usual) for b in usual[i + 1 :]))
    found.update(dict.fromkeys(a * b * c for i, a in enumerate(usual) for b in usual[i + 1 :] for c in factors))
    return list(found)[:_MOST]
