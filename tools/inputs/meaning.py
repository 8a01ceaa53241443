"""What a graph input means, read off its uses and its name: ids of a table, a mask, positions, lengths."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...ir.core import Node, Value
from ...ir.dims import DimLike
from ...ir.types import BOOL, TensorType


@dataclass
class Meaning:
    """Facts about one input.

    `bounds`: its values must stay below each of these (the tables it indexes); `mask`: zeros and ones;
    `additive`: a float mask that is added (0 keeps, a large negative number hides); `size`: its values are
    sizes or counts (a shape, k of TopK); `position`, `length`, `rate`, `choice`, `step` come from the name;
    `picture`: nothing speaks against pixels, and the shape decides.
    """

    bounds: list[DimLike]
    mask: bool = False
    additive: bool = False
    size: bool = False
    position: bool = False
    length: bool = False
    rate: bool = False
    choice: bool = False
    step: bool = False
    picture: bool = False


# operators through which the elements of operand 0 pass unchanged
_CARRY = frozenset((
    "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Slice", "Transpose", "Expand", "Tile", "Split",
    "Gather", "GatherElements", "GatherND", "Concat", "Pad", "Dropout", "Optional", "OptionalGetElement", "Clip",
))  # fmt: skip
# (operator, operand) -> how the table's dimension is found
_INDEXES = {
    ("Gather", 1), ("GatherElements", 1), ("OneHot", 0), ("ScatterElements", 1), ("ArrayFeatureExtractor", 1),
    ("GatherBlockQuantized", 1),
}  # fmt: skip
_EMBED = {0: 2, 1: 4}  # EmbedLayerNormalization: input_ids, segment_ids -> their tables
_SIZES = {
    ("Reshape", 1), ("Expand", 1), ("ConstantOfShape", 0), ("Tile", 1), ("TopK", 1), ("Range", 1),
    ("Loop", 0), ("Resize", 3), ("CenterCropPad", 1), ("SplitToSequence", 1),
}  # fmt: skip
_COMPARE = frozenset(("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"))
_LIMIT = 400  # values looked at for one input


def study(value: Value, name: str) -> Meaning:
    """Follow `value` through the graph, nested graphs included, and read its name."""
    found = Meaning([])
    seen = {value}
    stack: list[tuple[Value, int]] = [(value, 0)]  # a value and what was added to it on the way
    while stack and len(seen) < _LIMIT:
        current, offset = stack.pop()
        for node, index in current.uses:
            for following, added in _follow(node, index, found, offset):
                if following not in seen:
                    seen.add(following)
                    stack.append((following, added))
    _read_name(found, value, name.lower())
    return found


def _follow(node: Node, index: int, found: Meaning, offset: int) -> list[tuple[Value, int]]:
    """Note what this use says; the values that carry the same elements on."""
    op = node.op.name
    if (op, index) in _INDEXES or (op == "EmbedLayerNormalization" and index in _EMBED):
        bound = _table(node, index)
        if bound is not None:
            found.bounds.append(bound - offset)
        return []
    if (op, index) in _SIZES:
        found.size = True
        return []
    if op in _COMPARE:
        other = node.inputs[1 - index]
        if other is not None and other.const is not None and other.const.size == 1 and op == "Equal":
            found.mask = found.mask or other.const.item() in (0, 1)
        return []
    if op == "Where" and index == 0:
        found.mask = True
        return []
    if op == "Cast":
        if node.output.dtype is BOOL:
            found.mask = True
        # an integer that becomes a number for arithmetic is a mask or a plain number, no index
        return [] if node.output.dtype is None or not node.output.dtype.is_int else [(node.output, offset)]
    if op == "Attention" and index == 3:
        found.additive = True
    if op == "Add":
        other = node.inputs[1 - index]
        if other is not None and other.const is not None and other.const.size == 1:
            step = other.const.item()
            return [(node.output, offset + step)] if isinstance(step, int) else []
        found.additive = True
        return []
    if op in ("Loop", "Scan") and index < len(next(iter(node.regions.values())).inputs):
        return [(next(iter(node.regions.values())).inputs[index], offset)]
    if op == "Concat" or (op in _CARRY and index == 0):
        return [(out, offset) for out in node.outputs]
    return []


def _table(node: Node, index: int) -> DimLike | None:
    """The dimension that the indexes at operand `index` must stay below."""
    op = node.op.name
    if op == "OneHot":
        depth = node.inputs[1]
        return None if depth is None or depth.const is None else int(depth.const.item())
    if op == "EmbedLayerNormalization":
        data = node.input(_EMBED[index])
        axis = 0
    else:
        data = node.inputs[0]
        name = "gather_axis" if op == "GatherBlockQuantized" else "axis"
        axis = node.attr(name) or 0 if op != "ArrayFeatureExtractor" else -1
    shape = None if data is None or not isinstance(data.type, TensorType) else data.type.shape
    if not shape or not -len(shape) <= axis < len(shape):
        return None
    return shape[axis]


_POSITION = re.compile(r"position|pos_ids|(^|[._/])pos([._/]|$)")
_LENGTH = re.compile(r"len(gth)?s?($|[._/\d])")
_RATE = re.compile(r"(^|[._/])sr($|[._/])|sample_?rate|sampling")
_CHOICE = re.compile(r"type|segment")
_STEP = re.compile(r"time_?steps?($|[._/\d])")
_STATE = re.compile(r"past|cache|key|value|state|hidden")


def _read_name(found: Meaning, value: Value, name: str) -> None:
    if "mask" in name:
        found.mask = True
        found.additive = found.additive and value.dtype is not None and value.dtype.is_float
    else:
        found.additive = False
    found.position = bool(_POSITION.search(name))
    found.length = bool(_LENGTH.search(name)) and value.rank in (0, 1)
    found.rate = bool(_RATE.search(name)) and value.rank in (0, 1)
    found.choice = bool(_CHOICE.search(name))
    found.step = bool(_STEP.search(name)) and value.rank in (0, 1)
    is_number = value.dtype is not None and value.dtype.is_float
    found.picture = is_number and value.rank == 4 and not (found.mask or found.additive or _STATE.search(name))
