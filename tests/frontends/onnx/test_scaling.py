"""Time grows with the number of nodes and no faster."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import numpy as np
import pytest
from onnx import helper

from geoc.frontends.onnx import load_onnx
from geoc.lowering.onnx import model_bytes

from .building import graph, model, value, weight


def chain(count: int, shuffled: bool = False) -> bytes:
    """Additions of weights one after the other, every tenth value used again at the end."""
    nodes = [helper.make_node("Add", [f"v{i}", f"w{i % 100}"], [f"v{i + 1}"], f"/add/{i}") for i in range(count)]
    nodes.append(helper.make_node("Sum", [f"v{i}" for i in range(10, count + 1, 10)], ["y"]))
    if shuffled:
        random.Random(0).shuffle(nodes)
    weights = [weight(f"w{i}", np.full(4, i, np.float32)) for i in range(100)]
    body = graph(nodes, [value("v0", ("N", 4))], [value("y", ("N", 4))], weights)
    return model(body).SerializeToString()


def seconds(step: Callable[[], object]) -> float:
    """The best of some runs, in this process's own time."""
    found = []
    for _ in range(5):
        began = time.process_time()
        step()
        found.append(time.process_time() - began)
    return min(found)


@pytest.mark.parametrize("shuffled", [False, True], ids=["in order", "in no order"])
def test_import(shuffled: bool) -> None:
    small, large = chain(1000, shuffled), chain(10_000, shuffled)
    assert seconds(lambda: load_onnx(large)) < 20 * seconds(lambda: load_onnx(small)) + 0.05


def test_export() -> None:
    small, large = load_onnx(chain(1000)), load_onnx(chain(10_000))
    assert seconds(lambda: model_bytes(large)) < 20 * seconds(lambda: model_bytes(small)) + 0.05
    assert seconds(lambda: model_bytes(large, opset=7)) < 20 * seconds(lambda: model_bytes(small, opset=7)) + 0.05
