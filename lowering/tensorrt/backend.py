"""TensorRT 10 and 11: a strongly typed ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from ..backend import Backend

_FOLDER = Path(__file__).parent

# Of the ONNX parser in TensorRT 10.15 and 11: opsets 9 to 24 (its operators.md); opset 24 came with IR version 11.
MAX_OPSET, MAX_IR = 24, 11


class TensorRT(Backend):
    """Precision is in the graph, as Cast, QuantizeLinear and DequantizeLinear."""

    runtime: ClassVar[str] = "tensorrt"
    title: ClassVar[str] = "TensorRT"

    def limits(self, version: str | None) -> tuple[int, int]:
        return MAX_OPSET, MAX_IR

    def rule_sets(self) -> dict[str, tuple[str, str]]:
        return {"trt-legal": (str(_FOLDER / "legal.rules"), "geoc.lowering.tensorrt.legal")}


BACKEND = TensorRT()
