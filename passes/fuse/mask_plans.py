"""Ways to build a mask in fewer steps from the tensors that it is made from already."""

from __future__ import annotations

from typing import Any

from ...ir.core import Value
from ...ir.dims import DimLike
from ...ir.ops.traits import ELEMENTWISE
from ...ir.types import BOOL
from .elements import Expr, Space, TooLarge
from .elements_walk import Elements
from .mask_forms import Cone, same_dim

Conditions = tuple[Expr, Expr, Expr]
Given = tuple[int, "tuple[int, ...] | None", Any]
"""A condition on a given tensor: its number, axes that it lacks, and the number that it equals (None: not 0)."""


def plans(
    elements: Elements, root: Value, cone: Cone, tree: Expr, conditions: Conditions, hidden: float | None
) -> dict[str, tuple[Any, ...]]:
    """The cheapest way to build the mask, if it takes fewer operators: its kind, and tensors by number.

    equal: (tensor). pairs: (condition, negated). padding: (given, negated). both: (condition, given, negated).
    bias: (mask of positions, given, negated). `negated` conditions say which keys are hidden.
    """
    seen, pairs, padding = conditions
    space = elements.space
    trees = _trees(elements, root, cone)
    old = cone.nodes(0)
    found: list[tuple[int, str, tuple[Any, ...]]] = []
    for number, other in trees.items():
        if other is tree and number and _alike(cone.values[number], root):
            found.append((cone.nodes(number), "equal", (number,)))
    if hidden is not None and hidden < 0:
        found += _two_valued(space, cone, trees, (seen, pairs, padding), hidden)
    meeting = met(root)
    if root.shape and not meeting[0]:
        meeting[0] = [root.shape[-1]]  # Attention takes keys beyond the last column for hidden
    shorter = [f for f in found if f[0] < old and _covered(cone, f[2], meeting)]
    # A choice of two numbers says more of a mask than one of another mask and a number.
    best = min(shorter, default=None, key=lambda f: (f[1] == "bias", f[0]))
    return {best[1]: best[2]} if best is not None else {}


def _alike(value: Value, root: Value) -> bool:
    return value.dtype is root.dtype


def _trees(elements: Elements, root: Value, cone: Cone) -> dict[int, Expr]:
    """Elements of all tensors that the mask is made from and that broadcast to it, at the mask's indices."""
    assert root.shape is not None
    found: dict[int, Expr] = {}
    meeting = met(root)
    for number, value in enumerate(cone.values):
        shape = value.shape
        if shape is None or len(shape) > len(root.shape) or value.const is not None or value.dtype is None:
            continue
        fits = all(
            same_dim(a, b) or same_dim(a, 1) or any(same_dim(a, c) for c in sizes)
            for a, b, sizes in zip(reversed(shape), reversed(root.shape), meeting)
        )
        if fits and len(shape) >= 2:
            try:
                found[number] = elements.broadcast(value, root)
            except TooLarge:
                continue
    return found


def met(root: Value) -> list[list[DimLike]]:
    """For each axis, from the last: lengths that meet there and are not known to be equal."""
    assert root.shape is not None
    found: list[list[DimLike]] = [[] for _ in root.shape]
    node = root.producer
    if node is None or node.op.key not in ELEMENTWISE:
        return found
    for value in node.inputs:
        for axis, size in enumerate(reversed(value.shape or ()) if value is not None else ()):
            if not same_dim(size, 1) and not any(same_dim(size, other) for other in found[axis]):
                found[axis].append(size)
    return [sizes if len(sizes) > 1 else [] for sizes in found]


def _covered(cone: Cone, plan: tuple[Any, ...], meeting: list[list[DimLike]]) -> bool:
    """True if all lengths that meet in a mask also meet in what replaces it."""
    numbers = [p[0] if isinstance(p, tuple) else p for p in plan if not isinstance(p, bool)]
    shapes = [tuple(reversed(cone.values[n].shape or ())) for n in numbers]
    return all(
        any(axis < len(shape) and same_dim(shape[axis], size) for shape in shapes)
        for axis, sizes in enumerate(meeting)
        for size in sizes
    )


def _two_valued(
    space: Space, cone: Cone, trees: dict[int, Expr], conditions: Conditions, hidden: float
) -> list[tuple[int, str, tuple[Any, ...]]]:
    _, pairs, padding = conditions
    split = pairs is not padding
    found: list[tuple[int, str, tuple[Any, ...]]] = []
    for negated in (False, True):
        positions = [pairs if not negated else space.negate(pairs)] if pairs is not space.true else []
        masks = [n for n, t in trees.items() if t in positions and cone.values[n].dtype is BOOL]
        if not split or padding is space.true:
            for n in masks:
                found.append((cone.nodes(n) + 1, "pairs", (n, negated)))
            if padding is not space.true or not positions:
                continue
        if not split or padding is space.true:
            continue
        for given, cost, number in _given(space, cone, trees, padding, negated):
            if not positions:
                found.append((cone.nodes(number) + cost + 1, "padding", (given, negated)))
            for n in masks:
                total = cone.nodes(n, number) + cost + 2
                found.append((total, "both", (n, given, negated)))
            if positions:
                base = _base(space, pairs, cone.values[0], hidden)
                for n in [n for n, t in trees.items() if n and t is base]:
                    total = cone.nodes(n, number) + cost + 1
                    found.append((total, "bias", (n, given, negated)))
    return found


def _base(space: Space, pairs: Expr, root: Value, hidden: float) -> Expr:
    """The mask that hides by positions alone."""
    assert root.dtype is not None
    return space.ite(pairs, space.num(0.0, root.dtype), space.num(hidden, root.dtype))


def _given(
    space: Space, cone: Cone, trees: dict[int, Expr], padding: Expr, negated: bool
) -> list[tuple[Given, int, int]]:
    """Ways to compute the condition on a given tensor: (what, how many operators, number of the tensor)."""
    wanted = space.negate(padding) if negated else padding
    if wanted.kind != "if" or wanted.args[0].kind != "test":
        return []
    test, then, other = wanted.args
    leaf = test.args[0]
    if then.kind != "num" or other.kind != "num" or leaf.kind != "apply" or leaf.args[0] != "Equal":
        return []
    read, number = leaf.args[2], leaf.args[3]
    if number.kind in ("read", "apply"):
        read, number = number, read
    if read.kind != "read" or number.kind not in ("dim", "num"):
        return []
    equals = number.args[0] if then.args[0] else None
    if equals is None and number.args[0] != 0:
        return []  # another number than 0 that it does not equal takes one more operator
    found: list[tuple[Given, int, int]] = []
    for n, tree in trees.items():
        if tree is read:
            found.append(((n, None, equals), 1, n))
    source = space.values[read.args[0]]
    indices = space.indices
    if len(indices) == 4 and source in cone.values and tuple(read.args[1]) == (indices[0], indices[3]):
        n = cone.values.index(source)
        found.append(((n, (1, 2), equals), 2, n))
    return found
