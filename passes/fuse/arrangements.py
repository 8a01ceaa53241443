"""Natives of the rules for arrangements of elements."""

from __future__ import annotations

from ...ir.core import Value
from ...ir.rewrite import native
from ...ir.tensor import Tensor, int_tensor
from . import einsum  # noqa: F401 (its natives)

_FAR = 1 << 30  # ends of Slice from here on mean "to the end"


@native
def reaches_end(ends: Value, x: Value, axes: tuple[int, ...]) -> bool:
    """True if a Slice of x with these ends takes everything up to the end of the axes."""
    const, shape = ends.const, x.shape
    if const is None or shape is None:
        return False
    given = const.ints()
    if len(given) != len(axes):
        return False
    return all(
        end >= _FAR or (isinstance(dim, int) and end >= dim) for end, dim in zip(given, (shape[axis] for axis in axes))
    )


@native
def by_columns(w: Value) -> Tensor | None:
    """A Conv weight [M, 4 C, ...] with the second and the third quarter of its channels exchanged."""
    const = w.const
    if const is None or len(const.shape) < 2 or const.shape[1] % 4:
        return None
    array = const.array()
    shape = (array.shape[0], 4, array.shape[1] // 4, *array.shape[2:])
    return Tensor.from_array(array.reshape(shape)[:, (0, 2, 1, 3)].reshape(array.shape), const.dtype)


@native
def by_channels(w: Value, block: int) -> Tensor | None:
    """A Conv weight [M, C block block, ...] for the same channels in the order [block, block, C]."""
    const = w.const
    if const is None or len(const.shape) < 2 or const.shape[1] % (block * block):
        return None
    array = const.array()
    shape = (array.shape[0], array.shape[1] // (block * block), block * block, *array.shape[2:])
    return Tensor.from_array(array.reshape(shape).swapaxes(1, 2).reshape(array.shape), const.dtype)


@native
def first_of_range(indices: Value, x: Value, axis: int) -> int | None:
    """The first of constant indices that count up by one along an axis of x; None where they do not."""
    const, shape = indices.const, x.shape
    if const is None or shape is None or len(const.shape) != 1 or not const.size:
        return None
    size = shape[axis] if -len(shape) <= axis < len(shape) else None
    if not isinstance(size, int):
        return None
    given = [i + size if i < 0 else i for i in const.ints()]
    if not 0 <= given[0] <= given[-1] < size or given != list(range(given[0], given[0] + len(given))):
        return None
    return given[0]


@native
def one(number: int) -> Tensor:
    """A list of one integer, as the operands of Slice are."""
    return int_tensor([number])
