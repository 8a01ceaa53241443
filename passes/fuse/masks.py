"""Natives of the rules for masks."""

from __future__ import annotations

from typing import Any, Final

from ...ir.core import Value
from ...ir.dims import DimLike
from ...ir.rewrite import ABSENT, memo, native
from ...ir.types import BF16, F32, F64, DType
from .elements import fits
from .mask_forms import Cone, form_of, same_dim
from .mask_plans import Given, met

# Added to a score, such numbers leave nothing of its weight beside a score that is seen.
_HIDES: Final = {F32: -1e9, F64: -1e9, BF16: -1e9}


@native
def mask_hides_nothing(q: Value, k: Value, mask: Value, past: Value | None) -> bool:
    """True for a mask that adds 0 everywhere, or is true everywhere, and has a column for each key."""
    found = form_of(mask)
    if found is None or found[0].pairs or found[0].padding or found[0].hidden not in (None, 0.0):
        return False
    shape, keys = mask.shape, _keys(k, past)
    # Attention takes keys beyond the last column for hidden.
    return not shape or (keys is not None and same_dim(shape[-1], keys))


@native
def mask_is_causal(q: Value, k: Value, mask: Value, past: Value | None) -> bool:
    """True for a mask that says j <= i + past for as many queries as keys (past of the operator's own not counted)."""
    if q.shape is None or k.shape is None or mask.shape is None or len(mask.shape) < 2:
        return False
    found, keys = form_of(mask), _keys(k, past)
    if found is None or keys is None or found[0].padding or not found[0].pairs:
        return False
    form, cone = found
    before, offset = keys - k.shape[-2], form.offset_in(cone)
    return (
        same_dim(q.shape[-2], k.shape[-2])
        and fits(mask.shape[-1], keys)
        and fits(mask.shape[-2], q.shape[-2])
        and offset is not None
        and same_dim(offset, before)
        and (form.hidden is None or form.hidden <= hides(mask.dtype))
    )


def hides(dtype: DType | None) -> float:
    """The greatest number that hides a key when it is added to its score."""
    return _HIDES.get(dtype, -float("inf"))  # type: ignore[arg-type]


def _keys(k: Value, past: Value | None) -> DimLike | None:
    """How many keys there are, those of the past included."""
    if k.shape is None or (past is not None and past.shape is None):
        return None
    before: DimLike = 0 if past is None or past.shape is None else past.shape[2]
    return before + k.shape[-2]


@native
def mask_plan(mask: Value, kind: str, cut: Value | None) -> tuple[Any, ...] | None:
    """Operands for a rule that builds a mask in fewer steps; None where another way is the cheapest.

    `cut`: the axes on which the mask is sliced before it is used.

    equal: (tensor). pairs: (condition, then, otherwise). padding: (tensor, axes, number, then, otherwise).
    both: (condition, negated condition, ...padding). bias: (mask, negated mask, tensor, axes, number, otherwise).
    """
    found = _plans[mask] if mask in _plans else _plans.keep(mask, _profitable(mask))
    if found is None or found[0] != kind:
        return None
    _, kept, made, plan = found
    if any(v.producer is not None and v.producer.graph is None for v in kept):
        return None  # gone since it was looked at
    if cut is not None and not _can_be_cut(mask, cut, kept, kind, plan):
        return None
    operands: tuple[Any, ...] = made
    return operands


_plans = memo()


def _profitable(mask: Value) -> tuple[Any, ...] | None:
    """The kind of plan that leaves fewer operators, tensors that it keeps, its operands, and the plan."""
    found = form_of(mask)
    if found is None or not found[0].plans or not only_masks(mask):
        return None
    form, cone = found
    ((kind, plan),) = form.plans.items()
    kept, made = _operands(form.hidden, cone, kind, plan)
    created = {"equal": 0, "pairs": 1, "padding": 3, "both": 4, "bias": 4}[kind] - _unsqueezed(plan)
    return (kind, kept, made, plan) if dying(mask, set(kept)) > created else None


def _can_be_cut(mask: Value, cut: Value, kept: list[Value], kind: str, plan: tuple[Any, ...]) -> bool:
    """True if what replaces a mask has its rank and its last axis, the only one on which it is sliced."""
    assert mask.shape is not None
    if cut.const is None or cut.const.ints() != (len(mask.shape) - 1,):
        return False
    shapes = [v.shape for v in kept if v.shape]
    given = [p for p in plan if isinstance(p, tuple)]
    rank = max(len(shape) for shape in shapes)
    full = rank == len(mask.shape) or any(axes is not None for _, axes, _ in given)
    # Lengths that meet in the last axis meet in what replaces the mask as well.
    return full and (bool(met(mask)[0]) or any(same_dim(shape[-1], mask.shape[-1]) for shape in shapes))


def _unsqueezed(plan: tuple[Any, ...]) -> bool:
    """True if the given tensor of a plan has all axes already."""
    return any(isinstance(p, tuple) and p[1] is None for p in plan)


def _operands(
    hidden: float | None, cone: Cone, kind: str, plan: tuple[Any, ...]
) -> tuple[list[Value], tuple[Any, ...]]:
    values = cone.values
    if kind == "equal":
        return [values[plan[0]]], (values[plan[0]],)
    *front, negated = plan
    ends = (hidden, 0.0) if negated else (0.0, hidden)
    if kind == "pairs":
        return [values[front[0]]], (values[front[0]], *ends)
    given: Given = front[-1]
    test = values[given[0]], ABSENT if given[1] is None else given[1], ABSENT if given[2] is None else given[2]
    if kind == "padding":
        return [test[0]], (*test, *ends)
    first = values[front[0]]
    sides = (ABSENT, first) if negated else (first, ABSENT)
    if kind == "both":
        return [first, test[0]], (*sides, *test, *ends)
    return [first, test[0]], (*sides, *test, hidden)


def only_masks(value: Value, depth: int = 2) -> bool:
    """True if a tensor is used as mask of attention alone, cut or expanded perhaps."""
    for node, index in value.uses:
        if node.op.name == "Attention" and index == 3:
            continue
        if depth == 0 or node.op.name not in ("Slice", "Expand") or index != 0:
            return False
        if not only_masks(node.output, depth - 1):
            return False
    return True


def dying(value: Value, kept: set[Value]) -> int:
    """How many operators nobody needs once a tensor is not used, if `kept` are."""
    if value.producer is None:
        return 0
    dead = [value.producer]
    gone: dict[Value, int] = {}
    for node in dead:  # grows while we go
        for operand in node.inputs:
            if operand is None or operand.producer is None or operand in kept:
                continue
            gone[operand] = gone.get(operand, 0) + 1
            made = operand.producer
            if gone[operand] == len(operand.uses) and all(gone.get(o, 0) == len(o.uses) for o in made.outputs):
                dead.append(made)
    return len(dead)
