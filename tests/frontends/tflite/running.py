"""Runs what was read, and computes images as TensorFlow defines them: loops over positions, channels last.

Where LiteRT is installed (package ai-edge-litert), it runs the file as well, and must give the same.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime

from geoc.frontends.tflite import load_tflite
from geoc.ir.core import Model
from geoc.ir.verify import verify
from geoc.lowering.onnx import model_bytes

_DTYPES = {"tensor(float)": np.float32, "tensor(int8)": np.int8, "tensor(int16)": np.int16}


def run(data: bytes, *feeds: Any, asked: bool = True) -> list[Any]:
    """The outputs of a file for its inputs, in order, by onnxruntime without its optimizer.

    LiteRT's are compared where it is `asked`: equal to 1e-5 of the largest number, codes to one step.
    """
    model = load_tflite(data)
    verify(model)
    found = run_model(model, *feeds)
    if asked and importlib.util.find_spec("ai_edge_litert") is not None:
        for place, (mine, its) in enumerate(zip(found, _invoke(_interpreter(data), *feeds))):
            _check(mine, its, place)
    return found


def run_model(model: Model, *feeds: Any) -> list[Any]:
    """The outputs of a model for its inputs, in order."""
    session = _session(model)
    found: list[Any] = session.run(None, {i.name: np.asarray(f) for i, f in zip(session.get_inputs(), feeds)})
    return found


def _session(model: Model) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model_bytes(model), options, providers=["CPUExecutionProvider"])


def runs(data: bytes, feeds: Sequence[Any]) -> list[Any]:
    """The first output of each of several runs, where states go from one to the next; LiteRT's must be the same."""
    model = load_tflite(data)
    verify(model)
    session = _session(model)
    states = [json.loads(text) for key, text in model.metadata.items() if key.startswith("state ")]
    inputs = {i.name: i for i in session.get_inputs()}
    held = {s["input"]: np.full(inputs[s["input"]].shape, s["initial"], _DTYPES[inputs[s["input"]].type]) for s in states}
    free = next(name for name in inputs if name not in held)
    its = _interpreter(data) if importlib.util.find_spec("ai_edge_litert") is not None else None
    found = []
    for feed in feeds:
        outputs = dict(zip((o.name for o in session.get_outputs()), session.run(None, {free: feed, **held})))
        held = {state["input"]: outputs[state["output"]] for state in states}
        found.append(next(iter(outputs.values())))
        if its is not None:
            _check(found[-1], _invoke(its, feed)[0], 0)
    return found


def _check(mine: Any, its: Any, place: int) -> None:
    assert mine.shape == its.shape, f"shape of output {place}"
    assert mine.dtype == its.dtype, f"type of output {place}"
    step = 1 if mine.dtype.kind in "iu" and mine.dtype.itemsize <= 2 else 1e-5 * max(1.0, np.abs(its).max(initial=0))
    assert np.abs(mine.astype(np.float64) - its).max(initial=0) <= step, f"LiteRT's output {place}"


def _interpreter(data: bytes) -> Any:
    """LiteRT with its reference kernels where it has one of each operator."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        return Interpreter(model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    except ValueError:  # the set of reference kernels is not whole
        kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        return Interpreter(model_content=data, experimental_op_resolver_type=kernels)


def _invoke(interpreter: Any, *feeds: Any) -> list[Any]:
    details = interpreter.get_input_details()
    for detail, feed in zip(details, feeds):
        if tuple(detail["shape"]) != np.shape(feed):
            interpreter.resize_tensor_input(detail["index"], np.shape(feed))
    interpreter.allocate_tensors()
    for detail, feed in zip(details, feeds):
        interpreter.set_tensor(detail["index"], np.asarray(feed))
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def same_start(size: int, window: int, stride: int) -> tuple[int, int]:
    """Results along an axis under padding SAME, and how far before the first element the first window begins."""
    results = -(-size // stride)
    return results, max((results - 1) * stride + window - size, 0) // 2


def convolution(x: Any, w: Any, stride: int, dilation: int = 1, same: bool = True, groups: int = 1) -> Any:
    """x [n, h, w, c], w [out, h, w, c / groups]."""
    n, height, width, channels = x.shape
    outs, kh, kw, _ = w.shape
    reach_h, reach_w = (kh - 1) * dilation + 1, (kw - 1) * dilation + 1
    rows, top = same_start(height, reach_h, stride) if same else ((height - reach_h) // stride + 1, 0)
    columns, left = same_start(width, reach_w, stride) if same else ((width - reach_w) // stride + 1, 0)
    y = np.zeros((n, rows, columns, outs), np.float64)
    for r in range(rows):
        for c in range(columns):
            for a in range(kh):
                for b in range(kw):
                    i, j = r * stride - top + a * dilation, c * stride - left + b * dilation
                    if not (0 <= i < height and 0 <= j < width):
                        continue
                    for g in range(groups):
                        part = slice(g * channels // groups, (g + 1) * channels // groups)
                        to = slice(g * outs // groups, (g + 1) * outs // groups)
                        y[:, r, c, to] += x[:, i, j, part].astype(np.float64) @ w[to, a, b].T
    return y


def pool(x: Any, window: int, stride: int, take: Any) -> Any:
    """Windows under padding SAME, of what is in the image."""
    n, height, width, channels = x.shape
    (rows, top), (columns, left) = same_start(height, window, stride), same_start(width, window, stride)
    y = np.zeros((n, rows, columns, channels), np.float64)
    for r in range(rows):
        for c in range(columns):
            i, j = r * stride - top, c * stride - left
            y[:, r, c] = take(x[:, max(i, 0) : i + window, max(j, 0) : j + window], (1, 2))
    return y


def transposed(x: Any, w: Any, stride: int, size: tuple[int, int], before: int) -> Any:
    """x [n, h, w, c] spread over an output of `size`, of which `before` rows and columns are cut; w [out, h, w, c]."""
    y = np.zeros((x.shape[0], *size, w.shape[0]), np.float64)
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            for a in range(w.shape[1]):
                for b in range(w.shape[2]):
                    r, c = i * stride - before + a, j * stride - before + b
                    if 0 <= r < size[0] and 0 <= c < size[1]:
                        y[:, r, c] += x[:, i, j].astype(np.float64) @ w[:, a, b].T
    return y


def resized(x: Any, size: tuple[int, int], nearest: bool, corners: bool, centers: bool) -> Any:
    """tensorflow/lite/kernels/internal/reference/resize_*.h, by positions."""
    for axis, out in zip((1, 2), size):
        extent = x.shape[axis]
        scale = (extent - 1) / (out - 1) if corners and out > 1 else extent / out
        parts = []
        for i in range(out):
            if nearest:
                at = (i + (0.5 if centers else 0)) * scale
                index = int(np.floor(at + 0.5)) if corners else int(np.floor(at))
                parts.append(np.take(x, min(index, extent - 1), axis))
                continue
            at = (i + 0.5) * scale - 0.5 if centers else i * scale
            low = max(int(np.floor(at)), 0)
            high = min(low + 1, extent - 1)
            part = min(max(at - low, 0), 1)
            parts.append((1 - part) * np.take(x, low, axis) + part * np.take(x, high, axis))
        x = np.stack(parts, axis)
    return x
