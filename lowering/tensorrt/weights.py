"""Quantized constants: what they stand for, and where their zero point can go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ...ir.core import Value
from ...ir.evaluate import DeferredTensor
from ...ir.rewrite.native import memo
from ...ir.tensor import Array, Tensor
from ...ir.types import F32, I8, U8, DType

CENTRES: Final = {U8: 128, I8: 0}  # the zero point with which weights become i8 and nothing is left over
_LOWEST, _HIGHEST = -128, 127  # of i8


@dataclass(frozen=True)
class Stored:
    """A constant beside its scale and zero point, as operands of a Q or DQ along `axis`: a number each, or a vector."""

    numbers: Tensor
    scale: Tensor
    zero: Tensor | None
    axis: int

    @classmethod
    def of(cls, result: Value) -> Stored | None:
        """What a Q or DQ computes `result` from; None where that is no constant, in blocks, or of another precision."""
        node = result.producer
        if node is None or node.op.name not in ("QuantizeLinear", "DequantizeLinear") or node.attr("block_size"):
            return None
        operands = [node.input(index) for index in range(3)]
        numbers, scale, zero = (None if value is None else value.const for value in operands)
        if numbers is None or scale is None or (operands[2] is not None and zero is None):
            return None
        if scale.dtype is not F32 or node.attr("output_dtype") not in (None, 0, F32.onnx, numbers_type(result)):
            return None
        found = cls(numbers, scale, zero, int(node.attr("axis")))
        if found.along(scale) is None or (zero is not None and found.along(zero) is None):
            return None
        return found

    def along(self, numbers: Tensor) -> Array | None:
        """A scale or zero point laid out to broadcast against the constant; None for another shape."""
        shape = self.numbers.shape
        array = np.asarray(numbers.array())
        if not numbers.shape or numbers.shape == (1,):
            return array.reshape(())
        if len(numbers.shape) > 1 or not -len(shape) <= self.axis < len(shape) or numbers.size != shape[self.axis]:
            return None
        at = self.axis % len(shape)
        return array.reshape(tuple(size if index == at else 1 for index, size in enumerate(shape)))

    @property
    def is_centred(self) -> bool:
        """True if the zero point is the one in the middle of the type (0 where there is none)."""
        centre = CENTRES.get(self.numbers.dtype)
        if self.zero is None:
            return centre == 0
        return centre is not None and bool((np.asarray(self.zero.array()) == centre).all())

    @property
    def fits(self) -> bool:
        """True if all numbers less their zero point fit into i8; they are read for that, once."""
        key = (self.numbers, self.zero, self.axis)
        known = _fitting.get(key)
        return bool(_fitting.keep(key, self._fit()) if known is None else known)

    def _fit(self) -> bool:
        if self.numbers.dtype not in CENTRES or not self.numbers.size:
            return False
        zeros = None if self.zero is None else self.along(self.zero)
        array = np.asarray(self.numbers.array())
        if zeros is None or not zeros.shape:
            zero = 0 if zeros is None else int(zeros)
            return bool(int(array.min()) - zero >= _LOWEST and int(array.max()) - zero <= _HIGHEST)
        others = tuple(index for index, size in enumerate(zeros.shape) if index != self.axis % array.ndim)
        flat = zeros.reshape(-1).astype(np.int64)
        low, high = array.min(others).astype(np.int64) - flat, array.max(others).astype(np.int64) - flat
        return bool(low.min() >= _LOWEST and high.max() <= _HIGHEST)

    def marks(self) -> str:
        """What tells recipes apart that differ in scale, zero point or axis."""
        zero = "" if self.zero is None else self.zero.digest().hex()
        return f"{self.scale.digest().hex()} {zero} {self.axis}"

    def floats(self) -> Tensor:
        """(numbers - zero point) * scale, as DequantizeLinear computes it, whenever it is read."""
        scales = self.along(self.scale)
        zeros = None if self.zero is None else self.along(self.zero)
        assert scales is not None

        def compute(array: Array) -> Array:
            wide = np.asarray(array).astype(np.int64)
            steps = wide if zeros is None else wide - zeros.astype(np.int64)
            return np.asarray(steps.astype(np.float32) * scales)

        return DeferredTensor(F32, self.numbers.shape, self.numbers, f"as floats {self.marks()}", compute)

    def integers(self, dtype: DType) -> Tensor:
        """round(numbers / scale), half to even, plus the zero point, as QuantizeLinear computes it."""
        scales = self.along(self.scale)
        zeros = None if self.zero is None else self.along(self.zero)
        bounds = np.iinfo(dtype.numpy)
        assert scales is not None

        def compute(array: Array) -> Array:
            with np.errstate(all="ignore"):
                rounded = np.rint(np.asarray(array, np.float32) / scales)
            shifted = rounded if zeros is None else rounded + zeros.astype(np.float32)
            return np.clip(shifted, bounds.min, bounds.max).astype(dtype.numpy)

        return DeferredTensor(dtype, self.numbers.shape, self.numbers, f"as {dtype.name} {self.marks()}", compute)

    def less(self, zeros: Array, recipe: str) -> Tensor:
        """The numbers less these, which must fit into i8."""

        def compute(array: Array) -> Array:
            return np.asarray((np.asarray(array, np.int16) - zeros.astype(np.int16)).astype(np.int8))

        return DeferredTensor(I8, self.numbers.shape, self.numbers, recipe, compute, not zeros.shape)


def numbers_type(value: Value) -> int | None:
    """The ONNX code of a value's element type."""
    return None if value.dtype is None else value.dtype.onnx


_fitting = memo()
