"""Natives of forms.rules: what is squared, and what convolutions made."""

from __future__ import annotations

from ...ir.core import Node, Value
from ...ir.rewrite import native
from ...ir.rewrite.instances import Pick, instance_for
from ...passes.fuse import norms  # noqa: F401 (channels_last)

# What may stand between a convolution and what reads its result, in one kernel with either.
_MOVES = frozenset(("Unsqueeze", "Squeeze", "Reshape", "Cast", "Identity"))
_POINTWISE = frozenset(("Add", "Sub", "Mul", "Div", "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh", "Gelu"))
_FARTHEST = 8  # nodes between


@native
def is_squared(value: Value) -> bool:
    """True if all that is done with a value is to square it."""
    values = [value]
    for each in values:  # grows while we go
        if not each.uses or len(values) > _FARTHEST:
            return False
        for user, _ in each.uses:
            if user.op.key in _MOVES:
                values += user.outputs
            elif not _squares(user, each):
                return False
    return True


def _squares(node: Node, value: Value) -> bool:
    if node.op.key == "Mul":
        return all(operand is value for operand in node.inputs)
    power = node.input(1) if node.op.key == "Pow" else None
    return power is not None and power.const is not None and power.const.size == 1 and power.const.item() == 2


@native
def is_convolved(value: Value) -> bool:
    """True if a convolution made a value, with what its kernel takes along."""
    values = [value]
    for each in values:  # grows while we go
        maker = each.producer
        if maker is None or len(values) > _FARTHEST:
            continue
        if maker.op.key == "Conv":
            return True
        if maker.op.key in _POINTWISE or maker.op.key in _MOVES:
            values += [v for v in maker.inputs if v is not None and v.const is None and v.dtype is value.dtype]
    return False


@native
def inner_of(value: Value) -> tuple[int, ...]:
    """The axes of a picture or signal whose channels are last."""
    rank = value.rank
    assert rank is not None
    return tuple(range(1, rank - 1))


@native
def outer_of(value: Value) -> tuple[int, ...]:
    """The axes of a picture or signal behind its channels."""
    rank = value.rank
    assert rank is not None
    return tuple(range(2, rank))


@native
def inner_axes(value: Value, axes: Value) -> tuple[int, ...] | None:
    """Where the axes behind the channels are when those are last; None for other axes."""
    given, rank = None if axes.const is None else axes.const.ints(), value.rank
    if given is None or rank is None or sorted(axis % rank for axis in given) != list(range(2, rank)):
        return None
    return inner_of(value)


@instance_for("parts_of_spectrum")
def spectrum(pick: Pick) -> str:
    """Two filters of one signal, squared in both spellings."""
    square, stride = pick("Mul(%c, %c)", "Pow(%c, %two)"), pick(1, 2)
    return f"""
    graph @main(%x: f32[2,3,9]) -> (%y) {{
      weight %w: f32[4,3,2] = splat(0.5)
      weight %v: f32[5,3,2] = splat(-0.25)
      weight %two: f32[] = 2.0
      weight %axes: i64[1] = [0]
      %a = Conv(%x, %w) {{kernel_shape=[2], strides=[{stride}]}}
      %b = Conv(%x, %v) {{kernel_shape=[2], strides=[{stride}]}}
      %c = Unsqueeze(%a, %axes)
      %d = {square}
      %e = Mul(%b, %b)
      %f = Unsqueeze(%e, %axes)
      %y = Concat(%d, %f) {{axis=2}}
    }}"""


def _convolved(line: str, size: str) -> str:
    return f"""
    graph @main(%x: f32[2,3,{size}]) -> (%y) {{
      weight %w: f32[4,3,{",".join("1" for _ in size.split(","))}] = splat(0.5)
      weight %b: f32[4] = [0.5, -1.0, 2.0, 0.0]
      weight %axes: i64[{len(size.split(","))}] = {"[-1, 2]" if "," in size else "[2]"}
      %c = Conv(%x, %w, %b)
      %r = Relu(%c)
      %m = {line}
      %y = Neg(%m)
    }}"""


@instance_for("largest_in_picture")
def largest_by_axes(pick: Pick) -> str:
    """The largest of each channel of a picture, or of a signal."""
    return _convolved("ReduceMax(%r, %axes) {keepdims=0}", pick("5,4", "7"))


@instance_for("largest_of_all")
def largest_by_pool(pick: Pick) -> str:
    """As `largest_by_axes`, by pooling."""
    return _convolved("GlobalMaxPool(%r)", pick("5,4", "7"))
