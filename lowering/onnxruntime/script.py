"""``--emit run``: a script that loads the ONNX file beside it as geoc means it to be run, and runs it once."""

from __future__ import annotations

import os
from typing import Any

from ...ir.core import Model, Value
from ...ir.errors import UnsupportedModel
from ...ir.types import BOOL, STR, TensorType
from ..backend import Order, Written
from ..emit import write_text
from .session import disabled_optimizers, options_of

SUFFIX = ".run.py"
_FEW = 4  # numbers up to which an input is written out, such as a size or a length

_TEXT = '''\
"""Runs {model} in onnxruntime with the session options that geoc recorded in it."""

from pathlib import Path

import numpy as np
import onnxruntime

MODEL = Path(__file__).with_name({model!r})

options = onnxruntime.SessionOptions()
{options}session = onnxruntime.InferenceSession(
    str(MODEL), options, providers=["CPUExecutionProvider"]{disabled}
)

rng = np.random.default_rng(0)
inputs = {{
{inputs}}}
for output, value in zip(session.get_outputs(), session.run(None, inputs)):
    print(output.name, value.dtype, value.shape)
'''


def write_script(model: Model, path: str, order: Order) -> Written:
    """Write the script for ``STEM.onnx`` beside it, with inputs like `order.example`.

    Raises UnsupportedModel where no inputs can be written: none were made up, or onnxruntime takes none from numpy.
    """
    graph, example = model.graph, order.example()
    for value, name in zip(graph.outputs, graph.output_names):
        _numpy_type("output", name, value)
    lines = []
    for value, name in zip(graph.inputs, graph.input_names):
        if value in graph.defaults:
            continue
        dtype = _numpy_type("input", name, value)
        if name not in example:
            raise UnsupportedModel(f"no values for input {name!r} can be made up: a script has none to run on")
        lines.append(f"    {name!r}: {_made(example[name], dtype)},\n")
    _, threads = options_of(model.metadata)
    threads = order.threads or threads
    disabled = disabled_optimizers(model)
    text = _TEXT.format(
        model=os.path.basename(path)[: -len(SUFFIX)] + ".onnx",
        options=f"options.intra_op_num_threads = {threads}\n" if threads else "",
        disabled=f", disabled_optimizers={disabled!r}" if disabled else "",
        inputs="".join(lines),
    )
    return Written({os.path.abspath(path): write_text(path, text)})


def _numpy_type(what: str, name: str, value: Value) -> str:
    """What numpy calls the element type."""
    type = value.type
    if not isinstance(type, TensorType):
        raise UnsupportedModel(f"a script takes and gives tensors only; {what} {name!r} is {type}")
    if type.dtype is STR:
        return "object"
    if type.dtype.numpy.kind not in "biufc" or type.dtype.bits < 8:
        raise UnsupportedModel(f"onnxruntime takes no {type.dtype} from numpy: {what} {name!r}")
    return str(type.dtype.numpy.name)


def _made(example: Any, dtype: str) -> str:
    """An expression for an array like the example: of its shape and, for integers, within its range."""
    shape = tuple(int(size) for size in example.shape)
    if dtype == "object":
        return f'np.full({shape}, "geoc", dtype=object)'
    if dtype == BOOL.numpy.name:
        return f"np.ones({shape}, dtype=bool)"
    if not example.size:
        return f"np.zeros({shape}, dtype=np.{dtype})"
    if example.dtype.kind not in "iu":
        return f"rng.standard_normal({shape}).astype(np.{dtype})"
    if example.size <= _FEW:
        return f"np.array({example.tolist()!r}, dtype=np.{dtype})"
    return f"rng.integers({int(example.min())}, {int(example.max()) + 1}, {shape}, dtype=np.{dtype})"
