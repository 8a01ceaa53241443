"""Old spellings of operators to the newest one, so that no pass needs to know about opsets.

`ir.ops.revisions` says for each border between two revisions what moved. This module walks those steps forward,
one border at a time. Where a use has no words beyond a border it stays at its revision, which then bounds the opset of
the output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Value
from ...ir.ops import Op, resolve, revisions
from ...ir.ops.revisions import SPELLING
from ...ir.tensor import Tensor
from ...ir.types import F32, I64, STR, TensorType

Inputs = list["Value | None"]
Attrs = dict[str, Any]
Step = tuple[Any, ...]
IsUsed = Callable[[str], bool]


class Use:
    """One use of an operator on its way to the newest revision."""

    __slots__ = ("builder", "op", "inputs", "attrs", "results", "is_used", "ending")

    def __init__(
        self, builder: Builder, op: Op, inputs: Inputs, attrs: Attrs, results: list[Value], is_used: IsUsed
    ) -> None:
        self.builder = builder
        self.ending: Op | None = None  # the op of the last node, where one node became several
        self.op = op
        self.inputs = inputs
        self.attrs = attrs
        self.results = results
        self.is_used = is_used

    def input(self, index: int) -> Value | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def rank(self, index: int) -> int | None:
        value = self.input(index)
        return None if value is None else value.rank

    def attr(self, name: str) -> Any:
        found = self.attrs.get(name)
        return self.op.attr_default(name) if found is None else found

    def take(self, name: str) -> Any:
        found = self.attr(name)
        self.attrs.pop(name, None)
        return found

    def set_input(self, index: int, value: Value | None) -> None:
        while len(self.inputs) <= index:
            self.inputs.append(None)
        self.inputs[index] = value


def upgrade(
    builder: Builder, op: Op, inputs: Inputs, attrs: Attrs, results: list[Value], is_used: IsUsed
) -> tuple[Op, Inputs, Attrs]:
    """A use of an operator in the newest words that mean the same; may emit nodes through `builder`.

    `results` are the outputs, of which one that nothing uses may become absent; `is_used` knows names.
    """
    while op.until is not None:
        use = Use(builder, op, list(inputs), dict(attrs), results, is_used)
        target = _following(op)
        for step in SPELLING[op.base_key, op.until]:
            if step[0] == "rename_op":
                target = resolve(op.domain, step[1], op.until)
            elif not _STEPS[step[0]](use, *step[1:]):
                return op, inputs, attrs
        op, inputs = use.ending or target, use.inputs
        attrs = {k: v for k, v in use.attrs.items() if v != op.attr_default(k)}
    while inputs and inputs[-1] is None:
        inputs.pop()
    return op, inputs, attrs


def _following(op: Op) -> Op:
    found = revisions(op.domain, op.name)
    index = found.index(op)
    return found[index + 1] if index + 1 < len(found) else op


# Steps. Each returns False where this use cannot take it.


def _attr_to_input(
    use: Use, attribute: str, index: int, dtype: str, rank: int, fill: Any
) -> bool:
    # Where the attribute was left out, what it meant is what the operand left out means now, or `fill`.
    value = use.attrs.pop(attribute, fill)
    if value is None or use.input(index) is not None:
        return True
    element = {"int64": I64, "float": F32}.get(dtype)
    if element is None:
        like = use.input(0)
        if like is None or not isinstance(like.type, TensorType) or not like.type.dtype.is_float:
            return False
        element = like.type.dtype
    if rank and isinstance(value, (int, float)):
        value = (value,)
    with np.errstate(over="ignore"):  # what a float16 cannot hold becomes infinite, and means the same
        array = np.array(value, dtype=element.numpy)
    use.set_input(index, use.builder.const(Tensor.from_array(array, element)))
    return True


def _drop_attr(use: Use, attribute: str, harmless: tuple[Any, ...] | None) -> bool:
    if harmless is not None and use.attr(attribute) not in (None, *harmless):
        return False
    use.attrs.pop(attribute, None)
    return True


def _rename_attr(use: Use, old: str, new: str) -> bool:
    if old in use.attrs:
        use.attrs[new] = use.attrs.pop(old)
    return True


def _rename_value(use: Use, attribute: str, names: dict[str, str]) -> bool:
    value = use.attr(attribute)
    if value is not None:
        use.attrs[attribute] = names.get(value, value)
    return True


def _old_default(use: Use, attribute: str, value: Any) -> bool:
    use.attrs.setdefault(attribute, value)
    return True


def _int_attr(use: Use, attribute: str) -> bool:
    value = use.attr(attribute)
    if value is not None:
        if value != int(value):
            return False
        use.attrs[attribute] = int(value)
    return True


_DTYPE_NAMES = {
    "FLOAT": 1, "UINT8": 2, "INT8": 3, "UINT16": 4, "INT16": 5, "INT32": 6, "INT64": 7, "STRING": 8,
    "BOOL": 9, "FLOAT16": 10, "DOUBLE": 11, "UINT32": 12, "UINT64": 13,
}  # fmt: skip


def _dtype_name(use: Use, attribute: str) -> bool:
    number = _DTYPE_NAMES.get(str(use.attr(attribute)).upper())
    if number is None:
        return False
    use.attrs[attribute] = number
    return True


def _input_to_attr(use: Use, attribute: str, index: int) -> bool:
    value = use.input(index)
    if value is None:
        return True
    if value.const is None:
        return False
    use.attrs[attribute] = value.const.ints()
    use.set_input(index, None)
    return True


def _count_outputs(use: Use, attribute: str) -> bool:
    if use.input(1) is None:
        use.attrs[attribute] = len(use.results)
    return True


def _output_bool(use: Use, index: int) -> bool:
    if index < len(use.results):
        value = use.results[index]
        if use.is_used(value.hint):
            return False
        value.type, value.hint = None, ""
    return True


def _adapter(use: Use, name: str) -> bool:
    adapter = _ADAPTERS.get(name)
    return adapter is not None and adapter(use)


# Adapters for what is irregular.


def _legacy_broadcast(use: Use) -> bool:
    """Before 7, `axis` said at which dimension of the left operand the right one starts."""
    broadcast, axis = use.take("broadcast"), use.take("axis")
    use.attrs.pop("consumed_inputs", None)
    second = use.inputs[1]
    if not broadcast or axis is None or second is None:
        return True
    a, b = use.rank(0), use.rank(1)
    if a is None or b is None:
        return False
    trailing = a - (axis + a if axis < 0 else axis) - b
    if trailing < 0:
        return False
    if trailing:
        axes = use.builder.ints(range(b, b + trailing))
        use.inputs[1] = use.builder.op("Unsqueeze", second, axes)
    return True


def _channel_slope(use: Use) -> bool:
    slope, a, b = use.input(1), use.rank(0), use.rank(1)
    if slope is None or a is None or b is None:
        return False
    if b == 1 and a > 2 and slope.shape != (1,):
        use.inputs[1] = use.builder.op("Unsqueeze", slope, use.builder.ints(range(1, a - 1)))
    return True


def _batch_norm_training(use: Use) -> bool:
    return len(use.results) == 1


def _group_scale(use: Use) -> bool:
    """Version 18 scaled per group, 21 scales per channel: repeat each group's constants."""
    groups, data = use.attr("num_groups"), use.input(0)
    channels = data.shape[1] if data is not None and data.shape and len(data.shape) > 1 else None
    if not isinstance(channels, int) or not groups or channels % groups:
        return False
    for index in (1, 2):
        value = use.input(index)
        if value is None or value.const is None or value.const.size != groups:
            return False
        repeated = np.repeat(value.const.array(), channels // groups)
        use.inputs[index] = use.builder.const(Tensor.from_array(repeated, value.const.dtype))
    return True


def _flattened_softmax(use: Use) -> bool:
    """Before 13 the input was a matrix split at `axis`; since then one axis is normalised.

    The two agree where nothing larger than 1 follows the axis; elsewhere the matrix is spelled out.
    """
    axis, data = use.take("axis"), use.inputs[0]
    axis = 1 if axis is None else axis
    rank, shape = use.rank(0), data.shape if data is not None else None
    if axis < 0:
        if rank is None:
            return False
        axis += rank
    if shape is not None and all(d == 1 for d in shape[axis + 1 :]):
        use.attrs["axis"] = axis
        return True
    newest = resolve("", use.op.name)
    matrix = use.builder.node("Flatten", [data], {"axis": axis}).output
    normalised = use.builder.node(newest, [matrix], {"axis": 1}).output
    use.inputs = [normalised, use.builder.node("Shape", [data]).output]
    use.attrs.clear()
    if shape is not None and 0 in shape:
        use.attrs["allowzero"] = 1
    use.ending = resolve("", "Reshape")
    return True


def _resize_asymmetric(use: Use) -> bool:
    """Resize-10: source = i / scale, nearest rounded down; scales moved from operand 1 to 2.

    Only where every scale is at least 1: onnxruntime rounds up when it shrinks.
    """
    scales = use.input(1)
    mode = use.attr("mode") or "nearest"
    if scales is None or scales.const is None or mode not in ("nearest", "linear", "bilinear"):
        return False
    if not bool(np.all(scales.const.array() >= 1)):
        return False
    use.inputs = [use.inputs[0], None, scales]
    use.attrs.clear()
    use.attrs["mode"] = "nearest" if mode == "nearest" else "linear"
    use.attrs["coordinate_transformation_mode"] = "asymmetric"
    if mode == "nearest":
        use.attrs["nearest_mode"] = "floor"
    return True


def _height_width_scale(use: Use) -> bool:
    """Upsample-1 had one factor each for the last two of four dimensions."""
    use.attrs["scales"] = (1.0, 1.0, use.take("height_scale"), use.take("width_scale"))
    return True


def _tile_one_axis(use: Use) -> bool:
    """Tile-1 repeated along one axis; both were tensors of the data's type."""
    rank, given = use.rank(0), [use.input(1), use.input(2)]
    if rank is None or any(v is None or v.const is None or v.const.size != 1 for v in given):
        return False
    times, axis = (int(v.const.item()) for v in given if v is not None and v.const is not None)
    if not -rank <= axis < rank:
        return False
    repeats = [1] * rank
    repeats[axis] = times
    use.inputs[1:] = [use.builder.ints(repeats)]
    return True


def _label_classes(use: Use) -> bool:
    """LabelEncoder-1 had one list of classes, which it indexed or searched depending on the input's type."""
    data, classes = use.input(0), use.attr("classes_strings")
    if data is None or data.dtype is None or not classes or len(set(classes)) < len(classes):
        return False
    use.attrs.pop("classes_strings")
    forward = data.dtype is STR
    use.attrs["keys_strings" if forward else "keys_int64s"] = classes if forward else tuple(range(len(classes)))
    use.attrs["values_int64s" if forward else "values_strings"] = tuple(range(len(classes))) if forward else classes
    return True


_ADAPTERS: dict[str, Callable[[Use], bool]] = {
    "height_width_scale": _height_width_scale,
    "tile_one_axis": _tile_one_axis,
    "label_classes": _label_classes,
    "legacy_broadcast": _legacy_broadcast,
    "channel_slope": _channel_slope,
    "batch_norm_training": _batch_norm_training,
    "group_scale": _group_scale,
    "flattened_softmax": _flattened_softmax,
    "resize_asymmetric": _resize_asymmetric,
}

_STEPS: dict[str, Callable[..., bool]] = {
    "attr_to_input": _attr_to_input,
    "drop_attr": _drop_attr,
    "rename_attr": _rename_attr,
    "rename_value": _rename_value,
    "old_default": _old_default,
    "set_attr": _old_default,
    "int_attr": _int_attr,
    "dtype_name": _dtype_name,
    "input_to_attr": _input_to_attr,
    "count_outputs": _count_outputs,
    "output_bool": _output_bool,
    "adapter": _adapter,
}
