"""What is asked of a value that is to be made, and arithmetic on shapes that are known in part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from ...ir.core import Value
from ...ir.types import DType
from .choices import Choices, Infeasible

Shape = tuple[int, ...]
Template = tuple["int | None", ...]
"""A shape with None for dimensions that do not matter."""

RANKS = (2, 3, 4, 1, 0, 5)
RANK_WEIGHTS = (3, 4, 4, 1.5, 0.5, 0.5)


@dataclass(frozen=True)
class Want:
    """Wishes about a value; None and "" leave it open.

    `content` are the elements of an integer constant, `fill` says which numbers suit: "positive", "nonzero",
    "exponent", "index N" (0 to N-1), "mask", or a number. `const` is the probability of a constant where nothing
    else decides.
    """

    dtype: DType | None = None
    shape: Template | None = None
    ranks: tuple[int, ...] = ()
    content: tuple[int, ...] | None = None
    fill: str = ""
    const: float = 0.12
    odd: bool = False  # the very low numbers that masks and pads are made of suit as well

    def like(self, shape: Template | None) -> Want:
        """The same wish for another shape."""
        return replace(self, shape=shape, ranks=(), content=None)


FREE = Want()


def shape_of(value: Value) -> Shape:
    """The shape of a value whose dimensions are all known. Raises Infeasible for others."""
    found = value.shape
    if found is None or not all(isinstance(d, int) for d in found):
        raise Infeasible(f"the shape of %{value.hint} is not known")
    return found  # type: ignore[return-value]


def merged(first: Template | None, second: Template | None) -> Template | None:
    """What two templates say; the first wins, its rank as well: the second is aligned from the end."""
    if first is None or second is None:
        return second if first is None else first
    aligned = (None,) * (len(first) - len(second)) + second[max(0, len(second) - len(first)) :]
    return tuple(b if a is None else a for a, b in zip(first, aligned))


def complete(template: Template | None, ranks: Sequence[int], choices: Choices, label: str) -> Shape:
    """A shape that fits a template."""
    if template is None:
        weights = None if ranks else RANK_WEIGHTS
        template = (None,) * choices.pick(f"{label}.rank", tuple(ranks) or RANKS, weights)
    return tuple(choices.dim(f"{label}.{i}") if d is None else d for i, d in enumerate(template))


def broadcast(*shapes: Shape) -> Shape:
    """The common shape. Raises Infeasible where there is none."""
    rank = max(len(s) for s in shapes)
    found = [1] * rank
    for shape in shapes:
        for i, d in enumerate(shape, rank - len(shape)):
            if d != 1 and found[i] not in (1, d):
                raise Infeasible(f"{shapes} have no common shape")
            found[i] = d if d != 1 else found[i]
    return tuple(found)


def regroupings(shape: Shape) -> list[Shape]:
    """Shapes with the same elements in the same order, one step away: split, merged, with and without ones."""
    found: dict[Shape, None] = {shape: None}
    for i in reversed(range(len(shape))):
        if i:
            found[(*shape[: i - 1], shape[i - 1] * shape[i], *shape[i + 1 :])] = None
        for part in (2, 3, 4, 5):
            if shape[i] % part == 0 and shape[i] >= part:
                found[(*shape[:i], shape[i] // part, part, *shape[i + 1 :])] = None
        if shape[i] == 1:
            found[(*shape[:i], *shape[i + 1 :])] = None
    for i in range(len(shape) + 1):
        found[(*shape[:i], 1, *shape[i:])] = None
    found[(prod(shape),)] = None
    return list(found)


def fit(template: Template, size: int, choices: Choices, label: str) -> Shape:
    """A shape of `size` elements that fits a template. Raises Infeasible where none is found."""
    open_at = [i for i, d in enumerate(template) if d is None]
    known = prod(d for d in template if d is not None)
    if known == 0 or size % known or (not open_at and size != known):
        raise Infeasible(f"{template} has no room for {size} elements")
    left = size // known
    made = list(template)
    for i in open_at[:-1]:
        divisors = [d for d in (1, 2, 3, 4, 5, 6) if left % d == 0]
        made[i] = choices.pick(f"{label}.fit{i}", divisors)
        left //= made[i] or 1
    if open_at:
        made[open_at[-1]] = left
    return tuple(d or 0 for d in made)
