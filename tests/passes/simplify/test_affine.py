"""Folding scales and shifts into weights, over random convolutions, products and norms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from geoc.ir.builder import Builder
from geoc.ir.core import Graph, Model, Value, constant
from geoc.ir.dims import symbol
from geoc.ir.tensor import Tensor
from geoc.ir.types import BF16, F16, F32, F64, tensor_type
from geoc.passes.simplify import affine

Make = Callable[[Builder, np.random.Generator, Value], Value]


def weight(random: np.random.Generator, *shape: int, positive: bool = False) -> Value:
    """A random constant; every fourth one repeats one element."""
    array = random.normal(size=shape).astype(np.float32)
    if positive:
        array = np.abs(array) + np.float32(0.1)
    if random.random() < 0.25:
        return constant(Tensor.of_splat(array.reshape(-1)[0], shape, F32))
    return constant(Tensor.from_array(array))


def vector(random: np.random.Generator, count: int, rank: int, channel: int) -> Value:
    """A constant that broadcasts along a channel axis: as a scalar, or with axes of length 1 around it."""
    kind = random.integers(4)
    if kind == 0:
        return weight(random, *(1,) * int(random.integers(rank + 1)))
    before = int(random.integers(channel + 1)) if kind == 1 else 0
    return weight(random, *(1,) * before, count, *(1,) * (rank - channel - 1))


def convolution(build: Builder, random: np.random.Generator, x: Value) -> Value:
    spatial, groups = int(random.integers(1, 3)), int(random.choice([1, 2]))
    channels, outputs = 2 * groups, groups * int(random.integers(1, 3))
    kernel = random.integers(1, 3, spatial).tolist()
    flat = build.op("Reshape", x, build.ints([-1, channels, *(4,) * spatial]))
    bias = weight(random, outputs) if random.random() < 0.5 else None
    attributes = {"group": groups, "strides": [int(random.integers(1, 3))] * spatial}
    if random.random() < 0.5:
        w = weight(random, outputs, channels // groups, *kernel)
        return build.node("Conv", [flat, w, bias], attributes).output
    w = weight(random, channels, outputs // groups, *kernel)
    return build.node("ConvTranspose", [flat, w, bias], attributes).output


def product(build: Builder, random: np.random.Generator, x: Value) -> Value:
    columns = int(random.integers(1, 4))
    if random.random() < 0.5:
        shape = [[-1, 16], [-1, 2, 16]][int(random.random() < 0.3)]
        return build.op("MatMul", build.op("Reshape", x, build.ints(shape)), weight(random, 16, columns))
    flat = build.op("Reshape", x, build.ints([-1, 16]))
    turned = bool(random.random() < 0.5)
    bias = [None, weight(random, columns), weight(random, 1), weight(random), weight(random, 1, columns)]
    attributes: dict[str, Any] = {"transB": int(turned)}
    if random.random() < 0.2:
        attributes["alpha"] = 0.5
    if random.random() < 0.2:
        attributes["beta"] = 2.0
    w = weight(random, columns, 16) if turned else weight(random, 16, columns)
    return build.node("Gemm", [flat, w, bias[random.integers(len(bias))]], attributes).output


def norm(build: Builder, random: np.random.Generator, x: Value) -> Value:
    assert x.shape is not None and isinstance(x.shape[1], int)
    count = x.shape[1]
    rest = [weight(random, count), weight(random, count), weight(random, count), weight(random, count, positive=True)]
    return build.node("BatchNormalization", [x, *rest], {"epsilon": float(random.choice([1e-5, 0.1]))}).output


@pytest.mark.parametrize("seed", range(120))
def test_chains(seed: int, check: Any) -> None:
    random = np.random.default_rng(seed)
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F32, (symbol("B"), 64)))
    build = Builder(graph)
    makers: list[Make] = [convolution, product]
    y = makers[random.integers(2)](build, random, x)
    channel = -1 if y.producer is not None and y.producer.op.name == "MatMul" else 1
    product_or_convolution = y
    for _ in range(random.integers(1, 5)):
        assert y.shape is not None and y.rank is not None
        kind = random.choice(["Mul", "Add", "Sub", "Div", "norm"])
        axis = channel % y.rank
        count = y.shape[axis]
        assert isinstance(count, int)
        if kind == "norm":
            if y.rank > 2 and channel == -1:
                continue
            y = norm(build, random, y)
            continue
        if random.random() < 0.2:  # along another axis
            axis = y.rank - 1
            count = y.shape[axis] if isinstance(y.shape[axis], int) else 1
        other = vector(random, int(count), y.rank, axis)
        y = build.op(str(kind), *((other, y) if kind in ("Add", "Mul") and random.random() < 0.5 else (y, other)))
    if random.random() < 0.15:  # somebody else looks at what would be folded into
        graph.set_outputs([y, build.op("Neg", product_or_convolution)], ["y", "z"])
    else:
        graph.set_outputs([y], ["y"])
    check(Model(graph), "affine", [{"B": 2}, {"B": 1}])


def test_most_of_them_fold(check: Any, gir: Any) -> None:
    model = gir(
        """graph @main(%x: f32[B,2,4]) -> (%y: f32[B,3,4]) {
      weight %w: f32[3,2,1] = [1, 2, 3, 4, 5, 6]
      weight %s: f32[3,1] = [1, 2, 3]
      weight %o: f32[3] = [1, 2, 3]
      %c: f32[B,3,4] = Conv(%x, %w)
      %m: f32[B,3,4] = Mul(%c, %s)
      %a: f32[B,3,4] = Add(%m, %s)
      %n: f32[B,3,4] = BatchNormalization(%a, %o, %o, %o, %o)
      %d: f32[B,3,4] = Div(%n, %s)
      %y: f32[B,3,4] = Sub(%d, %s)
    }"""
    )
    after, fired = check(model, "affine", [{"B": 2}])
    assert [node.op.name for node in after.graph] == ["Conv"]
    assert sum(fired.counts.values()) == 5


@pytest.mark.parametrize("seed", range(80))
def test_one_number_for_each_channel(seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = [int(n) for n in random.integers(1, 4, random.integers(1, 5))]
    axis = int(random.integers(-len(shape), len(shape)))
    taken = int(random.integers(len(shape) + 2))
    own = [1 if random.random() < 0.6 else d for d in ([2] + shape)[len(shape) + 1 - taken :]]
    array = np.asarray(random.normal(size=own), np.float32)
    const = Tensor.from_array(array)
    if random.random() < 0.3:
        const = Tensor.of_splat(np.float32(0.5), tuple(own), F32)
    found = affine.per_channel(constant(const), Value(tensor_type(F32, tuple(shape))), axis)
    fits = len(own) <= len(shape)
    varies = [i - len(own) for i, d in enumerate(own) if d != 1]
    if not fits or any(i % len(shape) != axis % len(shape) for i in varies):
        assert found is None
        return
    assert found is not None and found.shape == (shape[axis],)
    view = [1] * len(shape)
    view[axis] = shape[axis]
    np.testing.assert_array_equal(
        np.broadcast_to(found.array().reshape(view), shape), np.broadcast_to(const.array(), shape)
    )


def test_channels_that_are_not_known() -> None:
    half = constant(Tensor.of(0.5, F32))
    assert affine.per_channel(half, Value(tensor_type(F32, (2, symbol("C")))), 1) is None
    assert affine.per_channel(half, Value(tensor_type(F32, None)), 1) is None
    assert affine.per_channel(half, Value(tensor_type(F32, (2,))), 1) is None


@pytest.mark.parametrize("seed", range(40))
def test_weights_of_transposed_convolutions(seed: int) -> None:
    random = np.random.default_rng(seed)
    groups, inputs, outputs = (int(n) for n in random.integers(1, 4, 3))
    kernel = (2,) * int(random.integers(0, 3))
    w = weight(random, groups * inputs, outputs, *kernel)
    s = weight(random, groups * outputs)
    assert w.const is not None and s.const is not None
    w.uses[Builder(Graph()).node("Neg", [w]), 0] = None
    found = affine.scaled_transposed(w, s, groups)
    wanted = w.const.array().astype(np.float64).copy()
    for i in range(groups * inputs):
        for o in range(outputs):
            wanted[i, o] *= s.const.array()[i // inputs * outputs + o]
    assert found is not None and found.shape == w.const.shape
    np.testing.assert_allclose(found.array(), wanted, 1e-6)
    assert affine.scaled_transposed(w, weight(random, groups * outputs + 1), groups) is None


def _scaled(array: Any, users: int, factor: float = 0.5, dtype: Any = F32) -> Tensor | None:
    """A matrix times a vector, when it has so many users."""
    value = constant(Tensor.from_array(np.asarray(array).astype(dtype.numpy), dtype))
    graph = Graph()
    for _ in range(users):
        Builder(graph).node("Neg", [value])
    assert value.const is not None
    return affine.scaled(value, Tensor.of([factor] * value.const.shape[1], dtype), 1)


def test_large_weights_with_several_users_stay() -> None:
    large = np.ones((64, 65), np.float32)
    large[0, 0] = 2
    assert _scaled(large, 1) is not None
    assert _scaled(large, 2) is None
    assert _scaled(large[:8], 2) is not None


def test_results_that_overflow_stay() -> None:
    assert _scaled([[6e4, 1]], 1, 1.0, F16) is not None
    assert _scaled([[6e4, 1]], 1, 2.0, F16) is None
    assert _scaled([[3e38, 1]], 1, 2.0) is None
    assert _scaled([[3e38, 1]], 1, 2.0, BF16) is None
    assert _scaled([[1e38, 1]], 1, 2.0, BF16) is not None
    assert _scaled([[np.inf, 1]], 1, 2.0) is None


def test_reciprocals_keep_their_digits() -> None:
    s = Tensor.of([3e4, 3.0], F16)
    found = affine.reciprocal_of(s)
    assert found is not None and found.dtype is F64
    np.testing.assert_array_equal(found.array(), 1 / s.array().astype(np.float64))
    assert affine.reciprocal_of(Tensor.of([1.0, 0.0], F32)) is None


def test_factors_of_norms() -> None:
    def values(*numbers: float) -> Value:
        return constant(Tensor.of(list(numbers), F32))

    s, b, m, v = values(0.5, -2), values(1, 2), values(3, 4), values(0.01, 4)
    factor = np.array([0.5, -2]) / np.sqrt(np.array([np.float32(0.01), 4]) + 1e-5)
    found = affine.norm_scale(s, v, 1e-5)
    assert found is not None
    np.testing.assert_allclose(found.array(), factor, 1e-7)
    shifted = affine.norm_bias(values(5, 6), s, b, m, v, 1e-5)
    assert shifted is not None and shifted.dtype is F32
    np.testing.assert_allclose(shifted.array(), (np.array([5, 6]) - [3, 4]) * factor + [1, 2], 1e-6)
    plain = affine.norm_bias(None, s, b, m, v, 1e-5)
    assert plain is not None
    np.testing.assert_allclose(plain.array(), -np.array([3, 4]) * factor + [1, 2], 1e-6)
    assert affine.norm_bias(Value(tensor_type(F32, (2,))), s, b, m, v, 1e-5) is None
    assert affine.norm_bias(values(1), s, b, m, v, 1e-5) is None
    assert affine.norm_scale(s, values(0, 1), 0.0) is None
    assert affine.norm_scale(s, values(-1, 1), 0.0) is None
