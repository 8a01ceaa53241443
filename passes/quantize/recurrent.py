"""LSTMs whose weights are integers: the runtime rounds operands and states by their own range at each step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Graph, Node, Value
from ...ir.tensor import Array, Tensor
from ...ir.types import F32, I8
from .kernels import Integers
from .placement import Keep, is_kept
from .scheme import quantize
from .weights import weight_affine, weight_scheme

_LEAST = 32  # inputs or units below which calling integer kernels costs more than they gain
_WEIGHTS = (1, 2)  # operands of an LSTM: those of its inputs, those of its states
_ATTRIBUTES = (
    "activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "input_forget",
)  # fmt: skip


def recurrent_of(graph: Graph, kernels: Integers, keep: Keep = ()) -> list[Node]:
    """The LSTMs of one graph that gain from integers, in order."""
    return [node for node in graph if kernels.lstm and node.op.key == "LSTM" and fits(node) and not is_kept(node, keep)]


def fits(node: Node) -> bool:
    """True for an LSTM in single precision, with constant weights that are not small, time in the first place."""
    matrices = [node.input(index) for index in _WEIGHTS]
    if node.attr("layout") or any(w is None or w.const is None or w.dtype is not F32 for w in matrices):
        return False
    return all(min(w.const.shape[1] // 4, w.const.shape[2]) >= _LEAST for w in matrices if w is not None and w.const)


def quantize_recurrent(node: Node, kernels: Integers) -> list[Node]:
    """Put the runtime's quantized LSTM in place of this one; the new nodes.

    Its operands are those of com.microsoft's DynamicQuantizeLSTM: codes i8 [directions, inputs, 4 * units], and a scale
    f32 [directions, 4 * units] for each unit of each gate.
    """
    graph = node.graph
    assert graph is not None
    b = Builder(graph, node, node.loc)
    parts = [_codes(b, node.inputs[index], kernels.reduced) for index in _WEIGHTS]
    others = [node.input(index) for index in range(3, 8)]
    of_scales = [value for part in parts for value in (part.scales, part.zeros)]
    attrs = {name: node.attr(name) for name in _ATTRIBUTES if node.attr(name) is not None}
    outputs = [value.hint for value in node.outputs]
    types = [value.type for value in node.outputs]
    operands = [node.inputs[0], *(part.codes for part in parts), *others, *of_scales]
    made = b.node(kernels.lstm, operands, attrs, outputs=outputs, types=types)
    for old, new in zip(node.outputs, made.outputs):
        old.replace_with(new)
    graph.erase(node)
    return b.created


class _Part(NamedTuple):
    codes: Value
    scales: Value
    zeros: Value


def _codes(b: Builder, w: Value | None, reduced: bool) -> _Part:
    assert w is not None and w.const is not None
    directions, gates, inputs = w.const.shape
    rows = w.const.array().reshape(-1, inputs)
    affine = weight_affine(Tensor.from_array(rows), 0, weight_scheme(reduced))
    codes: Array = quantize(rows, affine).reshape(directions, gates, inputs).transpose(0, 2, 1)
    scales = affine.scale.reshape(directions, gates)
    return _Part(
        b.const(Tensor.from_array(np.ascontiguousarray(codes), I8), hint=w.hint),
        b.const(Tensor.from_array(scales, F32)),
        b.const(Tensor.from_array(np.zeros(scales.shape, np.int8), I8)),
    )
