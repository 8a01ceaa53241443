"""TensorRT 10 and 11: a strongly typed ONNX file."""

from __future__ import annotations

from typing import ClassVar

from ..backend import Backend

# Of the ONNX parser in TensorRT 10.15 and 11: opsets 9 to 24 (its operators.md); opset 24 came with IR version 11.
MAX_OPSET, MAX_IR = 24, 11


class TensorRT(Backend):
    """Precision is in the graph, as Cast, QuantizeLinear and DequantizeLinear."""

    runtime: ClassVar[str] = "tensorrt"
    title: ClassVar[str] = "TensorRT"

    def limits(self, version: str | None) -> tuple[int, int]:
        return MAX_OPSET, MAX_IR


BACKEND = TensorRT()
