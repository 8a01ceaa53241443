"""TensorRT 10 and 11: a strongly typed ONNX file with its build configuration, and engines."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ...ir.core import Model, Node
from ..backend import Backend, Emitter, Lazy, Placement, Quantization, Unsupported, in_main_graph

if TYPE_CHECKING:
    from ...passes.quantize.kernels import Integers
    from ...passes.quantize.small_floats import Floats
    from ..targets import Hardware, Target

_FOLDER = Path(__file__).parent

# Of the ONNX parser in TensorRT 10.15 and 11: opsets 9 to 24 (its operators.md); opset 24 came with IR version 12.
MAX_OPSET, MAX_IR = 24, 12
OWN = "trt"  # the domain of its own operators
LIMITS, DLA = "trt-limits", "trt-dla"  # the sets of rows


class TensorRT(Backend):
    """Precision is in the graph, as Cast, QuantizeLinear and DequantizeLinear."""

    runtime: ClassVar[str] = "tensorrt"
    title: ClassVar[str] = "TensorRT"
    precisions: ClassVar[frozenset[str]] = frozenset(("fp32", "tf32", "fp16", "bf16", "fp8"))
    lossy: ClassVar[tuple[str, ...]] = ("trt-unrounded",)
    halved: ClassVar[tuple[str, ...]] = ("trt-half",)
    finished: ClassVar[tuple[str, ...]] = ("trt-forms", "fold", "cse", "dce")

    def limits(self, version: str | None) -> tuple[int, int]:
        return MAX_OPSET, MAX_IR

    def integers(self, features: Iterable[str]) -> Integers:
        from .integers import INTEGERS

        return INTEGERS

    def floats(self, hardware: Hardware) -> Floats:
        from .floats import floats_on

        return floats_on(hardware)

    def quantization(self, precision: str, has_samples: bool, rows: str = "few") -> Quantization | None:
        """Small numbers where products are, half precision around them: else each boundary is a conversion."""
        around = ",".join(("autocast{to=fp16},trt-half,fold,views,transposes,identity,cse,dce", *self.finished))
        if precision == "w8a8":
            options = "method=percentile,weights=mse,rounding=gptq,correct=16"
            return Quantization(last=f"smooth,quantize{{{options}}},{around}", samples=True)
        if precision == "w8a16":
            rounding = "gptq" if has_samples else "nearest"
            passes = f"quantize{{static=false,weights=mse,rounding={rounding},keep=[Conv]}},{around}"
            return Quantization(last=passes)
        if precision == "w4a16":
            # One scale above 0 for 128 inputs, as its parser takes and its kernels read. It has none for blocks of
            # 8 bits, so that heads stay.
            method = "gptq" if has_samples else "rtn"
            first = f"quantize-weights{{block=128,method={method},kind=positive,head_bits=0}}"
            return Quantization(first, around)
        if precision == "fp8":
            return Quantization(last=f"quantize-floats{{correct=16}},{around}", samples=True)
        return None

    def blocks(self, rows: str = "few") -> None:
        """Its parser takes scales above 0 alone, in blocks of 128 of 4 bits; those of files are others."""
        return None

    def lacks(self, precision: str, hardware: Hardware) -> str:
        if precision not in ("w4a16", "w8a16"):
            return ""
        if hardware.dla:
            return "a DLA reads no weights that alone are integers; w8a8 is for it"
        if precision == "w8a16":
            return ""
        known = hardware.compute_capability
        return "" if known is None or float(known) >= 8 else f"compute capability {known} has no INT4 kernels"

    def emitters(self) -> dict[str, Emitter]:
        return {
            **super().emitters(),
            "onnx": Emitter(".onnx", Lazy(".tensorrt.emit:write_typed_onnx")),
            "engine": Emitter(
                ".engine", Lazy(".tensorrt.engine:write_engine"), check=Lazy(".tensorrt.engine:check_engine")
            ),
            "rtx-engine": Emitter(
                ".rtx.engine", Lazy(".tensorrt.emit:write_rtx_engine"), check=Lazy(".tensorrt.emit:check_rtx_engine")
            ),
            "triton": Emitter("/", Lazy(".tensorrt.triton:write_triton")),
        }

    def rule_sets(self) -> dict[str, tuple[str, str]]:
        return {
            f"trt-{name}": (str(_FOLDER / f"{name}.rules"), f"geoc.lowering.tensorrt.{name}")
            for name in ("quantized", "symmetric", "placement", "legal", "unrounded", "half", "forms")
        }

    def row_sets(self) -> dict[str, tuple[str, str]]:
        return {
            LIMITS: (str(_FOLDER / "limits.rules"), "geoc.lowering.tensorrt.limits"),
            DLA: (str(_FOLDER / "dla.rules"), "geoc.lowering.tensorrt.dla_limits"),
        }

    def unsupported(self, model: Model, target: Target, opset: int | None = None) -> list[Unsupported]:
        from ..rows import refused_by
        from .branches import dequantized_twice

        strange = [Unsupported(node, why) for node in model.walk() if (why := unknown(node))]
        strange += [Unsupported(node, why) for node, why in dequantized_twice(model)]
        return in_main_graph(model, [*strange, *refused_by(model, {LIMITS: self.row_sets()[LIMITS]})])

    def placement(self, model: Model, target: Target, elsewhere: Collection[Node] = ()) -> Placement | None:
        if not target.hardware.dla:
            return None
        from ..rows import load_rows
        from .dla import place

        return place(model, load_rows(*self.row_sets()[DLA]), elsewhere)

    def precisions_on(self, hardware: Hardware) -> frozenset[str]:
        if hardware.dla:
            return self.precisions & {"fp32", "fp16"}
        return self.precisions - {"fp8"} | self.floats(hardware).formats & {"fp8"}


def unknown(node: Node) -> str:
    """Why it does not take an operator, whatever its form: it is none of the standard or its own; "" otherwise."""
    if node.op.is_opaque:
        return "an operator that nobody knows"
    return f"it takes no operators of {node.op.domain}" if node.op.domain not in ("", OWN) else ""


BACKEND = TensorRT()
