"""TFLite files (.tflite, flatbuffers) to IR: what TensorFlow Lite and LiteRT run.

    model = load_tflite("model.tflite")

Weights stay in the file, as spans of a read-only map. Tensors keep TFLite's layout, channels last; operators of images
get a Transpose before and behind them where their neighbour does not have the other layout already, and the passes of
-O2 move the rest to the edges. Quantized tensors stay integers between operators, with DequantizeLinear before and
QuantizeLinear behind what computes. Variables become inputs and outputs of the graph (`variables`).
"""

from __future__ import annotations

import os

from ...ir.core import Model
from ...ir.errors import FormatError
from ...ir.tensor import MappedFile
from ..reading import reading
from .flatbuffer import Source, Table
from .importer import Importer
from .schema import LAYOUTS

MAGIC = b"TFL3"


def load_tflite(source: str | os.PathLike[str] | bytes) -> Model:
    """Import a model from a path or its bytes.

    Raises FormatError for what is not a TFLite file or contradicts itself, UnsupportedModel for operators and types
    without a counterpart in ONNX (all of them in one message), InvalidModel for operands that do not fit, OSError
    when the file cannot be read.
    """
    if isinstance(source, (str, os.PathLike)):
        file, path = MappedFile(source, is_model=True), os.fspath(source)
    else:
        file, path = MappedFile.in_memory(bytes(source)), ""
    with reading(path):
        model = _load(file, path)
    model.source = path
    return model


def _load(file: MappedFile, path: str) -> Model:
    if bytes(file.view[4:8]) != MAGIC:
        raise FormatError("not a TFLite model: it does not say TFL3 at byte 4", source=path)
    source = Source(file.view, path, LAYOUTS)
    return Importer(Table(source, source.follow(0), "Model"), file, path).run()
