"""onnxruntime on a CPU: ONNX files, or its own flatbuffer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ...ir.core import Model
from ...ir.types import BF16
from ..backend import Backend, Emitter, Order, Unsupported, Written, in_main_graph

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
            for name in ("forms", "projections", "residuals", "tokens", "blocks")
        }

    def emitters(self) -> dict[str, Emitter]:
        return {
            **super().emitters(),
            "onnx": Emitter(".onnx", _write_onnx, threads=True),
            "ort": Emitter(".ort", _write_flatbuffer, threads=True),
            "run": Emitter(".run.py", _write_script, needs="onnx", threads=True),
            "triton": Emitter("/", _write_triton, threads=True),
        }

    def unsupported(self, model: Model, target: Target, opset: int | None = None) -> list[Unsupported]:
        from ..onnx.opset import choose
        from .kernels import without_kernel

        choice = choose(model, opset=opset, limit=target.max_opset)
        missing = without_kernel(model, choice.opsets, choice.spellings)
        return in_main_graph(model, ((n, f"no CPU kernel for {n.op.key} at these element types") for n in missing))


def _write_onnx(model: Model, path: str, order: Order) -> Written:
    from .session import write_with_options

    return write_with_options(model, path, order)


def _write_script(model: Model, path: str, order: Order) -> Written:
    from .script import write_script

    return write_script(model, path, order)


def _write_flatbuffer(model: Model, path: str, order: Order) -> Written:
    from .flatbuffer import write_flatbuffer

    return write_flatbuffer(model, path, order)


def _write_triton(model: Model, path: str, order: Order) -> Written:
    from ..triton import TYPES, Service, write_model_directory
    from .session import disabled_optimizers

    types = frozenset(TYPES) - {BF16}
    service = Service(
        "onnxruntime", "onnxruntime_onnx", "model.onnx", "KIND_CPU", types, _write_onnx, "intra_op_thread_count"
    )
    written = write_model_directory(model, path, order, service)
    disabled = disabled_optimizers(model)
    if disabled:
        written.notes.append(f"Triton cannot disable {', '.join(disabled)}, which makes this model slower")
    return written


BACKEND = OnnxRuntime()
