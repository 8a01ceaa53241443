"""Operators that take elements by their positions, or put them there; tables; which boxes do not overlap."""

from __future__ import annotations

from ...ir.core import Value
from ...ir.errors import InvalidModel, UnsupportedModel
from ...ir.types import BOOL, F32, I32, I64
from .call import Call, converts
from .movement import give_moved, moved


@converts("GATHER")
def _gather(call: Call) -> None:
    """x[..., indices, ...] along an axis; the first `batch_dims` axes of both go together."""
    batches = call.option("batch_dims") if call.options is not None else 0
    rank = call.rank(0)
    axis = call.axis(call.option("axis") if call.options is not None else 0, rank)
    b, x, indices = call.builder, moved(call), call.wide(1)
    if not batches:
        give_moved(call, b.op("Gather", x, indices, axis=axis))
        return
    count = call.rank(1)
    batches = batches + count if batches < 0 else batches
    if not 0 <= batches <= min(axis, count):
        raise InvalidModel(f"gathers along axis {axis} with {batches} axes of batches")
    if axis > batches:  # axes between go behind the axis
        x = b.op("Transpose", x, perm=(*range(batches), axis, *range(batches, axis), *range(axis + 1, rank)))
    found = b.op("GatherND", x, b.op("Unsqueeze", indices, b.ints([-1])), batch_dims=batches)
    if axis > batches:  # [batches, indices, between, rest]
        between = range(count, count + axis - batches)
        last = range(count + axis - batches, rank + count - batches - 1)
        found = b.op("Transpose", found, perm=(*range(batches), *between, *range(batches, count), *last))
    give_moved(call, found)


@converts("GATHER_ND")
def _gather_nd(call: Call) -> None:
    give_moved(call, call.builder.op("GatherND", moved(call), call.wide(1)))


@converts("EMBEDDING_LOOKUP")
def _embedding_lookup(call: Call) -> None:
    """Rows of a table, found before they are dequantized."""
    info, quantization = call.info(1), call.info(1).quantization
    b, rows = call.builder, call.wide(0)
    found = b.op("Gather", call.value(1), rows)
    if quantization is None or info.dtype is call.outputs[0].dtype:
        call.give(found)
        return
    if quantization.per_tensor:
        call.give_real(call.dequantized(found, info))
        return
    if quantization.axis != 0 or quantization.zero.any():
        raise UnsupportedModel("has a table with a scale for each column")
    scales = b.op("Gather", b.const(quantization.scale.reshape(-1, *(1 for _ in info.shape[1:])), F32), rows)
    call.give_real(b.op("Mul", b.op("Cast", found, to=F32.onnx), scales))


@converts("ONE_HOT")
def _one_hot(call: Call) -> None:
    """Values `on` where the position along the new axis is the index, `off` elsewhere, also for negative indices."""
    b, rank = call.builder, call.rank(0)
    axis = call.axis(call.option("axis"), rank + 1)
    depth = b.op("Range", b.const(0, I64), call.scalar(call.wide(1)), b.const(1, I64))
    places = b.op("Unsqueeze", depth, b.ints(range(1, rank + 1 - axis))) if axis < rank else depth
    is_there = b.op("Equal", b.op("Unsqueeze", call.wide(0), b.ints([axis])), places)
    call.give(b.op("Where", is_there, call.scalar(call.value(2)), call.scalar(call.value(3))))


@converts("SCATTER_ND")
def _scatter_nd(call: Call) -> None:
    """Zeros of a shape, to which updates are added."""
    b, updates = call.builder, call.value(1)
    zeros = b.op("Expand", b.const(0, like=updates), call.wide(2))
    call.give(b.op("ScatterND", zeros, call.wide(0), updates, reduction="add"))


@converts("WHERE")
def _where(call: Call) -> None:
    """The positions of what is true, a row for each."""
    condition = call.cast(call.value(0), BOOL)
    places = call.builder.op("Transpose", call.builder.op("NonZero", condition), perm=(1, 0))
    call.give(call.cast(places, call.outputs[0].dtype))


@converts("UNIQUE")
def _unique(call: Call) -> None:
    is_float = call.outputs[0].dtype is F32  # runtimes have it for these and for wide integers
    node = call.builder.node("Unique", [call.value(0) if is_float else call.wide(0)], {"sorted": 0}, outputs=4)
    call.give(call.cast(node.outputs[0], call.outputs[0].dtype))
    if len(call.outputs) > 1:
        call.give(call.cast(node.outputs[2], call.outputs[1].dtype), 1)


@converts("REVERSE_SEQUENCE")
def _reverse_sequence(call: Call) -> None:
    """The first `lengths` elements of each sequence in the opposite order; ONNX has the axes 0 and 1 alone."""
    rank = call.rank(0)
    time, batch = call.axis(call.option("seq_dim"), rank), call.axis(call.option("batch_dim"), rank)
    if time == batch or call.rank(1) != 1:
        raise InvalidModel(f"reverses axis {time} of batches along axis {batch}")
    b, x, lengths = call.builder, moved(call), call.wide(1)
    if (time, batch) in ((0, 1), (1, 0)):
        give_moved(call, b.op("ReverseSequence", x, lengths, time_axis=time, batch_axis=batch))
        return
    perm = [time, batch, *(axis for axis in range(rank) if axis not in (time, batch))]
    found = b.op("ReverseSequence", b.op("Transpose", x, perm=tuple(perm)), lengths, time_axis=0, batch_axis=1)
    give_moved(call, b.op("Transpose", found, perm=tuple(perm.index(axis) for axis in range(rank))))


@converts("DYNAMIC_UPDATE_SLICE")
def _update_slice(call: Call) -> None:
    """x with a part replaced, which begins where the indices say, or earlier where it would not fit."""
    b, x, part = call.builder, call.value(0), call.value(1)
    rank = call.rank(0)
    shape, size = x.shape, part.shape
    if shape is None or size is None or len(size) != rank:
        raise UnsupportedModel("replaces a part of unknown rank")
    start = call.wide(2)
    room = b.op("Sub", b.op("Shape", x), b.op("Shape", part))
    start = b.op("Max", b.op("Min", start, room), b.ints([0]))
    axes = [axis for axis in range(rank) if not (isinstance(size[axis], int) and size[axis] == shape[axis])]
    if not axes:
        call.give(part)
        return
    if len(axes) == 1:  # rows of one axis: what lies before, the part, what lies behind
        axis = b.ints(axes)
        begin = b.op("Gather", start, axis)
        end = b.op("Add", begin, b.op("Gather", b.op("Shape", part), axis))
        before = b.op("Slice", x, b.ints([0]), begin, axis)
        behind = b.op("Slice", x, end, b.ints([2**62]), axis)
        call.give(b.op("Concat", before, part, behind, axis=axes[0]))
        return
    call.give(b.op("ScatterND", x, _positions(call, part, start, rank), part))


def _positions(call: Call, part: Value, start: Value, rank: int) -> Value:
    """The position in the whole of each element of a part: [*part, rank]."""
    b = call.builder
    all_of_them = b.op("Expand", b.const(True, BOOL), b.op("Shape", part))
    places = b.op("Transpose", b.op("NonZero", all_of_them), perm=(1, 0))
    shape = b.op("Concat", b.op("Shape", part), b.ints([rank]), axis=0)
    return b.op("Reshape", b.op("Add", places, start), shape)


@converts("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5")
def _non_max_suppression(call: Call) -> None:
    """The boxes [n, 4] of the highest scores [n] that overlap no better one; as many as wanted, zeros behind them."""
    if call.name.endswith("V5") and not (call.is_const(5) and float(call.const(5).reshape(-1)[0]) == 0.0):
        raise UnsupportedModel("lowers the scores of boxes that overlap")
    b = call.builder
    wanted = call.scalar(call.wide(2))
    boxes, scores = b.op("Unsqueeze", call.value(0), b.ints([0])), b.op("Unsqueeze", call.value(1), b.ints([0, 1]))
    limits = [call.scalar(call.value(index)) for index in (3, 4)]
    found = b.op("NonMaxSuppression", boxes, scores, wanted, *limits)
    chosen = b.op("Squeeze", b.op("Slice", found, b.ints([2]), b.ints([3]), b.ints([1])), b.ints([1]))
    count = b.op("Shape", chosen)
    missing = b.op("Sub", b.op("Unsqueeze", wanted, b.ints([0])), count)
    ends = b.op("Concat", b.ints([0]), missing, axis=0)
    call.give(call.cast(b.op("Pad", chosen, ends), call.outputs[0].dtype))
    place = 1
    if call.name.endswith("V5"):
        call.give(b.op("Pad", b.op("Gather", call.value(1), chosen), ends), 1)
        place = 2
    if len(call.outputs) > place:
        call.give(call.cast(call.scalar(count), I32), place)
