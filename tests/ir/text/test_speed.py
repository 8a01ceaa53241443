"""Printing, parsing, checking and comparing take linear time."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from geoc.ir.core import Graph, Model, Node, Value, constant
from geoc.ir.dims import symbol
from geoc.ir.equal import equal, structural_hash
from geoc.ir.ops import op
from geoc.ir.tensor import MappedFile, Tensor
from geoc.ir.text import parse_model, print_model
from geoc.ir.types import BOOL, F32, tensor_type
from geoc.ir.verify import verify


def chain(nodes: int, file: MappedFile) -> Model:
    """Blocks of MatMul, Add, Gelu spelled out, and a residual Add, with weights of their own."""
    shape = tensor_type(F32, (symbol("B"), symbol("S"), 8))
    graph = Graph("blocks")
    x = graph.add_input("x", shape)
    half = constant(Tensor.of(0.5, F32), "half")

    def add(name: str, hint: str, *inputs: Value) -> Value:
        result = Value(shape, hint)
        graph.append(Node(op(name), inputs, [result], loc=(f"/{hint}",)))
        return result

    for i in range(nodes // 5):
        weight = constant(Tensor(F32, (8, 8), file=file, offset=4 * i), f"w.{i}")
        y = add("MatMul", f"mm.{i}", x, weight)
        gate = add("Erf", f"erf.{i}", y)
        y = add("Mul", f"mul.{i}", y, gate)
        y = add("Mul", f"half.{i}", y, half)
        x = add("Add", f"add.{i}", y, x)
    graph.set_outputs([x], ["y"])
    return Model(graph)


def same_names(nodes: int, file: MappedFile) -> Model:
    """Every value has the same hint, every constant the same content."""
    graph = Graph()
    x = graph.add_input("x", tensor_type(F32, ()))
    for _ in range(nodes):
        result = Value(x.type, "x")
        graph.append(Node(op("Add"), [x, constant(Tensor.of(1.0, F32), "x")], [result]))
        x = result
    graph.set_outputs([x], ["y"])
    return Model(graph)


def regions(nodes: int, file: MappedFile) -> Model:
    """Many Ifs side by side; one constant is used in all of them."""
    graph = Graph()
    flag = graph.add_input("flag", tensor_type(BOOL, ()))
    shared = constant(Tensor.of(1.0, F32), "shared")
    for _ in range(nodes // 3):
        branches = {}
        for name in ("then_branch", "else_branch"):
            branches[name] = Graph()
            result = Value(shared.type, "r")
            branches[name].append(Node(op("Neg"), [shared], [result]))
            branches[name].set_outputs([result])
        graph.append(Node(op("If"), [flag], [Value(shared.type, "y")], {}, branches))
    graph.set_outputs([])
    return Model(graph)


def fan(nodes: int, file: MappedFile) -> Model:
    """One value with a use in every node, and one node that uses every value."""
    graph = Graph()
    x = graph.add_input("x", tensor_type(F32, (symbol("N"),)))
    results = [Value(x.type, f"n{i}") for i in range(nodes)]
    for result in results:
        graph.append(Node(op("Neg"), [x], [result]))
    total = Value(x.type, "sum")
    graph.append(Node(op("Sum"), results, [total]))
    graph.set_outputs([total])
    return Model(graph)


def seconds(action: Callable[[], object], runs: int) -> float:
    best = float("inf")
    gc.collect()
    gc.disable()  # a collection takes time for everything alive, of other tests as well
    try:
        for _ in range(runs):
            began = time.process_time()
            action()
            best = min(best, time.process_time() - began)
    finally:
        gc.enable()
    return best


def measured(model: Model, folder: str, runs: int) -> dict[str, float]:
    """Seconds that each thing to do with a model takes."""
    text = print_model(model, folder=folder)
    again = parse_model(text, folder=folder)
    assert equal(model, again)
    return {
        "print": seconds(lambda: print_model(model, folder=folder), runs),
        "parse": seconds(lambda: parse_model(text, folder=folder), runs),
        "verify": seconds(lambda: verify(model), runs),
        "equal": seconds(lambda: equal(model, again), runs),
        "hash": seconds(lambda: structural_hash(model), runs),
    }


def growth(build: Callable[[int, MappedFile], Model], file: MappedFile, folder: str, nodes: int) -> dict[str, float]:
    """How many times the time ten times the nodes take."""
    small, large = (measured(build(size, file), folder, 3) for size in (nodes, 10 * nodes))
    return {name: large[name] / small[name] for name in small}


@pytest.mark.parametrize("build", [chain, same_names, regions, fan], ids=lambda f: f.__name__)
def test_time_grows_with_the_size(build: Callable[[int, MappedFile], Model], tmp_path: Path) -> None:
    data = tmp_path / "w.data"
    data.write_bytes(np.arange(21_000, dtype=np.float32).tobytes())
    # 1,000 nodes stay in a core's own cache and 10,000 do not, which alone can cost more than 15 times beside other
    # work. Such a step happens once; what is quadratic fails at the next one, from 10,000 to 100,000, all the more.
    best: dict[str, float] = {}
    for nodes in (1000, 1000, 10_000, 10_000):
        times = growth(build, MappedFile(data), str(tmp_path), nodes)
        best = {name: min(best.get(name, float("inf")), times[name]) for name in times}
        if max(best.values()) <= 15:
            return
    raise AssertionError(f"more than 15 times the time for 10 times the nodes: {best}")
