"""TensorRT 10 and 11: a strongly typed ONNX file with its build configuration, and engines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ...ir.core import Model, Node
from ..backend import Backend, Emitter, Lazy, Unsupported, in_main_graph

if TYPE_CHECKING:
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

    def emitters(self) -> dict[str, Emitter]:
        return {
            **super().emitters(),
            "onnx": Emitter(".onnx", Lazy(".tensorrt.emit:write_typed_onnx")),
            "engine": Emitter(".engine", Lazy(".tensorrt.engine:write_engine")),
            "rtx-engine": Emitter(".rtx.engine", Lazy(".tensorrt.emit:write_rtx_engine")),
            "triton": Emitter("/", Lazy(".tensorrt.triton:write_triton")),
        }

    def rule_sets(self) -> dict[str, tuple[str, str]]:
        return {"trt-legal": (str(_FOLDER / "legal.rules"), "geoc.lowering.tensorrt.legal")}

    def row_sets(self) -> dict[str, tuple[str, str]]:
        return {"trt-limits": (str(_FOLDER / "limits.rules"), "geoc.lowering.tensorrt.limits")}

    def unsupported(self, model: Model, target: Target, opset: int | None = None) -> list[Unsupported]:
        from ..rows import refused_by

        strange = (Unsupported(node, why) for node in model.walk() if (why := unknown(node)))
        return in_main_graph(model, [*strange, *refused_by(model, self.row_sets())])


def unknown(node: Node) -> str:
    """Why it does not take an operator, whatever its form: it is none of the standard; "" otherwise."""
    if node.op.is_opaque:
        return "an operator that nobody knows"
    return f"it takes no operators of {node.op.domain}" if node.op.domain else ""


BACKEND = TensorRT()
