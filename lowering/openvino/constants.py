"""Constants: the bytes stay where our tensors have them, in a mapped file as a rule."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.tensor import Tensor
from ...ir.types import (
    BF16,
    BOOL,
    F8E4M3FN,
    F8E5M2,
    F16,
    F32,
    F64,
    I4,
    I8,
    I16,
    I32,
    I64,
    U2,
    U4,
    U8,
    U16,
    U32,
    U64,
    DType,
)

# What openvino calls an element type, by ours. Strings have tensors there but next to no operators.
TYPE_NAMES: dict[DType, str] = {
    F32: "f32", F16: "f16", F64: "f64", BF16: "bf16", F8E4M3FN: "f8e4m3", F8E5M2: "f8e5m2", BOOL: "boolean",
    I4: "i4", I8: "i8", I16: "i16", I32: "i32", I64: "i64", U4: "u4", U8: "u8", U16: "u16", U32: "u32", U64: "u64",
}  # fmt: skip
CONSTANT_NAMES = {**TYPE_NAMES, U2: "u2"}  # its Python binding knows no arrays of u2, but weights may be that
DTYPE_OF = {name: dtype for dtype, name in TYPE_NAMES.items()}
_OWNED = frozenset((F32, F16, F64, BOOL, I8, I16, I32, I64, U8, U16, U32, U64))
SMALL = 1024  # bytes: such constants are copied, sharing them would cost more than it saves


class _Writable:
    """Memory that numpy may call writable, which openvino asks for although it only reads. Holds what owns it."""

    def __init__(self, array: Any) -> None:
        self.owner = array
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def shared_constant(ov: Any, tensor: Tensor, keep: list[Any]) -> Any:
    """An openvino Constant over the bytes of a tensor, which are not copied unless they are few.

    The Constant owns the array for the element types that numpy has. For the others (bf16, f8, i4, u4, u2) openvino
    keeps only the address: the array goes to `keep`, which must live as long as whatever is made of the constant.
    Raises KeyError for an element type that openvino lacks.
    """
    type = getattr(ov.Type, CONSTANT_NAMES[tensor.dtype])
    shape = ov.Shape(list(tensor.shape))
    if tensor.dtype in _OWNED and tensor.splat is None:
        array = tensor.array()
        if array.nbytes <= SMALL:
            return ov.op.Constant(np.array(array, order="C"), shared_memory=False)
        if not array.flags.writeable:
            array = np.asarray(_Writable(array))
        return ov.op.Constant(array, shared_memory=True)
    if tensor.splat is not None and tensor.dtype is not U2:
        return ov.op.Constant(np.ascontiguousarray(tensor.array()), shared_memory=True)
    packed = np.frombuffer(tensor.data(), dtype=np.uint8) if tensor.length else np.zeros(1, np.uint8)
    keep.append(packed)
    found = ov.Tensor(packed, shape, type)
    keep.append(found)
    return ov.op.Constant(found, shared_memory=True)


def reshaped(tensor: Tensor, shape: tuple[int, ...], dtype: DType | None = None) -> Tensor:
    """The same bytes in another shape, and as another element type where one is given."""
    if tensor.splat is not None:
        return Tensor.of_splat(tensor.splat, shape, tensor.dtype)
    dtype = dtype or tensor.dtype
    if tensor.file is not None:
        return Tensor(dtype, shape, file=tensor.file, offset=tensor.offset)
    return Tensor(dtype, shape, data=tensor.data())
