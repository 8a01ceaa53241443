"""Instances whose inputs have unknown sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...ir import dims
from ...ir.core import Model
from ...ir.infer import infer_graph
from ...ir.types import TensorType, tensor_type
from .values import size_of


def forget(model: Model, variant: str) -> list[dict[str, int]]:
    """Give the inputs symbolic dimensions and infer the rest anew; sizes to run at, those of the instance first.

    "batch": the first dimension; "all": every size has a name; "loose": every dimension has one of its own;
    "unranked": not even the rank is known.
    """
    sizes: dict[str, int] = {}
    for name, value in zip(model.graph.input_names, model.graph.inputs):
        assert isinstance(value.type, TensorType)
        dims_of = value.type.shape or ()
        if variant == "unranked":
            value.type = tensor_type(value.type.dtype, None)
            continue
        shape = [_symbol(variant, name, axis, size_of(d, {}), sizes) for axis, d in enumerate(dims_of)]
        value.type = tensor_type(value.type.dtype, tuple(shape))
    for node in model.walk():
        for value in node.outputs:
            value.type = value.content = None
    infer_graph(model.graph)
    if variant == "unranked":
        return [{}]
    return list(_sizes(sizes))


def _symbol(variant: str, name: str, axis: int, size: int, sizes: dict[str, int]) -> Any:
    if variant == "loose":
        symbol = f"{name}_{axis}"
    elif size == 1 or (variant == "batch" and axis):
        return size
    else:
        symbol = f"N{size}"
    sizes[symbol] = size
    return dims.symbol(symbol)


def _sizes(found: dict[str, int]) -> Iterator[dict[str, int]]:
    if found:
        yield found
        yield {name: size + 1 if size > 1 else 1 for name, size in found.items()}
        yield {name: 2 + index for index, name in enumerate(found)}
        yield dict.fromkeys(found, 1)
