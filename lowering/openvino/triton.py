"""Model directories for Triton's OpenVINO backend."""

from __future__ import annotations

from ...ir.core import Model
from ...ir.errors import UsageError
from ...ir.types import BF16, F64, STR
from ..backend import Order, Written
from ..triton import TYPES, Service, write_model_directory
from .write import write_ir

# What its README and its table of types say: CPUs only, no scalars, and batches below the largest are an error unless
# they are padded.
SERVICE = Service(
    "openvino",
    "",
    "model.xml",
    "KIND_CPU",
    frozenset(TYPES) - {BF16, F64, STR},
    write_ir,
    "INFERENCE_NUM_THREADS",
    (("ENABLE_BATCH_PADDING", "YES"),),
    scalars=False,
)


def write_triton(model: Model, path: str, order: Order) -> Written:
    """The directory `path`. Raises UsageError for a target that is no CPU, and what `write_model_directory` raises."""
    if order.target.hardware.cores is None:
        raise UsageError(f"Triton's OpenVINO backend runs on CPUs, not {order.target.name}", source="--emit triton")
    return write_model_directory(model, path, order, SERVICE)
