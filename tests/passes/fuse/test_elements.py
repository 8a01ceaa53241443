"""Element expressions against onnxruntime: for random graphs, and for the ways in which exporters build masks."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from geoc.ir.core import Model, Value
from geoc.ir.dims import atoms
from geoc.ir.types import BOOL
from geoc.passes.fuse.elements import TooLarge
from geoc.passes.fuse.elements_walk import Elements

from ...golden import Runner
from .mask_graphs import Evaluation, MaskGraph


def feeds_of(model: Model, dims: dict[str, int], seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    feeds = {}
    for name, value in zip(model.graph.input_names, model.graph.inputs):
        shape = tuple(d if isinstance(d, int) else dims[str(d)] for d in value.shape or ())
        if value.dtype.is_float:
            feeds[name] = random.choice(np.array([0, 1, -1, -1e9, np.finfo("f").min, -np.inf, 2.5], "f"), shape)
        else:
            feeds[name] = random.integers(0, 2 if value.dtype is BOOL else 3, shape).astype(value.dtype.numpy)
    return feeds


def shape_of(value: Value, tensor: Any, dims: dict[str, int]) -> bool:
    """False for a tensor of another shape than inferred: onnxruntime drops empty operands of Concat unseen."""
    named = Evaluation(Elements(value).space, dims, ())
    for dim, size in zip(value.shape or (), tensor.shape, strict=True):
        if not any(atom.is_unknown for atom in atoms(dim)) and named.size(dim, {}) != size:
            return False
    return True


def check_elements(model: Model, values: list[Value], sizes: list[dict[str, int]]) -> int:
    """Compare every element of the values with its expression; the number of expressions that say something."""
    known: dict[Value, int] = {v: i for i, v in enumerate(model.graph.outputs)}
    runner = Runner(model)
    runs = []
    for seed, dims in enumerate(sizes):
        feeds = feeds_of(model, dims, seed)
        try:
            results = runner.run(feeds)
        except Exception:  # sizes that the graph itself refuses
            continue
        tensors = {v: feeds[n] for v, n in zip(model.graph.inputs, model.graph.input_names)}
        tensors.update({v: results[i] for v, i in known.items()})
        if all(shape_of(v, t, dims) for v, t in tensors.items()):
            runs.append((dims, tensors))
    told = 0
    for value in values:
        elements = Elements(value)
        try:
            expression = elements.at(value, elements.space.indices)
        except TooLarge:
            continue
        told += expression.kind != "read" and "read" not in expression.key
        for dims, tensors in runs:
            compare_all(elements, expression, value, dims, tensors)
    return told if runs else 0


def compare_all(elements: Elements, expression: Any, value: Value, dims: dict[str, int], tensors: Any) -> None:
    wanted = tensors[value]
    read = [tensors[v] if v.const is None else v.const.array() for v in elements.space.values]
    # Dimensions that inference left unknown are known from the run.
    sizes = dict(dims)
    for known, tensor in tensors.items():
        for dim, size in zip(known.shape or (), tensor.shape):
            if not isinstance(dim, int) and dim.atom is not None and not dim.atom.args:
                sizes.setdefault(dim.atom.name, size)
    evaluation = Evaluation(elements.space, sizes, read)
    for place in itertools.product(*[range(n) for n in wanted.shape]):
        at = {d.atom.name: i for d, i in zip(elements.space.indices, place) if not isinstance(d, int)}
        with np.errstate(all="ignore"):
            found = np.asarray(evaluation.value(expression, at)).astype(wanted.dtype)
        assert found == wanted[place] or (found != found and wanted[place] != wanted[place]), (
            f"{expression} at {place} of {dims} is {found}, not {wanted[place]}"
        )


SIZES = [
    {"B": 2, "S": 3, "T": 3, "P": 0},
    {"B": 1, "S": 2, "T": 5, "P": 3},
    {"B": 3, "S": 1, "T": 4, "P": 3},
    {"B": 1, "S": 1, "T": 1, "P": 2},
    {"B": 2, "S": 4, "T": 2, "P": 1},
]


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_random_graphs(first: int) -> None:
    told = 0
    for seed in range(first, first + 10):
        graph = MaskGraph(seed)
        outputs = list(graph.model.graph.outputs)
        told += check_elements(graph.model, outputs, SIZES)
    assert told > 30
