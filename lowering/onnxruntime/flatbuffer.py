"""onnxruntime's own file (.ort), which it maps and runs without reading protobuf."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace

from ...ir.core import Model
from ...ir.errors import UnsupportedModel, UsageError
from ..backend import Order, Written
from .session import write_with_options


def write_flatbuffer(model: Model, path: str, order: Order) -> Written:
    """Have onnxruntime write its file, without optimizing: what it holds is what geoc made.

    The graph then runs on every CPU; onnxruntime optimizes it when it is loaded, as it does an ONNX file.
    Raises UsageError where onnxruntime is not installed, UnsupportedModel with onnxruntime's reason.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UsageError("--emit ort needs onnxruntime: pip install onnxruntime") from None
    folder = os.path.dirname(os.path.abspath(path))
    with tempfile.TemporaryDirectory(prefix=".geoc-ort-", dir=folder) as scratch:
        source, made = os.path.join(scratch, "model.onnx"), os.path.join(scratch, "model.ort")
        opset = write_with_options(model, source, replace(order, weights=None)).opset
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.optimized_model_filepath = made
        options.log_severity_level = 4
        options.add_session_config_entry("session.save_model_format", "ORT")
        try:
            onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its classes of errors have no common base
            raise UnsupportedModel(f"onnxruntime does not write it: {str(error).splitlines()[0]}") from error
        os.replace(made, path)
    return Written({os.path.abspath(path): os.path.getsize(path)}, opset)
