"""onnxruntime on a CPU: ONNX files, or its own flatbuffer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ...ir.core import Model, Node
from ..backend import Backend, Emitter, Order, Unsupported, Written

if TYPE_CHECKING:
    from ..targets import Target

_FOLDER = Path(__file__).parent


class OnnxRuntime(Backend):
    """The CPU provider; its kernel registry says what it runs."""

    runtime: ClassVar[str] = "onnxruntime"
    title: ClassVar[str] = "ONNX Runtime"

    def limits(self, version: str | None) -> tuple[int, int]:
        from .kernels import limits

        return limits(version)

    def rule_sets(self) -> dict[str, tuple[str, str]]:
        return {
            f"ort-{name}": (str(_FOLDER / f"{name}.rules"), f"geoc.lowering.onnxruntime.{name}")
            for name in ("forms", "projections", "tokens")
        }

    def emitters(self) -> dict[str, Emitter]:
        return {**super().emitters(), "ort": Emitter(".ort", _write_flatbuffer)}

    def unsupported(self, model: Model, target: Target, opset: int | None = None) -> list[Unsupported]:
        from ..onnx.opset import choose
        from .kernels import without_kernel

        choice = choose(model, opset=opset, limit=target.max_opset)
        found: dict[Node, str] = {}
        for node in without_kernel(model, choice.opsets, choice.spellings):
            outer = model.graph.enclosing_node(node)
            if outer is not None:
                found.setdefault(outer, f"no CPU kernel for {node.op.key} at these element types")
        return [Unsupported(node, reason) for node, reason in found.items()]


def _write_flatbuffer(model: Model, path: str, order: Order) -> Written:
    from .flatbuffer import write_flatbuffer

    return write_flatbuffer(model, path, order)


BACKEND = OnnxRuntime()
