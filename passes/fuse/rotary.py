"""Natives of the rules for rotary position embeddings: pairs, layouts, and where tables of cosines and sines come from.

Tables have one element for each pair (narrow) or two (wide). A wide one holds them as two equal halves (kind 0) or as
equal neighbours (kinds 1 and 2).
"""

from __future__ import annotations

from typing import Any

from ...ir.core import Value
from ...ir.infer import content_of
from ...ir.infer.base import broadcast_dim
from ...ir.rewrite import ABSENT, native
from .rotary_tables import Dims, last_dim, row_window, same_shape, view_target

_TYPES = frozenset({"f32", "f16", "bf16"})


@native
def kind_of(p: Value, index: int) -> int | None:
    """How p chooses the first (index 0) or second partners of all pairs from its source; None where it does not."""
    node = p.producer
    if node is not None and node.op.key in ("Squeeze", "Reshape") and node.inputs[0] is not None:
        p = node.inputs[0]
        node = p.producer
    source = node.inputs[0] if node is not None else None
    size = last_dim(source.shape) if source is not None else 0
    if node is None or source is None or source.shape is None or size == 0 or size % 2:
        return None
    last = len(source.shape) - 1
    if node.op.key == "Gather":
        chosen = content_of(node.inputs[1])
        fits = size == 2 and node.attr("axis") in (-1, last) and chosen in ((index,), (index - 2,))
        return 2 if fits else None
    if node.op.key == "Split":
        halves = len(node.outputs) == 2 and all(last_dim(o.shape) == size // 2 for o in node.outputs)
        fits = halves and node.attr("axis") in (-1, last) and p.index == index
        return (2 if size == 2 else 0) if fits else None
    window = row_window(node)
    if window is None:
        return None
    if size == 2:
        return 2 if window[0] == index and window[2] == 1 else None
    if window == (index * (size // 2), 1, size // 2):
        return 0
    return 1 if window == (index, 2, size // 2) else None


def _merged(x: Value, kind: int) -> Dims | None:
    """The shape of x, whose last two axes are one for kinds 2 and 3."""
    shape = x.shape
    if kind < 2 or shape is None:
        return shape
    pairs = shape[-2] if len(shape) > 1 and shape[-1] == 2 else None
    return (*shape[:-2], 2 * pairs) if isinstance(pairs, int) else None


def _rotated(x: Value, kind: int) -> Dims | None:
    """The shape of what is rotated, with an even last dimension."""
    shape = _merged(x, kind)
    return shape if last_dim(shape) > 0 and last_dim(shape) % 2 == 0 else None


@native
def paired(y: Value, x: Value, kind: int) -> bool:
    """True if y puts the pairs of the rotated x together again from first and second partners.

    Kind 0 puts them into two halves, the others side by side into a last axis of 2.
    """
    shape, node = _rotated(x, kind), y.producer
    if shape is None or node is None or node.op.key != "Concat" or len(node.inputs) != 2:
        return False
    pairs = last_dim(shape) // 2
    part = (*shape[:-1], pairs) if kind == 0 else (*shape[:-1], pairs, 1)
    whole = shape if kind == 0 else (*shape[:-1], pairs, 2)
    return same_shape(y.shape, whole) and all(v is not None and same_shape(v.shape, part) for v in node.inputs)


@native
def begins_paired(y: Value, x: Value) -> bool:
    """True if y puts first and second halves of all rows of x together again, and something else behind them."""
    shape, node = _rotated(x, 0), y.producer
    if shape is None or node is None or y.shape is None or len(node.inputs) < 3:
        return False
    half = (*shape[:-1], last_dim(shape) // 2)
    joined = node.attr("axis") in (-1, len(shape) - 1)
    return joined and all(v is not None and same_shape(v.shape, half) for v in node.inputs[:2])


@native
def partners(a: Value, b: Value, x: Value, kind: int) -> int | None:
    """The kind of the pairs of x with the partners a and b: 3 for kind 2 if these have one axis more, of length 1."""
    shape = _rotated(x, kind)
    if shape is None or not same_shape(a.shape, b.shape):
        return None
    part = (*shape[:-1], last_dim(shape) // 2)
    if same_shape(a.shape, part):
        return kind
    return 3 if kind == 2 and same_shape(a.shape, (*part, 1)) else None


@native
def same_elements(x: Value, v: Value, kind: int) -> bool:
    """True if x and the rotated v hold the same elements in the same order."""
    return x is v or (_base(x) is _base(v) and same_shape(x.shape, _rotated(v, kind)))


def _base(value: Value) -> Value:
    while value.producer is not None and value.producer.op.key in ("Reshape", "Unsqueeze", "Squeeze", "Flatten"):
        source = value.producer.inputs[0]
        assert source is not None
        value = source
    return value


# Layouts: RotaryEmbedding takes [B, H, S, D], or [B, S, H*D] and the number of heads.


def _leading(table: Value, x: Value, kind: int, width: int) -> Dims | None:
    """The leading dimensions of a table beside those of the rotated x, to which each can be broadcast.

    `width`: how many elements of the table belong to one position. None where a dimension may be another one.
    """
    shape, own = _rotated(x, kind), table.shape
    if shape is None or not own:
        return None
    if kind == 3:
        if own[-1] != 1:
            return None
        own = own[:-1]
    if not own or own[-1] != width or len(own) > len(shape):
        return None
    full: Dims = (1,) * (len(shape) - len(own)) + own[:-1]
    fits = all(broadcast_dim(a, b) is b or a == b for a, b in zip(full, shape))
    return full if fits else None


@native
def heads(x: Value, kind: int, cos: Value, sin: Value, copies: int) -> Any:
    """How many heads are packed behind the axis of positions; ABSENT for x in [B, H, S, D]; None for another layout.

    The axis of heads is the one along which both tables are the same. `copies`: how often they hold each element.
    """
    shape = _rotated(x, kind)
    if shape is None or x.dtype is None or x.dtype.name not in _TYPES:
        return None
    width = last_dim(shape) // 2 * copies
    first, second = _leading(cos, x, kind, width), _leading(sin, x, kind, width)
    if first is None or second is None:
        return None
    if len(shape) == 3:
        return 1
    if len(shape) != 4:
        return None
    if first[1] == 1 and second[1] == 1:
        return ABSENT
    many = shape[2]
    return many if first[2] == 1 and second[2] == 1 and isinstance(many, int) else None


@native
def sequence_axis(heads: int | None) -> int:
    """Which axis of RotaryEmbedding's operand counts the positions."""
    return 2 if heads is None else 1


@native
def uncut(x: Value, axis: int) -> Value:
    """What x is a part or view of, with the same dimensions 0 and `axis`: asking for its shape does not keep x."""
    while x.producer is not None and x.producer.op.key in ("Slice", "Split", "Reshape"):
        source = x.producer.inputs[0]
        if source is None or x.shape is None or source.shape is None or len(source.shape) <= axis:
            break
        if not same_shape((x.shape[0], x.shape[axis]), (source.shape[0], source.shape[axis])):
            break
        x = source
    return x


def _operand_shape(x: Value, kind: int, heads: int | None) -> Dims | None:
    shape = _merged(x, kind)
    if shape is None or heads is None:
        return shape
    return (*shape[:2], heads * shape[-1])


@native
def packed(x: Value, kind: int, heads: int | None) -> Any:
    """The target of a Reshape of x to RotaryEmbedding's operand; ABSENT where it is that already."""
    shape = _operand_shape(x, kind, heads)
    return None if shape is None else view_target(x.shape, shape)


@native
def unpacked(y: Value, x: Value, kind: int, heads: int | None) -> Any:
    """The target of a Reshape of RotaryEmbedding's result to the shape of y; ABSENT where it has that already."""
    shape = _operand_shape(x, kind, heads)
    return None if shape is None or y.shape is None else view_target(shape, y.shape)


@native
def table(wide: Value, x: Value, kind: int, heads: int | None, copies: int) -> Any:
    """The target of a Reshape of a table, cut to one element for each pair, to [B or 1, S or 1, D/2]."""
    shape = _rotated(x, kind)
    if shape is None or wide.shape is None:
        return None
    pairs = last_dim(shape) // 2
    lead = _leading(wide, x, kind, pairs * copies)
    if lead is None:
        return None
    own = (*wide.shape[:-2], pairs, 1) if kind == 3 else (*wide.shape[:-1], pairs)
    target = view_target(own, (lead[0], lead[sequence_axis(heads)], pairs))
    return (0, 0, pairs) if target is ABSENT else target


# Around RotaryEmbedding.


def _taken(part: Value) -> tuple[int, int] | None:
    """Start and end, along the last axis, of a part without gaps that a Slice or Split cuts out."""
    node = part.producer
    if node is None or node.inputs[0] is None:
        return None
    if node.op.key == "Slice":
        window = row_window(node)
        return (window[0], window[0] + window[2]) if window is not None and window[1] == 1 else None
    rank = node.inputs[0].rank
    if node.op.key != "Split" or rank is None or node.attr("axis") not in (-1, rank - 1):
        return None
    sizes = [last_dim(output.shape) for output in node.outputs[: part.index + 1]]
    return (sum(sizes[:-1]), sum(sizes)) if all(sizes) else None


@native
def follows(front: Value, rest: Value, x: Value) -> bool:
    """True if front is how the rows of x begin, and rest is all of them that is left."""
    one, two = _taken(front), _taken(rest)
    return one is not None and two is not None and one[0] == 0 and one[1] == two[0] and two[1] == last_dim(x.shape)


@native
def single_heads(x: Value, heads: int | None) -> bool:
    """True if a row of RotaryEmbedding's operand x is one head."""
    return x.rank == 4 or (x.rank == 3 and heads == 1)


@native
def heads_first(perm: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The part of a permutation of [A, B, H, D] that brings the heads to axis 1, the elements of a head last."""
    if perm is None or len(perm) != 4 or perm[1] != 2:
        return None
    return (perm[0], 2, 1 - perm[0], 3) if perm[0] < 2 else None


@native
def keys_turned(perm: tuple[int, ...]) -> Any:
    """What `heads_first` leaves to do of the permutation."""
    return ABSENT if perm[3] == 3 else (0, 1, 3, 2)


@native
def tables_turned(perm: tuple[int, ...]) -> Any:
    """What the permutation means for tables [A, B, D/2]."""
    return ABSENT if perm[0] == 0 else (1, 0, 2)
