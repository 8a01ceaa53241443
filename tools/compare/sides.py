"""One of the two models: its file, what is known of it, and what runs it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir.core import Graph, Model
from ...ir.dims import symbol
from ...ir.errors import UsageError
from ...ir.tensor import dtype_of
from ...ir.types import tensor_type
from ..comparing.exactness import LIMITS, LOW_LIMIT, float_limit
from ..files import load_any
from ..running.sessions import first_line
from .ports import Port

OPENVINO = ".xml"


@dataclass
class Side:
    """A model to compare. `model` is what geoc reads of it, None for OpenVINO's own form where OpenVINO runs that."""

    path: str
    runtime: str
    model: Model | None
    inputs: list[Port]
    outputs: list[Port]

    def limit(self) -> float:
        """What float outputs may be off by, as a relative L2 error: the coarsest arithmetic inside decides."""
        if self.model is not None:
            return float_limit(self.model)
        dtypes = [getattr(port.type, "dtype", None) for port in (*self.inputs, *self.outputs)]
        return max((LIMITS.get(d, LOW_LIMIT) for d in dtypes if d is not None and d.is_float), default=0.0)


def open_side(path: str, runtime: str | None, nodes: bool = False) -> Side:
    """Read a model; `runtime` None takes what runs its form, for `nodes` what runs any part of it.

    Raises GeocError or OSError.
    """
    if path.lower().endswith(OPENVINO) and not nodes and runtime in (None, "openvino"):
        return Side(path, "openvino", None, *_ports(path))
    model = load_any(path)
    graph = model.graph
    inputs = [Port(n, v.type) for n, v in zip(graph.input_names, graph.inputs) if v not in graph.defaults]
    outputs = [Port(n, v.type) for n, v in zip(graph.output_names, graph.outputs)]
    return Side(path, runtime or "ort", model, inputs, outputs)


def _ports(path: str) -> tuple[list[Port], list[Port]]:
    from ...lowering.openvino.package import openvino

    if not os.path.isfile(path):
        raise FileNotFoundError(2, "No such file or directory", path)
    try:
        model = openvino().Core().read_model(path)
    except RuntimeError as error:
        raise UsageError(f"OpenVINO does not read it: {first_line(error)}", source=path) from None
    return [_port(p, i) for i, p in enumerate(model.inputs)], [_port(p, i) for i, p in enumerate(model.outputs)]


def _port(port: Any, number: int) -> Port:
    names = sorted(port.names) or [f"{number}"]
    dtype = dtype_of(np.dtype(port.element_type.to_dtype()))
    shape = port.partial_shape
    if shape.rank.is_dynamic:
        return Port(names[0], tensor_type(dtype, None), tuple(names[1:]))
    dims = [symbol(f"{names[0]}.{axis}") if dim.is_dynamic else dim.get_length() for axis, dim in enumerate(shape)]
    return Port(names[0], tensor_type(dtype, tuple(dims)), tuple(names[1:]))


def stand_in(side: Side) -> Model:
    """What inputs are made up for: the model, or one with nothing but its inputs."""
    if side.model is not None:
        return side.model
    model = Model(Graph("inputs"))
    for port in side.inputs:
        model.graph.add_input(port.name, port.type)
    return model
