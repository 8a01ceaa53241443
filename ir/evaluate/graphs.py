"""A whole graph, node by node, with If, Loop and Scan interpreted; for the small graphs of checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..core import Graph, Node, Value
from ..tensor import Array, Tensor
from ..types import BOOL, I64
from .errors import CannotEvaluate
from .nodes import evaluate_node, value_inputs

_MAX_TRIPS = 100_000


def evaluate_graph(
    graph: Graph, inputs: Sequence[Tensor], known: Mapping[Value, Tensor] | None = None
) -> list[Tensor]:
    """What a graph returns for these inputs, in order; `known` gives captured outer values.

    Trailing inputs that have defaults may be left out. Regions are entered recursively, to the depth of their
    nesting. Raises CannotEvaluate with the reason.
    """
    values: dict[Value, Tensor] = dict(known or {})
    for index, value in enumerate(graph.inputs):
        if index < len(inputs):
            values[value] = inputs[index]
        elif value in graph.defaults:
            values[value] = graph.defaults[value]
        else:
            raise CannotEvaluate(f"the input {graph.input_names[index]} is missing")
    for node in graph:
        results = zip(node.outputs, _run(node, values))
        values.update((output, tensor) for output, tensor in results if tensor is not None)
    return [x for x in value_inputs(graph.ret, values) if x is not None]


def _run(node: Node, values: dict[Value, Tensor]) -> Sequence[Tensor | None]:
    operands = value_inputs(node, values)
    if not node.regions:
        return evaluate_node(node, operands)
    if node.op.key == "If":
        assert operands[0] is not None
        branch = "then_branch" if operands[0].item() else "else_branch"
        return evaluate_graph(node.regions[branch], [], values)
    if node.op.key == "Loop":
        return _loop(node, operands, values)
    if node.op.key == "Scan":
        return _scan(node, operands, values)
    raise CannotEvaluate(f"{node.op.key} has regions")


def _stack(node: Node, index: int, rows: list[Tensor], axis: int = 0) -> Tensor:
    if rows:
        return Tensor.from_array(np.stack([r.array() for r in rows], axis), rows[0].dtype)
    value = node.outputs[index]
    dtype, rank = value.dtype, value.rank
    if dtype is None or value.shape is None or not all(isinstance(d, int) for d in value.shape[1:]):
        raise CannotEvaluate("a loop without trips has a scan output of unknown shape")
    assert rank is not None
    shape = (0, *(d for d in value.shape[1:] if isinstance(d, int)))
    return Tensor.from_array(np.zeros(shape, dtype.numpy), dtype)


def _loop(
    node: Node, operands: list[Tensor | None], values: dict[Value, Tensor]
) -> Sequence[Tensor | None]:
    body = node.regions["body"]
    limit = _MAX_TRIPS + 1 if operands[0] is None else int(operands[0].item())
    going = True if operands[1] is None else bool(operands[1].item())
    carried = [x for x in operands[2:] if x is not None]
    if len(carried) != len(operands) - 2:
        raise CannotEvaluate("a loop-carried operand is absent")
    scans: list[list[Tensor]] = [[] for _ in range(len(node.outputs) - len(carried))]
    trip = 0
    while going and trip < limit:
        if trip == _MAX_TRIPS:
            raise CannotEvaluate(f"the loop ran {_MAX_TRIPS} times")
        state = [Tensor.of(trip, I64), Tensor.of(going, BOOL), *carried]
        results = evaluate_graph(body, state, values)
        going = bool(results[0].item())
        carried = results[1 : 1 + len(carried)]
        for rows, row in zip(scans, results[1 + len(carried) :]):
            rows.append(row)
        trip += 1
    first = len(carried)
    return [*carried, *(_stack(node, first + i, rows) for i, rows in enumerate(scans))]


def _axis_of(node: Node, name: str, index: int) -> int:
    axes = node.attr(name)
    return int(axes[index]) if axes else 0


def _scan(
    node: Node, operands: list[Tensor | None], values: dict[Value, Tensor]
) -> Sequence[Tensor | None]:
    body = node.regions["body"]
    count = int(node.attrs["num_scan_inputs"])
    given = [x for x in operands if x is not None]
    state, scanned = given[: len(given) - count], given[len(given) - count :]
    rows: list[list[Array]] = []
    for index, tensor in enumerate(scanned):
        moved = np.moveaxis(tensor.array(), _axis_of(node, "scan_input_axes", index), 0)
        backwards = _axis_of(node, "scan_input_directions", index)
        rows.append(list(moved[::-1] if backwards else moved))
    scans: list[list[Tensor]] = [[] for _ in range(len(node.outputs) - len(state))]
    for step in zip(*rows):
        items = [Tensor.from_array(x, t.dtype) for x, t in zip(step, scanned)]
        results = evaluate_graph(body, [*state, *items], values)
        state = results[: len(state)]
        for found, row in zip(scans, results[len(state) :]):
            found.append(row)
    stacked: list[Tensor] = []
    for index, found in enumerate(scans):
        if _axis_of(node, "scan_output_directions", index):
            found.reverse()
        axis = _axis_of(node, "scan_output_axes", index)
        stacked.append(_stack(node, len(state) + index, found, axis))
    return [*state, *stacked]
