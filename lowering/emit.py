"""The forms that every backend can be asked for: an ONNX file, geoc's own text, and a file of llama.cpp."""

from __future__ import annotations

import contextlib
import os

from ..ir.core import Model
from .backend import Emitter, Lazy, Order, Written

INLINE_MAX = 1_900_000_000  # bytes of weights; a protobuf file ends at 2 GiB


def write_onnx(model: Model, path: str, order: Order) -> Written:
    """An ONNX file no newer than the target loads. Raises as `save_onnx` does."""
    from .onnx import save_onnx

    weights = order.weights
    if weights is None:
        weights = "inline" if model.weight_bytes < INLINE_MAX else "copy"
    target = order.target
    metadata = {**model.metadata, **order.metadata}
    metadata = {key: text for key, text in metadata.items() if text or key not in order.metadata}
    saved = save_onnx(
        model, path, opset=order.opset, weights=weights, max_opset=target.max_opset, max_ir=target.max_ir,
        metadata=metadata,
    )  # fmt: skip
    return Written(dict(saved.files), saved.opset)


def write_gir(model: Model, path: str, order: Order) -> Written:
    """Text that `geoc` reads back; large weights stay where they are unless they are to be inline."""
    from ..ir.text import print_model

    full = os.path.abspath(path)
    text = print_model(model, weights="inline" if order.weights == "inline" else "auto", folder=os.path.dirname(full))
    return Written({full: write_text(path, text)})


def write_text(path: str, text: str) -> int:
    """Write a text file whole or not at all; returns its bytes. Raises OSError."""
    return write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str, data: bytes | memoryview) -> int:
    """Write a file whole or not at all; returns its bytes. Raises OSError."""
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe or a device cannot be replaced
        with open(path, "wb") as file:
            file.write(data)
        return len(data)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            error.filename = path  # the user's name for it, not ours
        raise
    return len(data)


ONNX = Emitter(".onnx", write_onnx)
GIR = Emitter(".gir", write_gir)
GGUF = Emitter(".gguf", Lazy(".gguf.write:write_gguf"), check=Lazy(".gguf.write:check_gguf"), canonical=True)
