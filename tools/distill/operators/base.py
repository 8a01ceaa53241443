"""What an entry of the table is, and how operands are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ....ir.errors import UnsupportedModel

Given = Sequence[Any]
"""Operands of a node: tensors, numpy arrays where the table says `numbers`, None where left out."""


class Operator(NamedTuple):
    """One operator: ``run(node, given)``, and which operands are numbers that it reads rather than computes with.

    `numbers` (shapes, axes, pads, ...) come as numpy arrays, wherever they were computed.
    """

    run: Callable[[Any, Given], Any]
    numbers: tuple[int, ...] = ()


class Lacking(UnsupportedModel):
    """A form of an operator that its function does not have; the text says which."""


def at(given: Given, index: int) -> Any:
    """Operand `index`; None where it is left out."""
    return given[index] if index < len(given) else None


def ints(given: Given, index: int) -> list[int] | None:
    """Operand `index` as whole numbers; None where it is left out."""
    found = at(given, index)
    return None if found is None else [int(number) for number in found.reshape(-1).tolist()]


def axis_of(axis: int, rank: int) -> int:
    """An axis as a number from 0 on."""
    return axis + rank if axis < 0 else axis


def of_first(function: Callable[[Any], Any]) -> Operator:
    """The operator that is a function of its one operand."""
    return Operator(lambda node, given: function(given[0]))


def of_two(function: Callable[[Any, Any], Any]) -> Operator:
    """The operator that is a function of its two operands."""
    return Operator(lambda node, given: function(given[0], given[1]))
