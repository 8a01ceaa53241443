"""Which operators can work on a permuted layout, and what changes in them.

A tensor y is laid out by `perm` over x when ``y = Transpose(x, perm)``: axis i of y is axis perm[i] of x.
"""

from __future__ import annotations

import numpy as np

from ...ir.core import Node, constant
from ...ir.tensor import Tensor, int_tensor

Perm = tuple[int, ...]

# Operators whose `axis` attribute is renumbered.
_AXIS = frozenset({"Concat", "Softmax", "LogSoftmax", "Hardmax", "Split", "ArgMax", "ArgMin", "LpNormalization"})
_REDUCTIONS = frozenset(
    {
        "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
        "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare",
    }
)  # fmt: skip
_CODES = frozenset({"QuantizeLinear", "DequantizeLinear"})
# Operators that treat each element alone, with operands beside the first that are scalars.
_UNARY = frozenset({"Clip", "Cast", "Identity"})


def inverse(perm: Perm) -> Perm:
    """The permutation that undoes `perm`."""
    result = [0] * len(perm)
    for index, axis in enumerate(perm):
        result[axis] = index
    return tuple(result)


def moves(node: Node, perm: Perm) -> bool:
    """True if the node, whose operands are laid out by `perm`, can work on the layout before it."""
    op, rank = node.op, len(perm)
    if op.domain or op.until is not None or node.regions:
        return False
    name = op.name
    if op.elementwise or name in _UNARY:
        # Every operand broadcasts to the result; one of lower rank must be a constant to be moved along, or a scalar.
        if node.output.rank != rank:
            return False
        return all(v is None or v.rank in (rank, 0) or v.const is not None for v in node.inputs)
    first = node.inputs[0] if node.inputs else None
    if first is None or first.rank != rank:
        return False
    if name in _AXIS:
        if name in ("ArgMax", "ArgMin") and not node.attr("keepdims"):
            return False
        axis = node.attr("axis")
        if axis is None or not -rank <= axis < rank:
            return False
        if name == "Concat":
            return all(v is not None and v.rank == rank for v in node.inputs)
        return True
    if name in _REDUCTIONS:
        axes = _axes(node, 1, rank)
        if axes is None:
            return False
        return bool(node.attr("keepdims")) or _keeps_order(perm, axes)
    if name in _CODES:
        # One scale for all, or one for each index of an axis; blocks of an axis need scales that move along.
        scale = node.inputs[1]
        if node.attr("block_size") or scale is None or scale.rank not in (0, 1) or node.output.rank != rank:
            return False
        return scale.rank == 0 or -rank <= node.attr("axis") < rank
    if name == "Pad":
        pads = node.inputs[1] if len(node.inputs) > 1 else None
        return pads is not None and pads.const is not None and len(node.inputs) < 4
    if name == "Slice":
        return len(node.inputs) > 3 and _axes(node, 3, rank) is not None
    return False


def moved_attributes(node: Node, perm: Perm) -> None:
    """Renumber the axes of a node that now works on the layout before `perm`."""
    name, rank = node.op.name, len(perm)
    if name in _AXIS or (name in _CODES and _has_axis(node)):
        axis = perm[node.attr("axis") % rank]
        if axis == node.op.attr_default("axis"):
            node.attrs.pop("axis", None)
        else:
            node.attrs["axis"] = axis
    elif name in _REDUCTIONS or name == "Slice":
        slot = 3 if name == "Slice" else 1
        axes = _axes(node, slot, rank)
        assert axes is not None
        new = [perm[a] for a in axes]
        if name != "Slice":
            new.sort()
        value = node.inputs[slot]
        assert value is not None and value.const is not None
        array = np.array(new, dtype=value.const.dtype.numpy)
        node.set_input(slot, constant(Tensor.from_array(array, value.const.dtype), value.hint))
    elif name == "Pad":
        pads = node.inputs[1]
        assert pads is not None and pads.const is not None
        given = pads.const.ints()
        moved = [0] * (2 * rank)
        for index, axis in enumerate(perm):
            moved[axis], moved[axis + rank] = given[index], given[index + rank]
        node.set_input(1, constant(int_tensor(moved), pads.hint))


def _has_axis(node: Node) -> bool:
    """True of a QuantizeLinear or DequantizeLinear with a scale for each index of its axis."""
    scale = node.inputs[1]
    return scale is not None and scale.rank == 1


def _axes(node: Node, slot: int, rank: int) -> list[int] | None:
    """The constant axes at operand `slot`, from the front; None where there are none or they are not known."""
    value = node.inputs[slot] if slot < len(node.inputs) else None
    if value is None or value.const is None:
        return None
    return [a % rank for a in value.const.ints()]


def _keeps_order(perm: Perm, axes: list[int]) -> bool:
    """True if dropping these axes leaves the same order of the others in both layouts."""
    rest = [perm[i] for i in range(len(perm)) if i not in axes]
    return rest == sorted(rest)
