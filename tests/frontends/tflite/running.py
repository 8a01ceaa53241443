"""Runs what was read, and computes images as TensorFlow defines them: loops over positions, channels last."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

from geoc.frontends.tflite import load_tflite
from geoc.ir.verify import verify
from geoc.lowering.onnx import model_bytes


def run(data: bytes, *feeds: Any) -> list[Any]:
    """The outputs of a file for its inputs, in order, by onnxruntime without its optimizer."""
    model = load_tflite(data)
    verify(model)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model_bytes(model), options, providers=["CPUExecutionProvider"])
    found: list[Any] = session.run(None, {i.name: np.asarray(f) for i, f in zip(session.get_inputs(), feeds)})
    return found


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
