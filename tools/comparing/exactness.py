"""How exact the results of a model can be: what its arithmetic allows, what it quantizes, what it draws at random."""

from __future__ import annotations

from typing import Any

from ...ir.core import Model, Value
from ...ir.types import BF16, F16, F32, F64, TensorType

LIMITS = {F64: 1e-9, F32: 1e-4, F16: 1e-2, BF16: 5e-2}
LOW_LIMIT = 0.2  # for floats of 8 bits and fewer
QUANTIZED_LIMIT = 2e-2  # one step of 8-bit rounding may fall the other way
QUANTIZING = frozenset((
    "QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "MatMulInteger", "ConvInteger",
    "QLinearAdd", "QLinearMul", "QAttention", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM",
))  # fmt: skip


def quantizes(model: Model) -> bool:
    """True if it rounds numbers to integers as it runs."""
    return any(node.op.name in QUANTIZING for node in model.walk())


def float_limit(model: Model) -> float:
    """What float outputs may be off by: the coarsest arithmetic in the model decides."""
    limits = {QUANTIZED_LIMIT if quantizes(model) else LIMITS[F64]}
    for node in model.walk():
        for value in node.outputs:
            if isinstance(value.type, TensorType) and value.type.dtype.is_float:
                limits.add(LIMITS.get(value.type.dtype, LOW_LIMIT))
    return max(limits)


def random_outputs(model: Model) -> set[int]:
    """Indexes of the graph outputs that depend on an operator which draws random numbers."""
    drawn: set[Value] = set()
    random_functions = {
        key for key, function in model.functions.items() if any(_is_random(node) for node in function.graph.walk())
    }
    for node in model.graph.walk():
        called = (node.op.domain, node.op.name, "") in random_functions
        if called or _is_random(node) or any(value in drawn for value in node.inputs):
            current = node
            while True:  # what a nested graph draws comes out of the node around it
                drawn.update(current.outputs)
                parent = current.graph.parent if current.graph is not None else None
                if parent is None:
                    break
                current = parent
    return {index for index, value in enumerate(model.graph.outputs) if value in drawn}


def _is_random(node: Any) -> bool:
    if node.op.name == "Dropout":
        training = node.input(2)
        return training is not None and not (training.const is not None and not training.const.item())
    return bool(node.op.random)
