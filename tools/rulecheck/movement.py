"""Layouts of operators that move elements: axes, bounds and indices that fit."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, permutations

from .choices import Infeasible
from .plan import Plan
from .wanted import RANKS, Shape, Template, Want, complete, merged, shape_of


def _rank(plan: Plan, least: int = 0) -> int:
    """The rank that the first operand has or is to have."""
    known = plan.shape(0)
    if known is not None:
        return len(known)
    if plan.want.shape is not None:
        return len(plan.want.shape)
    pool = [r for r in plan.want.ranks or RANKS if r >= least and r < 5]
    return plan.choices.pick(plan.label("rank"), pool)


def transpose(plan: Plan) -> None:
    """A permutation of the operand's axes; None reverses them."""
    rank = _rank(plan)
    orders = list(permutations(range(rank)))
    swaps = [p for p in orders if sum(i != a for i, a in enumerate(p)) == 2]
    pool: list[tuple[int, ...] | None] = [orders[0], *swaps, *[p for p in orders[1:] if p not in swaps], None]
    perm = plan.attr("perm", pool)
    perm = tuple(reversed(range(rank))) if perm is None else tuple(perm)
    wanted: Template | None = None
    if len(perm) != rank and plan.shape(0) is None:
        rank = len(perm)
        wanted = (None,) * rank
    elif len(perm) != rank:
        raise Infeasible(f"perm {perm} for rank {rank}")
    if plan.want.shape is not None and len(plan.want.shape) == rank:
        wanted = tuple(plan.want.shape[perm.index(axis)] for axis in range(rank))
    plan.arg(0, Want(plan.dtype_at(0), wanted or (None,) * rank))


def _axes_content(plan: Plan, index: int, pool: list[tuple[int, ...]], rank: int) -> tuple[int, ...]:
    """Axes that the pattern or a constant settles, or one of a pool; some counted from the end."""
    known = plan.ints(index)
    if known is None:
        known = plan.choices.pick(plan.label("axes"), pool)
        if plan.choices.chance(plan.label("axes.end"), 0.2):
            known = tuple(a - rank for a in known)
    plan.arg(index, Want(content=known, const=1.0))
    if not all(-rank <= a < rank for a in known):
        raise Infeasible(f"axes {known} of rank {rank}")
    return tuple(a % rank for a in known)


def _subsets(items: list[int], least: int = 1) -> list[tuple[int, ...]]:
    return [c for n in range(least, min(2, len(items)) + 1) for c in combinations(items, n)]


def unsqueeze(plan: Plan) -> None:
    """Axes of length 1 are added."""
    known, target = plan.shape(0), plan.want.shape
    settled = plan.ints(1)
    count = len(settled) if settled is not None else plan.choices.pick(plan.label("count"), (1, 2))
    if known is not None:
        rank = len(known) + count
    else:
        rank = len(target) if target is not None else plan.choices.pick(plan.label("rank"), (2, 3, 1, 0)) + count
    if rank < count:
        raise Infeasible("more axes than the rank")
    open_at = [i for i in range(rank) if target is None or len(target) != rank or target[i] in (None, 1)]
    axes = _axes_content(plan, 1, list(combinations(open_at, count)), rank)
    wanted: Template | None = (None,) * (rank - count)
    if target is not None and len(target) == rank:
        wanted = tuple(d for i, d in enumerate(target) if i not in axes)
    plan.arg(0, Want(plan.dtype_at(0), wanted))


def squeeze(plan: Plan) -> None:
    """Axes of length 1 are taken away."""
    known, target = plan.shape(0), plan.want.shape
    settled = plan.ints(1)
    absent = plan.is_absent(1) or len(plan) < 2
    if known is not None:
        ones = [i for i, d in enumerate(known) if d == 1]
        if not absent:
            _axes_content(plan, 1, _subsets(ones), len(known))
        return
    count = 1 if absent else len(settled) if settled is not None else plan.choices.pick(plan.label("count"), (1, 2))
    inner = complete(target, (2, 1, 3, 0), plan.choices, plan.label("inner"))
    rank = len(inner) + count
    pool = list(combinations(range(rank), count))
    axes = plan.choices.pick(plan.label("axes"), pool) if absent else _axes_content(plan, 1, pool, rank)
    rest = iter(inner)
    plan.arg(0, Want(plan.dtype_at(0), tuple(1 if i in axes else next(rest) for i in range(rank))))


def flatten(plan: Plan) -> None:
    """To a matrix."""
    axis = plan.attr("axis", (1, 0, 2, -1))
    plan.arg(
        0,
        Want(plan.dtype_at(0), (None,) * max(2, int(axis or 0) + 1, plan.choices.pick(plan.label("rank"), (2, 3, 4)))),
    )


def expand(plan: Plan) -> None:
    """An operand that broadcasts to what the result is, and a target that does as well."""
    content = plan.ints(1)
    label = plan.label("expand")
    if plan.shape(0) is None and content is None and plan.weight(0) < 5 and plan.want.shape is not None:
        # The operand may say more of the result than is known before it is there.
        narrow = tuple(_one_or(plan, label, i, d) for i, d in enumerate(plan.want.shape))
        plan.arg(0, Want(plan.dtype_at(0), narrow))
    known = plan.shape(0)
    if content is not None:
        full: Shape = tuple(content)
    elif plan.want.shape is not None:
        base = (
            plan.want.shape if known is None else merged(plan.want.shape, tuple(None if d == 1 else d for d in known))
        )
        full = complete(base, (), plan.choices, label)
    elif known is not None:
        lead = plan.choices.pick(f"{label}.lead", (0, 1))
        template = (*(None,) * lead, *(None if d == 1 else d for d in known))
        full = complete(template, (), plan.choices, label)
    else:
        full = complete(None, plan.want.ranks, plan.choices, label)
    if known is None:
        plan.arg(0, Want(plan.dtype_at(0), plan.left.narrowed(label, full)))
    plan.arg(1, Want(content=full, const=0.9))


def _one_or(plan: Plan, label: str, axis: int, dim: int | None) -> int | None:
    return plan.choices.pick(f"{label}.one{axis}", (dim, 1), (3, 1))


def tile(plan: Plan) -> None:
    """Repeats for each axis."""
    target = plan.want.shape
    if plan.shape(0) is None:
        plan.arg(0, Want(plan.dtype_at(0), None if target is None else (None,) * len(target)))
    data = shape_of(plan.must(0))
    target = plan.want.shape
    if plan.ints(1) is None:
        label = plan.label("repeat")
        repeats = [plan.choices.pick(f"{label}{i}", (1, 2, 3)) for i in range(len(data))]
        for axis, wanted in enumerate(target if target is not None and len(target) == len(data) else ()):
            if wanted is not None:
                repeats[axis] = wanted // max(data[axis], 1)
        plan.arg(1, Want(content=tuple(repeats), const=0.9))


def slice_(plan: Plan) -> None:
    """Bounds along one axis or two, as the pattern says where it does."""
    starts, ends, axes, steps = (plan.ints(i) for i in (1, 2, 3, 4))
    known, target = plan.shape(0), plan.want.shape
    settled = next((s for s in (axes, starts, ends, steps) if s is not None), None)
    rank = _rank(plan, 1)
    count = len(settled) if settled is not None else plan.choices.pick(plan.label("count"), (1, 2))
    if axes is None:
        if plan.is_absent(3):
            axes = tuple(range(count))
        else:
            pool = [*combinations(range(rank), count), *combinations(range(-1, -rank - 1, -1), count)]
            axes = plan.choices.pick(plan.label("axes"), pool)
    if len(axes) != count or not all(-rank <= a < rank for a in axes):
        raise Infeasible(f"axes {axes} of rank {rank}")
    if known is None:
        wanted: list[int | None] = list(target) if target is not None and len(target) == rank else [None] * rank
        for position, axis in enumerate(axes):
            wanted[axis] = _source_dim(plan, position, wanted[axis], starts, ends)
        known = shape_of(plan.must(0, Want(plan.dtype_at(0), tuple(wanted))))
    if not all(-len(known) <= a < len(known) for a in axes):
        raise Infeasible(f"axes {axes} of rank {len(known)}")
    whole = plan.choices.chance(plan.label("whole"), 0.25)
    lows: list[int] = []
    highs: list[int] = []
    for position, axis in enumerate(axes):
        size, label = known[axis], plan.label(f"bound{position}")
        low = starts[position] if starts else 0 if whole else plan.choices.pick(f"{label}.low", range(size + 1))
        wide = None if target is None or len(target) != len(known) else target[axis]
        if ends:
            high = ends[position]
        elif wide is not None and starts is None and steps is None:
            low = min(low, max(0, size - wide))
            high = low + wide
        else:
            far = [size, 2**31 - 1, 2**63 - 1]
            high = (
                far[0]
                if whole
                else plan.choices.pick(f"{label}.high", [*range(max(low, 0), size + 1)][::-1] + far[1:] + [-1])
            )
        lows.append(low)
        highs.append(high)
    plan.arg(1, Want(content=tuple(lows), const=1.0))
    plan.arg(2, Want(content=tuple(highs), const=1.0))
    plan.arg(3, Want(content=axes, const=1.0))
    plan.arg(
        4,
        Want(
            content=steps or tuple(plan.choices.pick(plan.label(f"step{i}"), (1, 2)) for i in range(count)), const=1.0
        ),
    )


def _source_dim(plan: Plan, position: int, result: int | None, starts: Shape | None, ends: Shape | None) -> int | None:
    """How long an axis must be for a slice of it to have `result` elements."""
    low = starts[position] if starts else 0
    high = ends[position] if ends else None
    if result is None:
        return None
    if low > 0 and (high is None or high > 1 << 30):
        return low + result
    if starts is None and ends is None:
        return result + plan.choices.pick(plan.label(f"more{position}"), (0, 1, 2))
    return (
        None
        if high is None or high < 0
        else max(high, result) + plan.choices.pick(plan.label(f"more{position}"), (0, result, 1))
    )


def gather(plan: Plan) -> None:
    """Indices inside the operand."""
    target = plan.want.shape
    label = plan.label("gather")
    if plan.shape(0) is None:
        axis = plan.attr("axis", (0, 1, -1, 2))
        rank = max(int(axis or 0) + 1, plan.choices.pick(f"{label}.rank", (2, 3, 1)))
        wanted: list[int | None] = [None] * rank
        if target is not None and len(target) >= rank and axis in (0, None):
            wanted[1:] = target[len(target) - rank + 1 :] if rank > 1 else []
        plan.arg(0, Want(plan.dtype_at(0), tuple(wanted)))
    data = shape_of(plan.must(0))
    axis = int(plan.attr("axis", [a for a in (0, 1, -1, 2) if -len(data) <= a < len(data)]) or 0)
    if not -len(data) <= axis < len(data):
        raise Infeasible(f"axis {axis} of rank {len(data)}")
    content = plan.ints(1)
    if content is not None:
        plan.arg(1, Want(content=content))
        return
    shape: Template = (None,) * plan.choices.pick(f"{label}.indices", (1, 0, 2))
    if target is not None and len(target) >= len(data) - 1:
        at = axis % len(data)
        shape = target[at : at + len(target) - len(data) + 1]
    plan.arg(1, Want(plan.dtype_at(1), shape, fill=f"index {data[axis]}", const=0.3))


def gather_elements(plan: Plan) -> None:
    """Indices of the operand's rank, inside it along the axis."""
    data = shape_of(plan.must(0, Want(plan.dtype_at(0), plan.want.shape)))
    axis = int(plan.attr("axis", (0, 1, -1)) or 0)
    if not -len(data) <= axis < len(data):
        raise Infeasible(f"axis {axis} of rank {len(data)}")
    plan.arg(1, Want(plan.dtype_at(1), data, fill=f"index {data[axis]}", const=0.3))


def concat(plan: Plan) -> None:
    """Operands that differ along the axis alone."""
    target = plan.want.shape
    first: Shape | None = None
    at = 0
    for index in plan.order():
        if first is None:
            known = plan.known(index)
            wanted: Template | None = target
            if target is not None and known is None:
                axis = plan.attr("axis", range(-1, len(target)))
                at = int(axis)
                wanted = tuple(
                    None if len(plan) > 1 and i == at % max(len(target), 1) else d for i, d in enumerate(target)
                )
            first = shape_of(plan.must(index, Want(plan.dtype_at(index), wanted, plan.want.ranks or (2, 3, 4, 1))))
            at = int(plan.attr("axis", range(-1, len(first))))
            if not -len(first) <= at < len(first):
                raise Infeasible(f"axis {at} of rank {len(first)}")
            used = first[at]
            continue
        rest: int | None = None
        if target is not None and len(target) == len(first) and target[at] is not None:
            rest = target[at] - used if index == plan.order()[-1] or len(plan) == 2 else None  # type: ignore[operator]
        made = shape_of(
            plan.must(index, Want(plan.dtype_at(index), (*first[:at], rest, *first[at % len(first) + 1 :]), const=0.15))
        )
        used += made[at] if len(made) == len(first) else 0


def split(plan: Plan) -> None:
    """Parts along an axis, of equal or given sizes."""
    count, target = plan.outs, plan.want.shape
    axis = int(plan.attr("axis", (0, 1, -1, 2)) or 0)
    sizes = plan.ints(1)
    if plan.shape(0) is None:
        rank = len(target) if target is not None else max(2, axis + 1, plan.choices.pick(plan.label("rank"), (2, 3, 4)))
        if not -rank <= axis < rank:
            raise Infeasible(f"axis {axis} of rank {rank}")
        wanted: list[int | None] = list(target) if target is not None else [None] * rank
        one = wanted[axis]
        each = one if one is not None else plan.choices.pick(plan.label("part"), (2, 1, 3))
        wanted[axis] = sum(sizes) if sizes is not None else each * count
        plan.arg(0, Want(plan.dtype_at(0), tuple(wanted)))
    data = shape_of(plan.must(0))
    if not -len(data) <= axis < len(data):
        raise Infeasible(f"axis {axis} of rank {len(data)}")
    if len(plan) > 1 and not plan.is_absent(1) and sizes is None:
        each = data[axis] // count
        uneven = [each] * count
        if count > 1 and each > 1 and plan.choices.chance(plan.label("uneven"), 0.3):
            uneven[0] -= 1
        uneven[-1] += data[axis] - sum(uneven)
        plan.arg(1, Want(content=tuple(uneven), const=1.0))
    elif len(plan) < 2 or plan.arg(1) is None:
        plan.attr("num_outputs", (count,))
        plan.attrs.setdefault("num_outputs", count)


def pad(plan: Plan) -> None:
    """Amounts for each axis, or for those that are named."""
    plan.attr("mode", ("constant", "edge", "reflect", "wrap"))
    data = shape_of(plan.must(0, Want(plan.dtype_at(0), plan.want.shape, plan.want.ranks)))
    axes = plan.ints(3)
    if axes is None and len(plan) > 3 and not plan.is_absent(3):
        pool = [*_subsets(list(range(len(data)))), *_subsets(list(range(-1, -len(data) - 1, -1)))]
        value = plan.arg(3, Want(content=plan.choices.pick(plan.label("axes"), pool), const=1.0))
        axes = None if value is None or value.const is None else value.const.ints()
    if plan.ints(1) is None:
        along = [a % len(data) for a in axes] if axes is not None else list(range(len(data)))
        style = plan.choices.pick(plan.label("pads"), ("spatial", "zero", "any"), (4, 1, 1))
        amounts = [
            0
            if style == "zero" or (style == "spatial" and axis < 2)
            else plan.choices.pick(plan.label(f"pad{i}"), (1, 0, 2))
            for i, axis in enumerate(along + along)
        ]
        plan.arg(1, Want(content=tuple(amounts), const=0.95))
    plan.arg(2, Want(plan.dtype_at(2), (), const=0.8))


def shape(plan: Plan) -> None:
    """The shape of anything."""
    plan.arg(0)


def range_(plan: Plan) -> None:
    """Three scalars that give a short list."""
    length = plan.want.shape[0] if plan.want.shape else None
    content = (0, length if length is not None else plan.choices.dim(plan.label("length")), 1)
    for index, number in enumerate(content):
        if plan.ints(index) is None and plan.known(index) is None:
            plan.arg(index, Want(plan.dtype_at(index), (), content=(number,), const=0.9))


def constant_of_shape(plan: Plan) -> None:
    """A shape as numbers."""
    if plan.ints(0) is None:
        plan.arg(0, Want(content=complete(plan.want.shape, (), plan.choices, plan.label("filled")), const=0.9))


def blocks(plan: Plan) -> None:
    """DepthToSpace and SpaceToDepth."""
    size = int(plan.attr("blocksize", (2, 1, 3)))
    deep = plan.op.name == "DepthToSpace"
    channels = plan.choices.pick(plan.label("channels"), (1, 2)) * (size * size if deep else 1)
    spatial = [plan.choices.pick(plan.label(f"spatial{i}"), (1, 2)) * (1 if deep else size) for i in (0, 1)]
    plan.arg(0, Want(plan.dtype_at(0), (None, channels, *spatial)))


LAYOUTS: dict[str, Callable[[Plan], None]] = {
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    "Squeeze": squeeze,
    "Flatten": flatten,
    "Expand": expand,
    "Tile": tile,
    "Slice": slice_,
    "Gather": gather,
    "GatherElements": gather_elements,
    "Concat": concat,
    "Split": split,
    "Pad": pad,
    "Shape": shape,
    "Range": range_,
    "ConstantOfShape": constant_of_shape,
    "DepthToSpace": blocks,
    "SpaceToDepth": blocks,
}
