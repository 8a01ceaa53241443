"""Axis attributes and operands in canonical form: counted from the front where the rank is known."""

from __future__ import annotations

from .core import Node, Value, constant
from .errors import InvalidModel
from .tensor import Tensor

# op -> attribute that is an axis (or a list of axes) of input 0
_OF_INPUT = {
    "Softmax": "axis", "LogSoftmax": "axis", "Hardmax": "axis", "Concat": "axis", "Gather": "axis",
    "GatherElements": "axis", "Scatter": "axis", "ScatterElements": "axis", "Split": "axis",
    "ArgMax": "axis", "ArgMin": "axis", "TopK": "axis", "Compress": "axis", "Unique": "axis",
    "LayerNormalization": "axis", "RMSNormalization": "axis", "LpNormalization": "axis",
    "QuantizeLinear": "axis", "DequantizeLinear": "axis", "Flatten": "axis",
}  # fmt: skip
# Where the axis may be the rank itself, or does not matter for some operands.
_MAY_LIE_BEHIND = frozenset({"Flatten", "QuantizeLinear", "DequantizeLinear"})
# op -> operand that lists axes of input 0
_OPERAND = {
    "Squeeze": 1, "ReduceSum": 1, "ReduceMean": 1, "ReduceMax": 1, "ReduceMin": 1, "ReduceProd": 1,
    "ReduceL1": 1, "ReduceL2": 1, "ReduceLogSum": 1, "ReduceLogSumExp": 1, "ReduceSumSquare": 1,
    "CumSum": 1, "CumProd": 1, "Unsqueeze": 1, "Slice": 3, "Pad": 3,
}  # fmt: skip


def normalize_axes(node: Node) -> bool:
    """Count a node's constant axes from the front where its rank is known; True if any changed.

    Raises InvalidModel for an axis outside the rank, except in a region, which need not run for that rank.
    """
    if node.op.domain:
        return False
    name = node.op.name
    attribute = _OF_INPUT.get(name)
    if attribute:
        return _attribute(node, attribute)
    slot = _OPERAND.get(name)
    if slot is not None and slot < len(node.inputs):
        return _operand(node, slot)
    return False


def _rank(node: Node) -> int | None:
    first = node.input(0)
    return None if first is None else first.rank


def _attribute(node: Node, attribute: str) -> bool:
    value = node.attrs.get(attribute)
    if value is None:
        value = node.op.attr_default(attribute)
        if value.__class__ is not int or value >= 0:
            return False
    if value.__class__ is not int:
        return False
    rank = _rank(node)
    if rank is None or rank == 0 or 0 <= value < rank:
        return False
    if value >= 0 and node.op.name in _MAY_LIE_BEHIND:
        return False
    if not -rank <= value < rank:
        return _outside(node, f"axis {value}", rank)
    positive = value + rank
    if positive == node.op.attr_default(attribute):
        node.attrs.pop(attribute, None)
    else:
        node.attrs[attribute] = positive
    return True


def _operand(node: Node, slot: int) -> bool:
    axes = node.inputs[slot]
    if axes is None or axes.const is None or not axes.const.dtype.is_int:
        return False
    values = axes.const.ints()
    rank = _rank(node)
    if rank is None:
        return False
    if node.op.name == "Unsqueeze":
        rank += len(values)
    if not all(-rank <= v < rank for v in values):
        return _outside(node, f"axes {list(values)}", rank)
    if all(v >= 0 for v in values):
        return False
    node.set_input(slot, _shifted(axes, rank))
    return True


def _outside(node: Node, what: str, rank: int) -> bool:
    if node.graph is not None and node.graph.parent is not None:
        return False
    raise InvalidModel(f"{node.op.key}: {what} of a tensor of rank {rank}")


def _shifted(axes: Value, rank: int) -> Value:
    assert axes.const is not None
    array = axes.const.array()
    positive = (array + (array < 0) * array.dtype.type(rank)).astype(array.dtype)
    return constant(Tensor.from_array(positive, axes.const.dtype), axes.hint)


