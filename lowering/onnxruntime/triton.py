"""Model directories for Triton's onnxruntime backend."""

from __future__ import annotations

from ...ir.core import Model
from ...ir.types import BF16
from ..backend import Order, Written
from ..triton import TYPES, Service, write_model_directory
from .session import disabled_optimizers, write_with_options

SERVICE = Service(
    "onnxruntime",
    "onnxruntime_onnx",
    "model.onnx",
    "KIND_CPU",
    frozenset(TYPES) - {BF16},
    write_with_options,
    "intra_op_thread_count",
)


def write_triton(model: Model, path: str, order: Order) -> Written:
    """The directory `path`. Raises as `write_model_directory` does."""
    written = write_model_directory(model, path, order, SERVICE)
    disabled = disabled_optimizers(model)
    if disabled:
        written.notes.append(f"Triton cannot disable {', '.join(disabled)}, which makes this model slower")
    return written
