"""The same nodes with less in them: attributes, constants, operands, and inputs of plain numbers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from ...ir.core import Node, Value
from ...ir.infer import infer_graph
from ...ir.tensor import Tensor
from ...ir.types import TensorType
from .candidate import Candidate, Make, drop_dead
from .sizes import forget_shapes

INLINE = 64  # elements that a text writes out


def bypassed(candidate: Candidate) -> Iterator[Make]:
    """Each node gone, one of its operands of the same type in place of what it makes."""
    for index, node in enumerate(candidate.model.graph):
        if len(node.outputs) != 1:
            continue
        for slot, operand in enumerate(node.inputs):
            if operand is not None and operand.type is node.output.type and operand.type is not None:
                yield partial(_bypass, candidate, index, slot)


def _bypass(candidate: Candidate, index: int, slot: int) -> Candidate:
    result, _ = candidate.copy()
    node = _node(result, index)
    operand = node.inputs[slot]
    assert operand is not None
    node.output.replace_with(operand)
    drop_dead(result)
    return result


def _node(candidate: Candidate, index: int) -> Node:
    return next(node for number, node in enumerate(candidate.model.graph) if number == index)


def without_attributes(candidate: Candidate) -> Iterator[Make]:
    """Each attribute at its default."""
    for index, node in enumerate(candidate.model.graph):
        for name in node.attrs:
            yield partial(_without_attribute, candidate, index, name)


def _without_attribute(candidate: Candidate, index: int, name: str) -> Candidate:
    result, _ = candidate.copy()
    del _node(result, index).attrs[name]
    forget_shapes(result.model)
    infer_graph(result.model.graph)
    return result


def without_operands(candidate: Candidate) -> Iterator[Make]:
    """Each optional last operand gone."""
    for index, node in enumerate(candidate.model.graph):
        if len(node.inputs) > 1:
            yield partial(_without_operand, candidate, index)


def _without_operand(candidate: Candidate, index: int) -> Candidate:
    result, _ = candidate.copy()
    node = _node(result, index)
    node.set_inputs(node.inputs[:-1])
    drop_dead(result)
    infer_graph(result.model.graph)
    return result


def plain_constants(candidate: Candidate) -> Iterator[Make]:
    """Each large constant as one number repeated, then rounded."""
    seen: set[Value] = set()
    for node in candidate.model.walk():
        for value in node.inputs:
            tensor = None if value is None else value.const
            if value is None or tensor is None or value in seen or tensor.size <= 1 or not tensor.dtype.is_float:
                continue
            seen.add(value)
            if tensor.dtype.bits < 16 or tensor.splat is not None:
                continue
            array = tensor.array()
            choices = [np.ones_like(array), np.zeros_like(array)] if tensor.size > INLINE else []
            for new in (*choices, np.round(array.astype(np.float64), 1).astype(array.dtype)):
                if not np.array_equal(new, array):
                    yield partial(_with_constant, candidate, value, new)


def _with_constant(candidate: Candidate, value: Value, array: object) -> Candidate:
    result, of = candidate.copy()
    copy = of[value]
    assert isinstance(copy.type, TensorType)
    copy.const, copy.content = Tensor.from_array(array, copy.type.dtype), None
    return result


def plain_inputs(candidate: Candidate) -> Iterator[Make]:
    """Inputs with fewer digits: one at a time."""
    for name, array in (candidate.feeds or {}).items():
        if isinstance(array, np.ndarray) and array.dtype.kind == "f" and array.dtype.itemsize >= 2:
            for digits in (0, 1):
                new = np.round(array.astype(np.float64), digits).astype(array.dtype)
                if np.array_equal(new, array, equal_nan=True):
                    break
                if not new.any():
                    continue  # zeros fail for reasons of their own
                yield partial(_with_input, candidate, name, new)


def _with_input(candidate: Candidate, name: str, array: object) -> Candidate:
    result, _ = candidate.copy()
    assert result.feeds is not None
    result.feeds[name] = array
    return result
