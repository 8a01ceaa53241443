"""TensorRT 10 and 11: a strongly typed ONNX file with its build configuration, and engines."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ...ir.core import Model
from ...ir.errors import UsageError
from ...ir.types import BF16, BOOL, F16, F32, I8, I32, I64, U8
from ..backend import Backend, Emitter, Order, Unsupported, Written

if TYPE_CHECKING:
    from ...passes.quantize.kernels import Integers
    from ..targets import Target

_FOLDER = Path(__file__).parent

# Of the ONNX parser in TensorRT 10.15 and 11: opsets 9 to 24 (its operators.md); opset 24 came with IR version 11.
MAX_OPSET, MAX_IR = 24, 11


class TensorRT(Backend):
    """Precision is in the graph, as Cast, QuantizeLinear and DequantizeLinear."""

    runtime: ClassVar[str] = "tensorrt"
    title: ClassVar[str] = "TensorRT"
    precisions: ClassVar[frozenset[str]] = frozenset(("fp32", "tf32", "fp16", "bf16"))

    def limits(self, version: str | None) -> tuple[int, int]:
        return MAX_OPSET, MAX_IR

    def integers(self, features: Iterable[str]) -> Integers:
        from .integers import INTEGERS

        return INTEGERS

    def emitters(self) -> dict[str, Emitter]:
        return {
            **super().emitters(),
            "onnx": Emitter(".onnx", _write_onnx),
            "engine": Emitter(".engine", _write_engine),
            "rtx-engine": Emitter(".rtx.engine", _write_rtx_engine),
            "triton": Emitter("/", _write_triton),
        }

    def rule_sets(self) -> dict[str, tuple[str, str]]:
        return {"trt-legal": (str(_FOLDER / "legal.rules"), "geoc.lowering.tensorrt.legal")}

    def unsupported(self, model: Model, target: Target, opset: int | None = None) -> list[Unsupported]:
        from .refused import unsupported

        return unsupported(model)


def _write_onnx(model: Model, path: str, order: Order) -> Written:
    from .emit import write_typed_onnx

    return write_typed_onnx(model, path, order)


def _write_rtx_engine(model: Model, path: str, order: Order) -> Written:
    from .emit import write_rtx_engine

    return write_rtx_engine(model, path, order)


def _write_engine(model: Model, path: str, order: Order) -> Written:
    from .engine import write_engine

    return write_engine(model, path, order)


def _write_triton(model: Model, path: str, order: Order) -> Written:
    from ..triton import Service, write_model_directory

    types = frozenset((BOOL, U8, I8, I32, I64, F16, F32, BF16))
    service = Service("tensorrt", "tensorrt_plan", "model.plan", "KIND_GPU", types, _write_plan)
    return write_model_directory(model, path, order, service)


def _write_plan(model: Model, path: str, order: Order) -> Written:
    """The engine without the timing cache beside it, which no server reads."""
    try:
        written = _write_engine(model, path, order)
    except UsageError as error:
        raise UsageError(f"Triton runs TensorRT's own engines: {error.message}", source="--emit triton") from error
    for beside in [name for name in written.files if name != os.path.abspath(path)]:
        os.unlink(beside)
        del written.files[beside]
    return written


BACKEND = TensorRT()
