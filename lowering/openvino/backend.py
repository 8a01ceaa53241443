"""OpenVINO on CPUs, GPUs and NPUs: its intermediate representation, .xml and .bin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from ...ir.core import Model
from ...ir.errors import UsageError
from ...ir.types import BF16, F64, STR
from ..backend import Backend, Emitter, Order, Written

if TYPE_CHECKING:
    from ...passes.quantize.kernels import Integers


class OpenVino(Backend):
    """Written by the `openvino` package; ONNX files are written no newer than its reader takes."""

    runtime: ClassVar[str] = "openvino"
    title: ClassVar[str] = "OpenVINO"
    default: ClassVar[str] = "openvino"

    def limits(self, version: str | None) -> tuple[int, int]:
        # Its reader checks neither number (2026.4.1 reads a Relu declared at opsets 17 to 40 and IR versions 9 to 20),
        # and refuses operators that it does not know by name: so these are the newest that onnx 1.23 defines.
        return 28, 14

    def integers(self, features: Iterable[str]) -> Integers:
        from .integers import INTEGERS

        return INTEGERS

    def emitters(self) -> dict[str, Emitter]:
        return {
            **super().emitters(),
            "openvino": Emitter(".xml", _write_ir),
            "openvino-stateful": Emitter(".stateful.xml", _write_stateful),
            "triton": Emitter("/", _write_triton, threads=True),
        }


def _write_ir(model: Model, path: str, order: Order) -> Written:
    from .write import write_ir

    return write_ir(model, path, order)


def _write_stateful(model: Model, path: str, order: Order) -> Written:
    from .write import write_ir

    return write_ir(model, path, order, stateful=True)


def _write_triton(model: Model, path: str, order: Order) -> Written:
    from ..triton import TYPES, Service, write_model_directory

    # What its README and its table of types say: CPUs only, no scalars, and batches below the largest are an error
    # unless they are padded.
    if order.target.hardware.cores is None:
        raise UsageError(f"Triton's OpenVINO backend runs on CPUs, not {order.target.name}", source="--emit triton")
    types = frozenset(TYPES) - {BF16, F64, STR}
    padding = (("ENABLE_BATCH_PADDING", "YES"),)
    service = Service(
        "openvino", "", "model.xml", "KIND_CPU", types, _write_ir, "INFERENCE_NUM_THREADS", padding, scalars=False
    )
    return write_model_directory(model, path, order, service)


BACKEND = OpenVino()
