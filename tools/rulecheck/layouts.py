"""Which shapes and attributes operators need: a plan's operands made in a fitting order.

A layout asks for each operand with what is known by then: the shape wanted of the result, and the operands made
so far. It need not be right about everything, inference and the matcher have the last word.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from ...ir.ops import Op
from ...ir.types import TensorType
from .choices import Infeasible
from .plan import Plan
from .wanted import FREE, Shape, Template, Want, broadcast, complete, fit, merged, regroupings, shape_of

Layout = Callable[[Plan], None]


def layout_of(op: Op) -> Layout:
    """How to make the operands of an operator."""
    from . import layers, movement

    found = _LAYOUTS.get(op.base_key) or movement.LAYOUTS.get(op.base_key) or layers.LAYOUTS.get(op.base_key)
    if found is not None:
        return found
    return elementwise if op.elementwise else alike


def alike(plan: Plan) -> None:
    """Operands of one shape."""
    shape: Template | None = plan.want.shape
    for index in plan.order():
        value = plan.arg(index, plan.want.like(shape) if index == 0 or shape else FREE)
        if value is not None and index == 0 and isinstance(value.type, TensorType):
            shape = shape_of(value)


def sequence_at(plan: Plan) -> None:
    """A sequence and a place in it."""
    plan.arg(0)
    plan.arg(1, Want(plan.dtype_at(1), (), const=0.8))


# Elementwise operators with broadcasting

_FILLS = {("Div", 1): "nonzero", ("Pow", 1): "exponent", ("Mod", 1): "nonzero"}


def elementwise(plan: Plan) -> None:
    """Operands that broadcast to what is wanted."""
    so_far: Shape | None = None
    todo = plan.order()
    for position, index in enumerate(todo):
        fill = _FILLS.get((plan.op.name, index), "")
        last = position == len(todo) - 1
        if plan.known(index) is not None:
            shape = plan.shape(index)
        else:
            likely = 0.25 if len(todo) > 1 and index else 0.1
            wanted = _operand_shape(plan, index, so_far, last)
            value = plan.arg(index, Want(dtype=plan.dtype_at(index), shape=wanted, fill=fill, const=likely))
            shape = None if value is None else shape_of(value)
        if shape is not None:
            so_far = shape if so_far is None else broadcast(so_far, shape)


def _operand_shape(plan: Plan, index: int, so_far: Shape | None, last: bool) -> Template | None:
    if plan.op.name == "Clip" and index:
        return ()
    target = plan.want.shape
    if so_far is None:
        return target
    label = plan.label(f"relative{index}")
    base = merged(target, so_far)
    assert base is not None
    if target is None and plan.choices.chance(f"{label}.wider", 0.7 if plan.left.wide else 0.1):
        base = (*(None,) * plan.choices.pick(f"{label}.lead", (0, 1)), *(None if d == 1 else d for d in so_far))
    aligned = (1,) * (len(base) - len(so_far)) + so_far[max(0, len(so_far) - len(base)) :]
    full = complete(base, (), plan.choices, label)
    # What the others lack to reach the target must come from this one if it is the last.
    needed = [last and target is not None and a != b for a, b in zip(aligned, full)]
    way = plan.choices.pick(f"{label}.way", ("same", "scalar", "vector", "channel", "some"), (6, 1.2, 2, 1, 1.5))
    if way == "same":
        return full
    kept = [
        n
        or (way == "vector" and i == len(full) - 1)
        or (way == "channel" and i == 1)
        or (way == "some" and plan.choices.chance(f"{label}.keep{i}", 0.5))
        for i, n in enumerate(needed)
    ]
    found = tuple(d if k else 1 for d, k in zip(full, kept))
    lead = next((i for i, k in enumerate(kept) if k), len(kept))
    return found[plan.choices.pick(f"{label}.drop", (lead, 0), (3, 1)) :]


def cast(plan: Plan) -> None:
    """A Cast; where the result's type is wanted, to that one."""
    from ...ir.types import BOOL, F16, F32, F64, I32, I64

    to = plan.want.dtype
    plan.arg(
        0, Want(plan.choices.pick(plan.label("from"), (plan.left.main, F32, F16, I64, F64, I32, BOOL)), plan.want.shape)
    )
    usual = [d.onnx for d in (plan.left.main, F32, F16, F64, I64, I32, BOOL)]
    plan.attr("to", [to.onnx] if to is not None else usual)


# Matrix products


def matmul(plan: Plan) -> None:
    """Two operands that share the inner dimension; weights are mostly matrices."""
    target = plan.want.shape
    for index in sorted((0, 1), key=lambda i: (plan.weight(i), i)):
        other = plan.shape(1 - index)
        if plan.known(index) is None:
            plan.arg(
                index, Want(plan.dtype_at(index), _factor(plan, index, other, target), const=0.3 if index else 0.05)
            )


def _factor(plan: Plan, index: int, other: Shape | None, target: Template | None) -> Template | None:
    label = plan.label(f"factor{index}")
    if other is not None and len(other) < 2:
        raise Infeasible("a vector in a matrix product")
    if target is not None and (len(target) < 2 or (other is not None and len(other) > len(target))):
        target = None
    if other is None:
        if target is None:
            return (None,) * plan.choices.pick(f"{label}.rank", (3, 2, 4))
        return (*target[:-1], None) if index == 0 else (*target[:-2], None, target[-1])
    inner = other[-1] if index else other[-2]
    outer = None if target is None else target[-1] if index else target[-2]
    batch: Template = tuple(other[:-2])
    if target is not None:
        batch = merged(target[:-2], batch) or ()
    if index and plan.choices.pick(f"{label}.flat", (True, False), (2, 3) if len(other) < 4 else (1, 4)):
        if target is None or len(other) == len(target):
            batch = ()
    elif target is None and batch and plan.choices.chance(f"{label}.one", 0.15):
        batch = (1,) * len(batch)
    return (*batch, inner, outer) if index else (*batch, outer, inner)


def gemm(plan: Plan) -> None:
    """A, B and perhaps C."""
    flip_a = plan.attr("transA", (0, 1))
    flip_b = plan.attr("transB", (0, 1))
    plan.attr("alpha", (1.0, 0.5))
    plan.attr("beta", (1.0, 0.5, 2.0))
    rows, columns = (None, None) if plan.want.shape is None or len(plan.want.shape) != 2 else plan.want.shape
    inner: int | None = None
    for index in sorted((0, 1), key=lambda i: (plan.weight(i), i)):
        outer = columns if index else rows
        wanted: Template = (inner, outer) if index else (outer, inner)
        flip = flip_b if index else flip_a
        found = shape_of(
            plan.must(index, Want(plan.dtype_at(index), wanted[::-1] if flip else wanted, const=0.3 * index))
        )
        if len(found) != 2:
            raise Infeasible("Gemm takes matrices")
        found = found[::-1] if flip else found
        inner = found[0] if index else found[1]
        rows, columns = (rows, found[1]) if index else (found[0], columns)
    full = (rows or 1, columns or 1)
    bias = plan.left.narrowed(plan.label("bias"), full, (1, 2, 0))
    plan.arg(2, Want(plan.dtype_at(2), bias, const=0.4))


_EQUATIONS = {
    1: ("ij->ji", "bij->bji", "ij->i", "bij->bj", "bhij->bihj", "ij->", "ij->ij"),
    2: (
        "bij,bjk->bik",
        "bhid,bhjd->bhij",
        "ij,jk->ik",
        "bid,bjd->bij",
        "ij,ij->ij",
        "bij,bi->bij",
        "i,j->ij",
        "ij,ij->i",
    ),
    3: ("ij,jk,kl->il",),
}


def einsum(plan: Plan) -> None:
    """Operands whose dimensions are named by the equation."""
    equation = plan.attr("equation", _EQUATIONS.get(len(plan), ()))
    left, _, right = str(equation).replace(" ", "").partition("->")
    names = left.split(",")
    if len(names) != len(plan) or "." in left:
        raise Infeasible(f"the equation {equation} for {len(plan)} operands")
    sizes: dict[str, int | None] = {}
    if plan.want.shape is not None and len(plan.want.shape) == len(right):
        sizes.update(zip(right, plan.want.shape))
    for index in plan.order():
        wanted = tuple(sizes.get(letter) for letter in names[index])
        found = shape_of(plan.must(index, Want(plan.dtype_at(index), wanted)))
        if len(found) != len(names[index]):
            raise Infeasible(f"{names[index]} for the shape {list(found)}")
        sizes.update(zip(names[index], found))


# Reductions and what works along an axis


def axis_of(plan: Plan, name: str = "axis", usual: tuple[int, ...] = (-1, 1, 0, -2, 2)) -> int:
    """An axis attribute that fits the first operand."""
    value = plan.must(0, plan.want.like(plan.want.shape))
    rank = len(shape_of(value))
    found = plan.attr(name, [a for a in usual if -rank <= a < rank])
    if found is None or not -rank <= int(found) < rank:
        raise Infeasible(f"axis {found} of a tensor of rank {rank}")
    return int(found)


def along(plan: Plan) -> None:
    """One operand of the wanted shape, worked on along an axis."""
    axis_of(plan)


def reduce(plan: Plan) -> None:
    """A reduction over given axes, or over all."""
    keep = plan.attr("keepdims", (1, 0))
    plan.attr("noop_with_empty_axes", (0, 1))
    by_attribute = plan.op.schema is not None and "axes" in plan.op.schema.attributes
    axes = plan.ints(1)
    known = plan.shape(0)
    target = plan.want.shape
    rank = len(known) if known is not None else None
    if by_attribute:
        axes = plan.attr("axes", ((-1,), (1,), (0,), (2, 3), (-2, -1), (-1, -2), (2,), (1, 2), (0, 1), None))
        axes = None if axes is None else tuple(axes)
    elif axes is None and not plan.is_absent(1) and len(plan) > 1:
        axes = plan.choices.pick(plan.label("axes"), ((-1,), (1,), (0,), (2, 3), (-2, -1), (2,), (1, 2), (-2,)))
    if rank is None and target is not None:
        rank = len(target) + (0 if keep or axes is None else len(axes))
    if known is None:
        wanted: Template | None = None
        if rank is not None and axes is not None:
            if not all(-rank <= a < rank for a in axes):
                raise Infeasible("an axis beyond the rank")
            gone = {a % rank for a in axes}
            given = iter(target or ())
            wanted = tuple(
                (next(given, None) if keep else None) and None if i in gone else next(given, None) for i in range(rank)
            )
        plan.arg(0, Want(plan.dtype_at(0), wanted))
    if not by_attribute:
        plan.arg(1, Want(content=axes) if axes is not None else FREE)


# Views


def reshape(plan: Plan) -> None:
    """An operand and a target with as many elements."""
    content = plan.ints(1)
    known = plan.shape(0)
    label = plan.label("reshape")
    if content is not None:
        _reshape_to(plan, content, known, label)
        return
    if known is None:
        target = complete(plan.want.shape, plan.want.ranks, plan.choices, label)
        source: Shape = target
        for step in range(plan.choices.pick(f"{label}.steps", (1, 0, 2))):
            source = plan.choices.pick(f"{label}.from{step}", regroupings(source))
        known = shape_of(plan.must(0, Want(plan.dtype_at(0), source)))
        wanted = plan.want.shape  # the operand may have settled more of it
        if prod(known) != prod(target) or (wanted is not None and merged(wanted, target) != target):
            target = fit(wanted or (*target[:-1], None), prod(known), plan.choices, label) if target else ()
    elif plan.want.shape is not None:
        target = fit(plan.want.shape, prod(known), plan.choices, label)
    else:
        target = known
        for step in range(plan.choices.pick(f"{label}.steps", (1, 2, 0))):
            target = plan.choices.pick(f"{label}.to{step}", regroupings(target))
    zeros = plan.attr("allowzero", (0,), free=False)
    plan.arg(1, Want(content=_spelled(plan, target, known, bool(zeros)), const=0.9))


def _spelled(plan: Plan, target: Shape, source: Shape, zeros: bool) -> Shape:
    """A target as numbers, perhaps with one -1, or 0 for dimensions that stay in place."""
    spelled = list(target)
    if spelled and plan.choices.chance(plan.label("minus"), 0.3) and 0 not in target:
        spelled[plan.choices.pick(plan.label("minus.at"), range(len(spelled)))] = -1
    if not zeros and plan.choices.chance(plan.label("copy"), 0.3):
        spelled = [0 if i < len(source) and source[i] == d else d for i, d in enumerate(spelled)]
    return tuple(spelled)


def _reshape_to(plan: Plan, content: Shape, known: Shape | None, label: str) -> None:
    if known is None:
        target = [None if d <= 0 else d for d in content]
        wanted = merged(
            tuple(target), plan.want.shape if plan.want.shape and len(plan.want.shape) == len(target) else None
        )
        full = complete(wanted, (), plan.choices, label)
        sources = [
            s
            for s in regroupings(full)
            if all(d != 0 or (i < len(s) and s[i] == full[i]) for i, d in enumerate(content))
        ]
        plan.arg(0, Want(plan.dtype_at(0), plan.choices.pick(f"{label}.from", sources)))
    plan.arg(0)
    plan.arg(1, Want(content=content))


_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
_LAYOUTS: dict[str, Layout] = {
    "Cast": cast,
    "MatMul": matmul,
    "Gemm": gemm,
    "Einsum": einsum,
    "SequenceAt": sequence_at,
    "Softmax": along,
    "LogSoftmax": along,
    "Reshape": reshape,
    **{f"Reduce{name}": reduce for name in _REDUCTIONS},
}
