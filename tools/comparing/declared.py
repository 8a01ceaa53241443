"""Comparing a model whose inputs and outputs have other float types than the source's (``--io-precision``)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ...ir.clone import clone_model
from ...ir.core import Model, Value
from ...ir.types import BF16, F16, F32, DType
from ...passes.precision.interface import TYPES, redeclare

LARGEST = 65504.0  # of fp16
# Two units in the last place, of the largest value of an output: what a cast at the end may change.
LIMITS = {F32: 0.0, F16: 1e-3, BF16: 8e-3}


class Declared:
    """The float types that a source declares, and the one that results declare instead.

    Inputs are made up so that both types hold them: then nothing but outputs is rounded, and a comparison stays as
    strict as without.
    """

    def __init__(self, source: Model, to: str) -> None:
        """`to` is ``fp32``, ``fp16`` or ``bf16``."""
        graph = source.graph
        self.dtype = TYPES[to]
        self.limit = LIMITS[self.dtype]
        self.inputs = _dtypes(graph.input_names, graph.inputs)
        self.outputs = _dtypes(graph.output_names, graph.outputs)

    def rounded(self, value: Any) -> Any:
        """Numbers in single or half precision as the nearest ones of the other type, still in their own."""
        if not isinstance(value, np.ndarray) or value.dtype not in (np.float32, np.float16):
            return value
        low, high = (-LARGEST, LARGEST) if self.dtype is F16 else (-np.inf, np.inf)
        return np.clip(value, low, high).astype(self.dtype.numpy).astype(value.dtype)

    def restored(self, model: Model) -> Model:
        """A copy that is called with the types of the source and casts to its own; the model where it has the same."""
        graph = model.graph
        inputs, outputs = _dtypes(graph.input_names, graph.inputs), _dtypes(graph.output_names, graph.outputs)
        if all(self.inputs.get(n) is d for n, d in inputs.items()) and outputs == self.outputs:
            return model
        copy, _ = clone_model(model)
        redeclare(copy.graph, self.inputs, self.outputs, [])
        return copy


def _dtypes(names: Iterable[str], values: Iterable[Value]) -> dict[str, DType]:
    return {name: value.dtype for name, value in zip(names, values) if value.dtype in TYPES.values()}
