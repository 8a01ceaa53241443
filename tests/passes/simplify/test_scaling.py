"""Time grows linearly with the graph: ten times the nodes take far less than a hundred times as long."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

import numpy as np
import pytest

from geoc.ir.builder import Builder
from geoc.ir.core import Graph, Model, Value
from geoc.ir.dims import symbol
from geoc.ir.types import F32, tensor_type
from geoc.passes.base import Context
from geoc.passes.registry import BUILT_IN

from ...golden import library

PASSES = [*library().rule_sets, *(name for name, place in BUILT_IN.items() if place.startswith(".simplify."))]
Step = Callable[[Builder, Value, int], Value]


def nothing(build: Builder, x: Value, i: int) -> Value:
    """Much that identity and views take away."""
    y = build.op("Identity", x)
    y = build.op("Mul", y, build.const(1.0, F32))
    y = build.op("Flatten", y)
    y = build.op("Reshape", y, build.ints([-1, 4, 4, 4]))
    y = build.op("Transpose", build.op("Transpose", y, perm=(0, 2, 3, 1)), perm=(0, 3, 1, 2))
    return build.op("Sigmoid", y)


def layers(build: Builder, x: Value, i: int) -> Value:
    """A convolution with a scale, a shift and padding, in another layout on every second one."""
    y = build.op("Pad", x, build.ints([0, 0, 1, 0, 0, 0, 0, 1]))
    y = build.op("Conv", y, build.const(np.full((4, 4, 2, 2), 0.1, np.float32)))
    y = build.op("Mul", y, build.const(np.full((4, 1, 1), 0.5, np.float32)))
    y = build.op("Add", y, build.const(np.full((4, 1, 1), 0.5, np.float32)))
    if i % 2:
        y = build.op("Transpose", y, perm=(0, 2, 3, 1))
        y = build.op("Transpose", build.op("Relu", y), perm=(0, 3, 1, 2))
    return build.op("Relu", y)


def sums(build: Builder, x: Value, i: int) -> Value:
    """One region of everything, whose transposes nothing can take away."""
    turned = build.op("Transpose", x, perm=(0, 1, 3, 2))
    return build.op("Add", turned, build.op("Relu", x))


def shapes(build: Builder, x: Value, i: int) -> Value:
    """Targets computed from shapes."""
    shape = build.op("Shape", x)
    batch = build.op("Unsqueeze", build.op("Gather", shape, build.const(0, None)), build.ints([0]))
    target = build.op("Concat", batch, build.ints([64]), axis=0)
    flat = build.op("Reshape", x, target)
    return build.op("Reshape", build.op("Neg", flat), shape)


def model(step: Step, nodes: int) -> Model:
    graph = Graph("main")
    build = Builder(graph)
    x = graph.add_input("x", tensor_type(F32, (symbol("B"), 4, 4, 4)))
    i = 0
    while graph.size < nodes:
        x = step(build, x, i)
        i += 1
    graph.set_outputs([x], ["y"])
    return Model(graph)


@pytest.mark.parametrize("step", [nothing, layers, sums, shapes])
@pytest.mark.parametrize("name", PASSES)
def test_time(name: str, step: Step) -> None:
    def seconds(nodes: int) -> float:
        work = model(step, nodes)
        start = process_time()
        library().find(name)().run(work, Context())
        return process_time() - start

    seconds(50)  # rules are read, operators looked up
    small = max(seconds(400), seconds(400), 5e-3)  # below that, chance decides
    assert seconds(4000) < 25 * small
