"""OpenVINO on CPUs, GPUs and NPUs: its intermediate representation, .xml and .bin."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ...ir.core import Model, Node
from ...ir.types import U2, U4, U8, DType
from ..backend import Backend, Emitter, Lazy, Quantization, weights_alone

if TYPE_CHECKING:
    from ...passes.quantize.kernels import Integers


_AT_RUN_TIME = (
    "without samples, products quantize their rows as they run, and convolutions compute in floats; --calib FILE.npz "
    "makes scales that are faster, and brings convolutions to integers"
)


class OpenVino(Backend):
    """Written by the `openvino` package; ONNX files are written no newer than its reader takes."""

    runtime: ClassVar[str] = "openvino"
    title: ClassVar[str] = "OpenVINO"
    default: ClassVar[str] = "openvino"
    lookups: ClassVar[frozenset[DType]] = frozenset((U2, U4, U8))

    def limits(self, version: str | None) -> tuple[int, int]:
        # Its reader checks neither number (2026.4.1 reads a Relu declared at opsets 17 to 40 and IR versions 9 to 20),
        # and refuses operators that it does not know by name: so these are the newest that onnx 1.23 defines.
        return 28, 14

    def rule_sets(self) -> dict[str, tuple[str, str]]:
        return {"ov-blocks": (str(Path(__file__).parent / "blocks.rules"), "geoc.lowering.openvino.blocks")}

    def integers(self, features: Iterable[str]) -> Integers:
        from .integers import integers

        return integers(features)

    def quantization(self, precision: str, has_samples: bool, rows: str = "few") -> Quantization | None:
        if precision == "w8a8" and has_samples:
            options = "method=percentile,weights=mse,rounding=gptq,correct=40"
            return Quantization(last=f"smooth,quantize{{{options}}},fold,cse,dce")
        if precision == "w8a8":
            return Quantization(last="quantize{static=false},fold,cse,dce", note=_AT_RUN_TIME)
        return weights_alone(precision, has_samples, self.blocks(rows))

    def blocks(self, rows: str = "few") -> str:
        return "share-weights{transposed=false},cse,dce"

    def emitters(self) -> dict[str, Emitter]:
        return {
            **super().emitters(),
            "openvino": Emitter(".xml", Lazy(".openvino.write:write_ir")),
            "openvino-stateful": Emitter(".stateful.xml", Lazy(".openvino.write:write_stateful")),
            "triton": Emitter("/", Lazy(".openvino.triton:write_triton"), threads=True),
        }

    def left_to_reader(self, model: Model) -> list[Node]:
        from .graph import without_mapping

        return without_mapping(model)


BACKEND = OpenVino()
