"""What a layer saves in 8-bit integers, by a target's peak numbers: for weighing time against accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from ...ir.core import Node, Value
from ...ir.ops.cost import CostModel, Machine
from ...ir.types import BF16, F16, F32, I8, U8, DType, Type
from ..precision.speed import sized
from .kernels import FUSED, Integers

# Where a target has no numbers: products at 4 times the rate of single precision, as dot products of four bytes give,
# and at twice that of half precision, as matrix units do.
_RATES = {"fp32": 1e11, "fp16": 2e11, "bf16": 2e11, "int8": 4e11}
_BANDWIDTH = 1e10
_NAMES = {F16: ("fp16",), BF16: ("bf16",), F32: ("tf32", "fp32")}  # of the rates that products of floats run at


class IntegerSpeed:
    """Seconds by roofline."""

    def __init__(
        self, kernels: Integers, hardware: Any = None, floats: DType = F32, sizes: Mapping[str, int] | None = None,
        counts_launches: bool = False,
    ) -> None:  # fmt: skip
        """`hardware` has `rates` in operations a second by precision, `bandwidth` in bytes a second and `launch`.

        `floats`: the type of what is not integers, as it will be. `sizes` of symbolic dimensions; others have typical
        ones. `counts_launches`: what is not fused of quantization takes time, too (`FUSED`).
        """
        rates, self.bandwidth, self.launch = _RATES, _BANDWIDTH, 1e-6
        if hardware is not None and {"fp32", "int8"} <= set(hardware.rates) and hardware.bandwidth:
            rates, self.bandwidth, self.launch = hardware.rates, hardware.bandwidth, hardware.launch
        self.kernels = kernels
        self.floats = floats
        self.sizes = sizes
        self._quantizing = FUSED * self.launch if counts_launches and kernels.fused else 0.0
        rate = next((rates[name] for name in _NAMES[floats] if name in rates), rates["fp32"])
        self._float = CostModel(Machine(rate, self.bandwidth, 0.0))
        self._integer = CostModel(Machine(rates["int8"], self.bandwidth, 0.0))

    def gain(self, node: Node) -> float:
        """Seconds that a layer takes less in integers, or that reading the bytes takes which a table loses."""
        if node.op.key in self.kernels.tables:
            table = node.inputs[0]
            return (1 - U8.bits / self.floats.bits) * self._float_bytes(table) / self.bandwidth
        values = [value for value in (*node.inputs, *node.outputs) if value is not None]
        floats = {v: self._sized(v, self.floats if v.dtype is F32 else v.dtype) for v in values}
        codes = {**floats, **{v: self._sized(v, dtype) for v, dtype in zip(node.inputs[:2], (U8, I8)) if v is not None}}
        if node.op.key in self.kernels.closed:
            codes[node.output] = self._sized(node.output, U8)
        before, after = self._float.seconds(node, floats), self._integer.seconds(node, codes)
        return 0.0 if before is None or after is None else before - after - self._apart(node)

    def _apart(self, node: Node) -> float:
        """Seconds for its share in the kernel that quantizes what it reads, as others may read that too."""
        x = node.inputs[0]
        readers = 1 if x is None else sum(user.op.key in self.kernels.layers for user in x.users)
        return self._quantizing / max(1, readers)

    def switch(self, node: Node) -> float:
        """Seconds that it takes to quantize, or to dequantize, what a layer reads, where the layer before does other
        than it: 0 for one that quantizes its operand in any case."""
        if node.op.key not in self.kernels.closed:
            return 0.0
        wide = self.floats.bits
        return self.launch + self._float_bytes(node.inputs[0]) * (wide + U8.bits) / wide / self.bandwidth

    def _float_bytes(self, value: Value | None) -> float:
        if value is None:
            return 0.0
        shape = self._float.shape(value, {value: self._sized(value, value.dtype)})
        return 0.0 if shape is None else prod(shape) * self.floats.bits / 8

    def _sized(self, value: Value, dtype: DType | None) -> Type | None:
        return sized(value, dtype, self.sizes)
