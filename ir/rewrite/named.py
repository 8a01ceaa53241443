"""The operators that a pattern names."""

from __future__ import annotations

from collections.abc import Iterable

from ..ops import Op
from ..ops import op as op_of
from .syntax import ANY


class _Every(frozenset[Op]):
    """The set of all operators: what `ANY` names."""

    __slots__ = ()

    def __contains__(self, op: object) -> bool:
        return True


EVERY = _Every()


def ops_named(names: Iterable[str]) -> frozenset[Op]:
    """The operators of these names; `EVERY` where one is `ANY`."""
    found = tuple(names)
    return EVERY if ANY in found else frozenset(op_of(n) for n in found)
