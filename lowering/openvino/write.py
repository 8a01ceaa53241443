"""The intermediate representation: .xml with the graph, .bin with the weights."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from typing import Any

from ...ir.core import Model
from ...ir.errors import UnsupportedModel, UsageError
from ..backend import Order, Written
from ..emit import write_onnx


def write_ir(model: Model, path: str, order: Order) -> Written:
    """Write MODEL.xml and MODEL.bin, weights at full precision.

    Raises UsageError where openvino is not installed, UnsupportedModel with its reader's reason.
    """
    ov = openvino()
    folder, name = os.path.split(os.path.abspath(path))
    stem = os.path.splitext(name)[0]
    with tempfile.TemporaryDirectory(prefix=".geoc-openvino-", dir=folder) as scratch:
        source = os.path.join(scratch, "model.onnx")
        write_onnx(model, source, replace(order, weights=None))
        try:
            made = ov.Core().read_model(source)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise UnsupportedModel(f"openvino's reader does not take it: {reason}") from error
        ov.save_model(made, os.path.join(scratch, f"{stem}.xml"), compress_to_fp16=False)
        files = {}
        for suffix in (".bin", ".xml"):
            final = os.path.join(folder, stem + suffix)
            os.replace(os.path.join(scratch, stem + suffix), final)
            files[final] = os.path.getsize(final)
    return Written(files)


def openvino() -> Any:
    """The package. UsageError with the line that installs it."""
    try:
        import openvino
    except ImportError:
        raise UsageError("this needs openvino: pip install 'geoc[openvino]'") from None
    return openvino
