"""Reductions, positions of extremes, sums along an axis."""

from __future__ import annotations

from ...ir.errors import InvalidModel
from ...ir.types import BOOL, I32
from .call import Call, converts
from .schema import DTYPES

_REDUCTIONS = {
    "MEAN": "ReduceMean", "SUM": "ReduceSum", "REDUCE_PROD": "ReduceProd", "REDUCE_MAX": "ReduceMax",
    "REDUCE_MIN": "ReduceMin", "REDUCE_ANY": "ReduceMax", "REDUCE_ALL": "ReduceMin",
}  # fmt: skip


@converts(*_REDUCTIONS)
def _reduce(call: Call) -> None:
    b, x = call.builder, call.real(0)
    rank = call.rank(0)
    axes = sorted({call.axis(a, rank) for a in call.ints(1)})
    if x.dtype is BOOL:
        x = b.op("Cast", x, to=I32.onnx)
    # No axes: nothing is reduced, which is not what ONNX takes an empty list for.
    keepdims = int(call.option("keep_dims"))
    result = b.op(_REDUCTIONS[call.name], x, b.ints(axes), keepdims=keepdims, noop_with_empty_axes=0 if axes else 1)
    call.give_real(call.cast(result, BOOL) if call.outputs[0].dtype is BOOL else result)


@converts("ARG_MAX", "ARG_MIN")
def _arg(call: Call) -> None:
    axes = call.ints(1)
    if len(axes) != 1:
        raise InvalidModel(f"has {len(axes)} axes")
    axis = call.axis(axes[0], call.rank(0))
    op = "ArgMax" if call.name == "ARG_MAX" else "ArgMin"
    found = call.builder.op(op, call.value(0), axis=axis, keepdims=0)
    call.give(call.cast(found, DTYPES.get(call.option("type"))))


@converts("CUMSUM")
def _cumsum(call: Call) -> None:
    axes = call.ints(1)
    if len(axes) != 1:
        raise InvalidModel(f"has {len(axes)} axes")
    axis = call.builder.const(call.axis(axes[0], call.rank(0)), I32)
    flags = {name: int(call.option(name)) for name in ("exclusive", "reverse")}
    call.give_real(call.builder.op("CumSum", call.real(0), axis, **flags))


@converts("TOPK_V2")
def _topk(call: Call) -> None:
    counts = call.ints(1)
    if len(counts) != 1:
        raise InvalidModel(f"has {len(counts)} amounts")
    node = call.builder.node("TopK", [call.value(0), call.builder.ints(counts)], outputs=2)
    call.give(node.outputs[0])
    if len(call.outputs) > 1:
        call.give(call.cast(node.outputs[1], call.outputs[1].dtype), 1)
