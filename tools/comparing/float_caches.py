"""Comparing a model whose caches are kept in 8 bits (kv-cache) with its source, which is called with floats."""

from __future__ import annotations

from ...ir.builder import Builder
from ...ir.clone import clone_model
from ...ir.core import Graph, Model, Value
from ...ir.tensor import Array
from ...ir.types import F32, I8, tensor_type
from ...passes.caches import caches
from ...passes.quantize.kv_cache import dequantized, quantized

_PAST, _SCALE = 3, 12  # operands of com.microsoft::GroupQueryAttention: keys, and values behind them


def with_float_caches(model: Model) -> Model:
    """A copy that takes and gives floats for caches of codes; the model itself where it has none.

    The codes stay outputs, behind the others: onnxruntime 1.31 takes what GroupQueryAttention appends to a cache for as
    long as the cache, unless an output says otherwise, and plans the memory of what reads it by that.
    """
    if not _coded(model.graph):
        return model
    copy, _ = clone_model(model)
    graph = copy.graph
    outputs, names = list(graph.outputs), list(graph.output_names)
    for place, output in _coded(graph).items():
        past = graph.inputs[place]
        scale = _scale(past)
        back = Builder(graph)
        outputs.append(outputs[output])
        names.append(f"{names[output]}.codes")
        outputs[output] = dequantized(back, outputs[output], scale)
        uses = list(past.uses)
        past.type = tensor_type(F32, past.shape)
        codes = quantized(Builder(graph, graph.first), past, scale)
        for user, index in uses:
            user.set_input(index, codes)
    graph.set_outputs(outputs, names)
    return copy


def _coded(graph: Graph) -> dict[int, int]:
    return {place: output for place, output in caches(graph).items() if graph.inputs[place].dtype is I8}


def _scale(past: Value) -> Array:
    """The scales of a cache of codes, which what reads it holds. Raises ValueError where nothing does."""
    for user, index in past.uses:
        if user.op.key == "com.microsoft::GroupQueryAttention":
            value = user.input(_SCALE + index - _PAST)
            if value is not None and value.const is not None:
                return value.const.array()
        for cast in user.output.users if user.op.key == "Concat" else ():
            for factor in cast.output.users if cast.op.key == "Cast" else ():
                value = factor.input(1)
                if factor.op.key == "Mul" and value is not None and value.const is not None:
                    return value.const.array()
    raise ValueError(f"nothing says what the codes of %{past.hint} stand for")
