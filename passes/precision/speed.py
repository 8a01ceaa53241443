"""What a node saves in half precision, and what a cast costs, by a target's peak numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

from ...ir.core import Node, Value
from ...ir.dims import substitute
from ...ir.ops.cost import CostModel, Machine, typical
from ...ir.ops.cost_table import MATRIX_UNITS
from ...ir.types import BF16, F16, F32, DType, Type, tensor_type

# Where a target has no numbers: products at 8 times the rate of single precision, 100 operations a byte.
_RATES = {"fp32": 1e14, "fp16": 8e14, "bf16": 8e14}
_BANDWIDTH = 1e12
_LAUNCH = 2e-6
_NAMES = {F16: "fp16", BF16: "bf16"}
# Of all that half precision saves, what a cast must save itself. In a model so small that it takes no longer than its
# launches, a launch for each would leave nothing to gain.
SHARE = 0.01
# Kernels that attention in half precision takes less: it is one, where in single precision product, softmax and product
# are apart (TensorRT-RTX 1.7 builds both so).
_KERNELS_OF_ATTENTION = 2


class HalfSpeed:
    """Seconds by roofline."""

    def __init__(self, half: DType, hardware: Any = None) -> None:
        """`hardware` has `rates` in operations a second by precision, `bandwidth` in bytes a second and `launch`."""
        rates, bandwidth, launch = _RATES, _BANDWIDTH, _LAUNCH
        if hardware is not None and "fp32" in hardware.rates and hardware.bandwidth:
            rates, bandwidth, launch = hardware.rates, hardware.bandwidth, hardware.launch
        self.half = half
        self.bandwidth = bandwidth
        self.launch = launch
        single = rates.get("tf32", rates["fp32"])
        self._vector = CostModel(Machine(rates["fp32"], bandwidth, 0.0))
        self._single = CostModel(Machine(single, bandwidth, 0.0))
        self._half = CostModel(Machine(rates.get(_NAMES[half], single), bandwidth, 0.0))

    def gain(self, node: Node) -> float:
        """Seconds that the node takes less in half precision; of arithmetic none where a rank is unknown.

        Parts of a tensor are read where they lie, so that a cast before a Split is no dearer than one of each part.
        """
        if node.op.name == "Split":
            return 0.0
        values = [value for value in (*node.inputs, *node.outputs) if value is not None]
        single = {value: sized(value, value.dtype) for value in values}
        halves = {v: sized(v, self.half if v.dtype is F32 else v.dtype) for v in values}
        on_matrix_units = node.op.base_key in MATRIX_UNITS
        before = (self._single if on_matrix_units else self._vector).seconds(node, single)
        after = (self._half if on_matrix_units else self._vector).seconds(node, halves)
        kernels = _KERNELS_OF_ATTENTION if _is_in_attention(node) else -1 if _has_one_channel(node) else 0
        return kernels * self.launch + (0.0 if before is None or after is None else before - after)

    def cast(self, value: Value) -> float:
        """Seconds to read a value in one precision and write it in the other; 0 where its rank is unknown."""
        shape = self._vector.shape(value, {value: sized(value, value.dtype)})
        return 0.0 if shape is None else prod(shape) * (F32.bits + self.half.bits) / 8 / self.bandwidth

    def overhead(self, nodes: Iterable[Node]) -> float:
        """Seconds that each cast between nodes takes besides, where `nodes` are all that may change.

        It is half a launch: runtimes fuse many casts with what is beside them, but not all, and nobody can tell which.
        It is no more than a `SHARE` of what the nodes save.
        """
        return min(self.launch / 2, SHARE * sum(max(0.0, self.gain(node)) for node in nodes))


def sized(value: Value, dtype: DType | None, sizes: Mapping[str, int] | None = None) -> Type | None:
    """The type of a value in which every symbol has the size that it is given, or a typical one, whoever named it."""
    if dtype is None or value.shape is None:
        return value.type
    known = sizes or {}

    def size(name: str) -> int:
        return known.get(name) or typical(name)

    return tensor_type(dtype, tuple(substitute(dim, size) for dim in value.shape))


def _has_one_channel(node: Node) -> bool:
    """True for a convolution of a picture, or a signal, with one channel, and for a transposed one that makes such.

    In half precision matrix units work on 8 channels at once, and a kernel of its own fills up, or cuts out, what is
    there; in single precision there is one less (TensorRT-RTX 1.7).
    """
    weights = node.input(1) if node.op.key in ("Conv", "ConvTranspose") and node.attr("group") == 1 else None
    return weights is not None and weights.shape is not None and weights.shape[1] == 1


def _is_in_attention(node: Node) -> bool:
    """True for a Softmax whose result goes into a product with another value, a choice or a factor between them."""
    if node.op.name != "Softmax":
        return False
    values = [node.output]
    for value in values:  # grows while we go
        for user in value.users:
            if user.op.name == "MatMul":
                return all(operand is not None and operand.const is None for operand in user.inputs)
            if user.op.name in ("Where", "Mul") and len(values) < 4:
                values.append(user.output)
    return False
