"""onnxruntime on a CPU: ONNX files, or its own flatbuffer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ...ir.core import Model
from ...ir.types import U2, U4, U8, DType
from ..backend import CACHES, Backend, Emitter, Lazy, Quantization, Unsupported, in_main_graph, weights_alone

if TYPE_CHECKING:
    from ...passes.quantize.kernels import Integers
    from ..targets import Target

_FOLDER = Path(__file__).parent


class OnnxRuntime(Backend):
    """The CPU provider; its kernel registry says what it runs."""

    runtime: ClassVar[str] = "onnxruntime"
    title: ClassVar[str] = "ONNX Runtime"
    sparse_constants: ClassVar[bool] = True
    lookups: ClassVar[frozenset[DType]] = frozenset((U2, U4, U8))

    def limits(self, version: str | None) -> tuple[int, int]:
        from .kernels import limits

        return limits(version)

    def rule_sets(self) -> dict[str, tuple[str, str]]:
        return {
            f"ort-{name}": (str(_FOLDER / f"{name}.rules"), f"geoc.lowering.onnxruntime.{name}")
            for name in ("forms", "caches", "projections", "quantized", "residuals", "tokens", "blocks")
        }

    def integers(self, features: Iterable[str]) -> Integers:
        from .integers import integers

        return integers(features)

    def rows_on(self, rows: str, features: Iterable[str]) -> str:
        from ..targets.hardware import adds_exactly

        # The kernel of 8 bits, which many rows are for, is slower than that of 4 bits without VNNI (docs/weights.md).
        return "few" if rows == "many" and not adds_exactly(features) else rows

    def quantization(self, precision: str, has_samples: bool, rows: str = "few") -> Quantization | None:
        if precision.endswith(CACHES):
            plain = self.quantization(precision.removesuffix(CACHES), has_samples, rows) or Quantization()
            return plain._replace(first=f"{plain.first},kv-cache".lstrip(","), samples=True)
        if precision == "w8a8":
            options = "method=percentile,weights=mse,rounding=gptq,correct=40"
            passes = f"smooth,quantize{{{options}}},ort-quantized,fold,cse,dce"
            return Quantization(last=passes, samples=True)
        return weights_alone(precision, has_samples, self.blocks(rows))

    def blocks(self, rows: str = "few") -> str:
        shared = "share-weights{transposed=false},cse,dce"
        return f"nbits-rows,{shared}" if rows == "none" else f"nbits-rows{{rows={rows}}},{shared},nbits-columns,dce"

    def emitters(self) -> dict[str, Emitter]:
        return {
            **super().emitters(),
            "onnx": Emitter(".onnx", Lazy(".onnxruntime.session:write_with_options"), threads=True),
            "ort": Emitter(".ort", Lazy(".onnxruntime.flatbuffer:write_flatbuffer"), threads=True),
            "run": Emitter(".run.py", Lazy(".onnxruntime.script:write_script"), needs="onnx", threads=True),
            "triton": Emitter("/", Lazy(".onnxruntime.triton:write_triton"), threads=True),
        }

    def unsupported(self, model: Model, target: Target, opset: int | None = None) -> list[Unsupported]:
        from ..onnx.opset import choose
        from .kernels import without_kernel

        choice = choose(model, opset=opset, limit=target.max_opset)
        missing = without_kernel(model, choice.opsets, choice.spellings)
        return in_main_graph(model, [Unsupported(node, "no CPU kernel at these element types") for node in missing])


BACKEND = OnnxRuntime()
