"""Newer spellings of operators back to older ones, for an output at a lower opset.

The steps of `ir.ops.revisions` walked backwards. A use that the older revision has no words for has none
here either: the caller then needs a higher opset.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...ir.builder import float32
from ...ir.core import Node, Value, constant
from ...ir.ops import Op, may_be_absent, opsets, revisions
from ...ir.ops.revisions import NEEDS, SPELLING
from ...ir.tensor import int_tensor
from ...ir.types import type_str

Inputs = list["Value | None"]


class Spelling:
    """How one node is written at some opset: op revision, operands, attributes."""

    __slots__ = ("op", "inputs", "attrs", "outputs", "node")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.op = node.op
        self.inputs: Inputs = list(node.inputs)
        self.attrs: dict[str, Any] = dict(node.attrs)
        self.outputs = used_outputs(node)

    def input(self, index: int) -> Value | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def attr(self, name: str) -> Any:
        found = self.attrs.get(name)
        return self.op.attr_default(name) if found is None else found

    def set_input(self, index: int, value: Value | None) -> None:
        while len(self.inputs) <= index:
            self.inputs.append(None)
        self.inputs[index] = value
        while self.inputs and self.inputs[-1] is None:
            self.inputs.pop()


def used_outputs(node: Node) -> int:
    """How many outputs the node is written with: trailing ones that are absent are left out."""
    count = len(node.outputs)
    while count > 1 and not node.outputs[count - 1].uses and not node.outputs[count - 1].hint:
        if not may_be_absent(node.op, count - 1):
            break
        count -= 1
    return count


def valid_opsets(spelling: Spelling) -> tuple[tuple[int, int | None], ...]:
    """The intervals [first, until) of opsets at which this spelling is valid as it stands."""
    node = spelling.node
    found = opsets(
        spelling.op,
        [v is not None for v in spelling.inputs],
        [None if v is None else type_str(v.type) for v in spelling.inputs],
        {**spelling.attrs, **dict.fromkeys(node.regions, True)},
        spelling.outputs,
        [type_str(v.type) for v in node.outputs[: spelling.outputs]],
    )
    first = _needed_by_operands(spelling)
    return tuple([(max(a, first), b) for a, b in found if b is None or b > first])


def _needed_by_operands(spelling: Spelling) -> int:
    """The lowest opset that takes the constants and ranks of the operands."""
    first = 1
    for kind, subject, value, low, _ in NEEDS.get(spelling.op.base_key, ()):
        if kind not in ("input_rank", "negative_input"):
            continue
        operand = spelling.input(subject)
        if operand is None:
            continue
        if kind == "input_rank":
            met = operand.rank is not None and operand.rank >= value
        else:
            const = operand.const
            met = const is not None and const.dtype.is_int and bool(const.size) and int(const.array().min()) < 0
        if met:
            first = max(first, low)
    return first


def is_valid(spelling: Spelling, opset: int) -> bool:
    """True if `opset` takes this spelling."""
    return any(a <= opset and (b is None or opset < b) for a, b in valid_opsets(spelling))


def spell(node: Node, opset: int) -> Spelling | None:
    """The node in the words of `opset`, or None where there are none."""
    op = node.op
    if op.until is not None and opset >= op.until:
        return None
    spelling = Spelling(node)
    while True:
        if is_valid(spelling, opset):
            return spelling
        previous = _previous(spelling.op)
        if previous is None or opset >= spelling.op.revision:
            return None
        for step in reversed(SPELLING[spelling.op.base_key, spelling.op.revision]):
            backwards = _STEPS.get(step[0])
            if backwards is None or not backwards(spelling, *step[1:]):
                return None
        spelling.op = previous


def _previous(op: Op) -> Op | None:
    found = revisions(op.domain, op.name)
    index = found.index(op)
    return found[index - 1] if index else None


# Steps backwards. Each returns False where this use cannot take it.


def _attr_to_input(
    s: Spelling, attribute: str, index: int, dtype: str, rank: int, fill: Any
) -> bool:
    value = s.input(index)
    if value is None:
        return fill is None  # else the default was another one
    if value.const is None:
        return False
    items = value.const.array().reshape(-1).tolist()
    previous = _previous(s.op)
    single = previous is not None and previous.attr_kind(attribute) in ("int", "float")
    if single and len(items) != 1:
        return False
    number = items[0] if single else tuple(items)
    if dtype == "like 0":  # such attributes are floats whatever the data
        number = float32(float(items[0]))
        if number != items[0] and number == number:
            return False
    s.attrs[attribute] = number
    s.set_input(index, None)
    return not any(v is not None for v in s.inputs[index:])


def _nothing(s: Spelling, *_: Any) -> bool:
    return True


def _rename_attr(s: Spelling, old: str, new: str) -> bool:
    if new in s.attrs:
        s.attrs[old] = s.attrs.pop(new)
    return True


def _rename_value(s: Spelling, attribute: str, names: dict[str, str]) -> bool:
    back = {new: old for old, new in names.items()}
    value = s.attr(attribute)
    if value is not None:
        s.attrs[attribute] = back.get(value, value)
    return True


def _old_default(s: Spelling, attribute: str, value: Any) -> bool:
    current = s.attr(attribute)
    if current is None:
        return False
    s.attrs[attribute] = current
    return True


def _set_attr(s: Spelling, attribute: str, value: Any) -> bool:
    if s.attr(attribute) != value:
        return False
    s.attrs.pop(attribute, None)
    return True


def _int_attr(s: Spelling, attribute: str) -> bool:
    if attribute in s.attrs:
        s.attrs[attribute] = float(s.attrs[attribute])
    return True


def _input_to_attr(s: Spelling, attribute: str, index: int) -> bool:
    values = s.attrs.pop(attribute, None)
    if values is not None:
        s.set_input(index, constant(int_tensor(values)))
    return True


def _count_outputs(s: Spelling, attribute: str) -> bool:
    """Before 18 a Split without sizes was even, and runtimes refuse another one: only a proven misfit is ours."""
    count = s.attrs.pop(attribute, None)
    data = s.input(0)
    if count is None or data is None or data.shape is None:
        return True
    size = data.shape[s.attr("axis") or 0]
    return not isinstance(size, int) or (size % count == 0 and count == len(s.node.outputs))


def _output_bool(s: Spelling, index: int) -> bool:
    return s.outputs <= index


def _adapter(s: Spelling, name: str) -> bool:
    found = _ADAPTERS.get(name)
    return found is not None and found(s)


def _flattened_softmax(s: Spelling) -> bool:
    data = s.input(0)
    if data is None or data.shape is None:
        return False
    axis = s.attr("axis") % len(data.shape) if data.shape else 0
    if any(d != 1 for d in data.shape[axis + 1 :]):
        return False
    s.attrs["axis"] = axis
    return True


def _batch_norm_training(s: Spelling) -> bool:
    return s.outputs == 1 and not s.attr("training_mode")


_ADAPTERS: dict[str, Callable[[Spelling], bool]] = {
    "flattened_softmax": _flattened_softmax,
    "batch_norm_training": _batch_norm_training,
}

_STEPS: dict[str, Callable[..., bool]] = {
    "attr_to_input": _attr_to_input,
    "drop_attr": _nothing,
    "rename_attr": _rename_attr,
    "rename_value": _rename_value,
    "old_default": _old_default,
    "set_attr": _set_attr,
    "int_attr": _int_attr,
    "input_to_attr": _input_to_attr,
    "count_outputs": _count_outputs,
    "output_bool": _output_bool,
    "adapter": _adapter,
}

