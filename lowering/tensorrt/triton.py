"""Model directories for Triton's TensorRT backend."""

from __future__ import annotations

import os

from ...ir.core import Model
from ...ir.errors import UsageError
from ...ir.types import BF16, BOOL, F16, F32, I8, I32, I64, U8
from ..backend import Order, Written
from ..triton import Service, write_model_directory
from .engine import write_engine

TYPES = frozenset((BOOL, U8, I8, I32, I64, F16, F32, BF16))


def write_triton(model: Model, path: str, order: Order) -> Written:
    """The directory `path`. Raises UsageError for a DLA, and what `write_model_directory` raises."""
    if order.target.hardware.dla:
        raise UsageError("geoc writes no configuration for a DLA", source="--emit triton")
    service = Service("tensorrt", "tensorrt_plan", "model.plan", "KIND_GPU", TYPES, _write_plan)
    return write_model_directory(model, path, order, service)


def _write_plan(model: Model, path: str, order: Order) -> Written:
    """The engine without the timing cache beside it, which no server reads."""
    try:
        written = write_engine(model, path, order)
    except UsageError as error:
        raise UsageError(f"Triton runs TensorRT's own engines: {error.message}", source="--emit triton") from error
    for beside in [name for name in written.files if name != os.path.abspath(path)]:
        os.unlink(beside)
        del written.files[beside]
    return written
