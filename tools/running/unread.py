"""A model that its runtime loads as it is: what that says that it takes."""

from __future__ import annotations

from ...ir.core import Graph, Model
from ...ir.dims import DimLike, symbol
from ...ir.types import BY_NAME, tensor_type
from .contender import InOpenvino, Running


def interface_of(running: Running) -> Model:
    """A model with its inputs and without nodes: enough to make inputs up by name, type and shape."""
    assert isinstance(running, InOpenvino)
    model = Model(Graph())
    for port in running.compiled.inputs:
        dims: list[DimLike] = []
        for axis, dim in enumerate(port.partial_shape):
            dims.append(dim.get_length() if dim.is_static else symbol(f"{port.any_name}_{axis}"))
        dtype = BY_NAME[port.element_type.get_type_name()]
        model.graph.add_input(port.any_name, tensor_type(dtype, tuple(dims)))
    return model
