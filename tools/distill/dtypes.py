"""Element types of ONNX in torch, and arrays of numpy as tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...ir.types import BF16, BOOL, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64, DType

_TYPES: dict[DType, Any] = {
    F32: torch.float32, F64: torch.float64, F16: torch.float16, BF16: torch.bfloat16, BOOL: torch.bool,
    I8: torch.int8, I16: torch.int16, I32: torch.int32, I64: torch.int64, U8: torch.uint8,
    U16: torch.uint16, U32: torch.uint32, U64: torch.uint64,
}  # fmt: skip
WITHOUT_ARITHMETIC = frozenset((torch.uint16, torch.uint32, torch.uint64))
"""Types that torch can hold, and not compute with."""


def torch_dtype(dtype: DType | None) -> Any:
    """The type of torch; None where it has none."""
    return None if dtype is None else _TYPES.get(dtype)


def to_tensor(array: Any) -> Any:
    """A copy of a numpy array as a tensor. What torch has no type for (4 bits, 8-bit floats) becomes float32."""
    array = np.asarray(array)
    if array.dtype == BF16.numpy:
        return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
    if array.dtype.isbuiltin != 1:
        array = array.astype(np.float32)
    return torch.from_numpy(np.array(array))


def to_array(tensor: Any) -> Any:
    """A tensor as a numpy array, without its gradient."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.to(torch.float32).numpy().astype(BF16.numpy)
    return tensor.numpy()
