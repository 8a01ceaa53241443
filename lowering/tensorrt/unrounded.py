"""Natives of the rules that leave out what a model rounds at each run. They change numbers."""

from __future__ import annotations

import numpy as np

from ...ir.core import Value
from ...ir.rewrite import native
from ...ir.tensor import Array, Tensor
from ...ir.types import F32

LOSSY = True


@native
def gate_weights(codes: Value, scales: Value, zeros: Value) -> Tensor | None:
    """Weights f32 [directions, gates, inputs] of an LSTM, of codes [directions, inputs, gates].

    Scales and zero points are [directions], or [directions, gates]. None for other shapes.
    """
    if codes.const is None or scales.const is None or zeros.const is None or len(codes.const.shape) != 3:
        return None
    directions, _, gates = codes.const.shape
    scale, zero = _of_gates(scales.const, directions, gates), _of_gates(zeros.const, directions, gates)
    if scale is None or zero is None:
        return None
    steps = codes.const.array().astype(np.int32) - zero.astype(np.int32)
    floats = steps.astype(np.float32) * scale
    return Tensor.from_array(np.ascontiguousarray(floats.transpose(0, 2, 1)), F32)


def _of_gates(tensor: Tensor, directions: int, gates: int) -> Array | None:
    """As [directions, 1, gates] or [directions, 1, 1]."""
    if tensor.shape not in ((directions,), (directions, gates)):
        return None
    return tensor.array().reshape(directions, 1, -1)
