"""IR to ONNX files.

    save_onnx(model, "model.geoc.onnx", max_opset=26)
    data = model_bytes(model)
"""

from __future__ import annotations

from typing import Any

from ...ir.core import Model
from ...ir.proto.write import encode_model
from .save import SaveResult, save_onnx, to_message

__all__ = ["SaveResult", "model_bytes", "save_onnx", "to_graphsurgeon", "to_proto"]


def model_bytes(
    model: Model,
    *,
    opset: int | None = None,
    max_opset: int | None = None,
    max_ir: int | None = None,
) -> bytes:
    """The model as the bytes of an ONNX file, weights inline. Raises UnsupportedModel where no opset fits."""

    def place(proto: Any, tensor: Any) -> None:
        if tensor.dtype.name == "str":
            proto.string_data = tensor.strings()
        else:
            proto.raw_data = tensor.data()

    proto, _, _ = to_message(model, place, opset=opset, max_opset=max_opset, max_ir=max_ir)
    return b"".join(encode_model(proto))  # type: ignore[arg-type]  # `place` leaves no spans


def to_proto(model: Model) -> Any:
    """The model as an `onnx.ModelProto`, weights inline (protobuf holds at most 2 GB)."""
    import onnx

    return onnx.ModelProto.FromString(model_bytes(model))


def to_graphsurgeon(model: Model) -> Any:
    """The model as an `onnx_graphsurgeon.Graph`."""
    import onnx_graphsurgeon

    return onnx_graphsurgeon.import_onnx(to_proto(model))
