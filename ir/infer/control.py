"""If, Loop, Scan and SequenceMap: types of the inputs of their regions, and of what comes out.

Inside a loop's body a carried dimension is written once: either it is the initial one and stays so in
every iteration, or it is an unknown of the body's own. `enter` sets the inputs before the body is
inferred, `widen` turns what the body changed into unknowns (then the body is inferred again), and the
functions of the table give the outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..core import Graph, Node, Value
from ..dims import DimLike, atoms, fresh
from ..types import BOOL, I64, SequenceType, TensorType, Type, join, tensor_type
from .base import (
    Found,
    Hole,
    Result,
    axis_in,
    content_of,
    dim_at,
    fail,
    is_given,
    made,
    type_at,
    unify_dim,
)
from .sequences import element_type, sequence_of


def if_(node: Node) -> Result:
    """What both branches agree on; the branch taken where the condition is known."""
    branches = [node.regions[name] for name in ("then_branch", "else_branch")]
    taken = content_of(node.input(0))
    if taken is not None and len(taken) == 1 and isinstance(taken[0], int):
        branches = [branches[0 if taken[0] else 1]]
    results: list[Found] = []
    for index in range(len(node.outputs)):
        types = [_returned(branch, index) for branch in branches]
        results.append(types[0] if len(types) == 1 else _common(types[0], types[1]))
    return tuple(results)


def branch_content(node: Node) -> list[tuple[Hole, ...] | None] | None:
    """Elements that an If gives whichever branch runs."""
    branches = [node.regions[name] for name in ("then_branch", "else_branch")]
    taken = content_of(node.input(0))
    if taken is not None and len(taken) == 1 and isinstance(taken[0], int):
        branches = [branches[0 if taken[0] else 1]]
    results: list[tuple[Hole, ...] | None] = []
    for index in range(len(node.outputs)):
        contents = [content_of(b.outputs[index]) for b in branches if index < len(b.outputs)]
        first, last = (contents[0], contents[-1]) if contents else (None, None)
        if first is None or last is None or len(first) != len(last):
            results.append(None)
            continue
        agreed = tuple([a if a is b or a == b else None for a, b in zip(first, last)])
        results.append(None if all(d is None for d in agreed) else agreed)
    return results


def _returned(graph: Graph, index: int) -> Type | None:
    return graph.outputs[index].type if index < len(graph.outputs) else None


def _common(a: Type | None, b: Type | None) -> Found:
    """`types.join` with None for what the two do not share; one that is not known says nothing."""
    if a is b:
        return a
    if isinstance(a, TensorType) and isinstance(b, TensorType) and a.dtype is b.dtype:
        if a.shape is None or b.shape is None or len(a.shape) != len(b.shape):
            return tensor_type(a.dtype, None)
        return made(a.dtype, [x if x is y or x == y else None for x, y in zip(a.shape, b.shape)])
    return join(a, b)


def enter(node: Node) -> bool:
    """Type the inputs of a node's regions from its operands; True if one changed."""
    name = node.op.name if not node.op.domain else ""
    if name == "Loop":
        body = node.regions["body"]
        return _enter_loop(node, body)
    if name == "Scan":
        return _enter_scan(node, node.regions["body"])
    if name == "SequenceMap":
        changed = False
        for index, value in enumerate(node.regions["body"].inputs):
            operand = type_at(node, index)
            found = element_type(operand) if isinstance(operand, SequenceType) else operand
            changed |= _assign(value, found)
        return changed
    return False


def _assign(value: Value, found: Type | None) -> bool:
    if found is None or found is value.type:
        return False
    value.type = found
    return True


def _enter_loop(node: Node, body: Graph) -> bool:
    if len(body.inputs) != max(len(node.inputs), 2):
        raise fail(node, f"{len(node.inputs)} operands, the body has {len(body.inputs)} inputs")
    changed = _assign(body.inputs[0], tensor_type(I64, ()))
    changed |= _assign(body.inputs[1], tensor_type(BOOL, ()))
    for initial, value, returned in _carried(node, body):
        changed |= _assign(value, _entry(initial, value.type, returned))
    return changed


def _carried(node: Node, body: Graph) -> list[tuple[Type | None, Value, Type | None]]:
    """For each carried value: its initial type, the body's input, the type the body returns."""
    if node.op.name == "Loop":
        first, operands, inputs = 1, node.inputs[2:], body.inputs[2:]
    else:
        count = _states(node)
        first, operands, inputs = 0, node.inputs[:count], body.inputs[:count]
    return [
        (None if operand is None else operand.type, value, _returned(body, first + index))
        for index, (operand, value) in enumerate(zip(operands, inputs))
    ]


def _entry(initial: Type | None, current: Type | None, returned: Type | None) -> Type | None:
    """The type of a carried value at the start of an iteration, before the body is inferred."""
    if initial is None or _covers(current, initial):
        return current
    if not isinstance(initial, TensorType) or not isinstance(current, TensorType):
        return initial
    if initial.dtype is not current.dtype or initial.shape is None:
        return initial
    if current.shape is None:
        stays = isinstance(returned, TensorType) and (
            returned.shape is None or len(returned.shape) != len(initial.shape)
        )
        return current if stays else initial
    if len(current.shape) != len(initial.shape):
        return initial
    dims = [
        c if c is not i and not isinstance(c, int) and c.is_unknown else i
        for i, c in zip(initial.shape, current.shape)
    ]
    return tensor_type(initial.dtype, tuple(dims))


def _covers(general: Type | None, special: Type | None) -> bool:
    """True for sequences where every value of type `special` is one of type `general`."""
    if not isinstance(general, SequenceType) or not isinstance(special, SequenceType):
        return False
    a, b = general.element, special.element
    if a is b:
        return True
    if not isinstance(a, TensorType) or not isinstance(b, TensorType) or a.dtype is not b.dtype:
        return False
    if a.shape is None or b.shape is None:
        return a.shape is None
    return len(a.shape) == len(b.shape) and all(
        x is y or x == y or (not isinstance(x, int) and x.is_unknown)
        for x, y in zip(a.shape, b.shape)
    )


def widen(node: Node) -> bool:
    """Make unknown what a loop's body changed of its carried values; True if that says less."""
    if node.op.domain or node.op.name not in ("Loop", "Scan"):
        return False
    changed = False
    for initial, value, returned in _carried(node, node.regions["body"]):
        current = value.type
        if not isinstance(current, TensorType):
            if returned is None or current is None or returned is current:
                continue
            if not _covers(current, returned):
                changed |= _assign(value, join(current, returned))
            continue
        if current.shape is None:
            continue
        if not isinstance(returned, TensorType) or returned.shape is None:
            changed |= _assign(value, tensor_type(current.dtype, None))
            continue
        if len(returned.shape) != len(current.shape):
            changed |= _assign(value, tensor_type(current.dtype, None))
            continue
        start = initial.shape if isinstance(initial, TensorType) else None
        dims = [
            c if o is c or o == c or _is_own(c, dim_at(start, index)) else fresh()
            for index, (c, o) in enumerate(zip(current.shape, returned.shape))
        ]
        changed |= _assign(value, tensor_type(current.dtype, tuple(dims)))
    return changed


def _is_own(dim: DimLike, initial: Hole) -> bool:
    return not isinstance(dim, int) and dim.is_unknown and dim is not initial


def _after(initial: Type | None, value: Value, returned: Type | None) -> Found:
    """The type of a carried value after the loop, which may have run not even once."""
    current = value.type
    if not isinstance(initial, TensorType) or not isinstance(current, TensorType):
        return _common(initial, returned)
    if not isinstance(returned, TensorType) or returned.shape is None or initial.shape is None:
        return tensor_type(initial.dtype, None)
    if current.shape is None or len(returned.shape) != len(initial.shape):
        return tensor_type(initial.dtype, None)
    same = [
        i if (i is c or i == c) and (o is c or o == c) else None
        for i, c, o in zip(initial.shape, current.shape, returned.shape)
    ]
    return made(initial.dtype, same)


def loop(node: Node) -> Result:
    body = node.regions["body"]
    carried = _carried(node, body)
    results = [_after(*each) for each in carried]
    count = _trip_count(node, body)
    for index in range(len(carried), len(node.outputs)):
        results.append(_stacked(node, _returned(body, index + 1), count, 0))
    return tuple(results)


def _trip_count(node: Node, body: Graph) -> Hole:
    """How often the body runs, where nothing can end the loop early."""
    limit = content_of(node.input(0))
    if limit is None or not isinstance(limit[0], int):
        return None
    if is_given(node, 1) and content_of(node.input(1)) != (1,):
        return None
    again: Value | None = body.outputs[0]
    while again is not None and again.producer is not None and again.producer.op.key == "Identity":
        again = again.producer.inputs[0]
    if again is body.inputs[1] or content_of(again) == (1,):
        return max(limit[0], 0)
    return None


def _stacked(node: Node, each: Type | None, count: Hole, axis: int) -> Found:
    """One result per iteration along a new axis. Names that only the body knows become unknown."""
    if not isinstance(each, TensorType):
        return None
    if each.shape is None:
        return tensor_type(each.dtype, None)
    outer = _unknown_atoms(v.type for v in node.inputs if v is not None)
    dims: list[Hole] = [
        d if all(a in outer for a in atoms(d) if a.is_unknown) else None for d in each.shape
    ]
    at = axis_in(node, axis, len(dims) + 1)
    return made(each.dtype, [*dims[:at], count, *dims[at:]])


def _unknown_atoms(types: object) -> set[object]:
    found: set[object] = set()
    for type in types:  # type: ignore[attr-defined]
        if isinstance(type, TensorType):
            for dim in type.shape or ():
                found.update(a for a in atoms(dim) if a.is_unknown)
    return found


def _states(node: Node) -> int:
    return len(node.inputs) - int(node.attrs.get("num_scan_inputs", 0))


def _enter_scan(node: Node, body: Graph) -> bool:
    if _has_batch(node):
        return False
    if len(body.inputs) != len(node.inputs):
        raise fail(node, f"{len(node.inputs)} operands, the body has {len(body.inputs)} inputs")
    changed = False
    for initial, value, returned in _carried(node, body):
        changed |= _assign(value, _entry(initial, value.type, returned))
    states = _states(node)
    axes = node.attrs.get("scan_input_axes") or (0,) * (len(node.inputs) - states)
    for axis, index in zip(axes, range(states, len(node.inputs))):
        whole = type_at(node, index)
        if isinstance(whole, TensorType) and whole.shape is not None:
            at = axis_in(node, axis, len(whole.shape))
            part = whole.shape[:at] + whole.shape[at + 1 :]
            changed |= _assign(body.inputs[index], tensor_type(whole.dtype, part))
    return changed


def _has_batch(node: Node) -> bool:
    # Scan of opset 8 has a batch axis and sequence lengths as its first operand.
    return node.op.revision == 8 and node.op.until is not None


def scan(node: Node) -> Result:
    if _has_batch(node):
        return None
    body = node.regions["body"]
    carried = _carried(node, body)
    results = [_after(*each) for each in carried]
    states = len(carried)
    count: Hole = None
    axes = node.attrs.get("scan_input_axes") or (0,) * (len(node.inputs) - states)
    for axis, index in zip(axes, range(states, len(node.inputs))):
        whole = type_at(node, index)
        if isinstance(whole, TensorType) and whole.shape is not None:
            at = axis_in(node, axis, len(whole.shape))
            count = unify_dim(node, count, whole.shape[at])
    out_axes: Sequence[int] = node.attrs.get("scan_output_axes") or ()
    for index in range(states, len(node.outputs)):
        axis = out_axes[index - states] if index - states < len(out_axes) else 0
        results.append(_stacked(node, _returned(body, index), count, axis))
    return tuple(results)


def sequence_map(node: Node) -> Result:
    body = node.regions["body"]
    return tuple(sequence_of(_returned(body, i)) for i in range(len(node.outputs)))


TABLE: dict[str, Callable[[Node], Result]] = {
    "If": if_,
    "Loop": loop,
    "Scan": scan,
    "SequenceMap": sequence_map,
}
