"""The natives of identity, views and pads rules against numpy, over random axes, shapes and types."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from geoc.ir.builder import Builder
from geoc.ir.core import Graph, Value, constant
from geoc.ir.dims import DimLike, symbol
from geoc.ir.infer import infer_node
from geoc.ir.tensor import Tensor, int_tensor
from geoc.ir.types import BF16, BOOL, F16, F32, F64, I64, STR, TensorType, tensor_type
from geoc.ir.types import DTYPES as ALL
from geoc.passes.simplify import arrangement as a

SIZES = (2, 3, 5, 7, 11, 13)  # no two axes of the same length
SEEDS = range(60)


def ints(*values: int) -> Value:
    return constant(int_tensor(values))


def value(*shape: DimLike, dtype: Any = F32) -> Value:
    return Value(tensor_type(dtype, shape))


def floats(array: Any, dtype: Any = F32) -> Value:
    return constant(Tensor.from_array(np.asarray(array).astype(dtype.numpy), dtype))


def elements(found: Any) -> list[int]:
    assert isinstance(found, Tensor) and found.dtype is I64 and len(found.shape) == 1
    return list(found.ints())


@pytest.mark.parametrize("seed", SEEDS)
def test_two_unsqueezes(seed: int) -> None:
    random = np.random.default_rng(seed)
    x = np.empty(SIZES[: random.integers(0, 4)])
    first = random.permutation(x.ndim + (n := int(random.integers(1, 4))))[:n].tolist()
    middle = np.expand_dims(x, tuple(first))
    second = random.permutation(middle.ndim + (n := int(random.integers(1, 4))))[:n].tolist()
    wanted = np.expand_dims(middle, tuple(second))
    merged = elements(a.merged_unsqueeze(ints(*first), ints(*second)))
    assert np.expand_dims(x, tuple(merged)).shape == wanted.shape
    # Ones among the sizes are told apart by where they come from.
    assert [d for d in np.expand_dims(x, tuple(merged)).shape if d != 1] == list(x.shape)


def test_unsqueezes_that_count_from_the_end() -> None:
    assert a.merged_unsqueeze(ints(-1), ints(0)) is None
    assert a.merged_unsqueeze(ints(0), ints(-2)) is None
    assert a.merged_unsqueeze(ints(0), value(1, dtype=I64)) is None


@pytest.mark.parametrize("seed", SEEDS)
def test_two_squeezes(seed: int) -> None:
    random = np.random.default_rng(seed)
    rank = int(random.integers(2, 7))
    ones = random.permutation(rank)[: random.integers(2, rank + 1)].tolist()
    shape = tuple(1 if i in ones else SIZES[i] for i in range(rank))
    cut = int(random.integers(1, len(ones)))
    first = [i - rank * int(random.integers(2)) for i in ones[:cut]]
    middle = np.squeeze(np.empty(shape), tuple(first))
    free = random.permutation([i for i, d in enumerate(middle.shape) if d == 1]).tolist()
    second = [i - middle.ndim * int(random.integers(2)) for i in free[: random.integers(1, len(free) + 1)]]
    merged = elements(a.merged_squeeze(value(*shape), ints(*first), ints(*second)))
    wanted = np.squeeze(middle, tuple(second))
    assert np.squeeze(np.empty(shape), tuple(merged)).shape == wanted.shape
    assert len(set(merged)) == len(merged) == rank - wanted.ndim


def test_squeezes_of_what_has_no_known_rank() -> None:
    assert a.merged_squeeze(Value(tensor_type(F32, None)), ints(0), ints(0)) is None


@pytest.mark.parametrize("seed", SEEDS)
def test_two_transposes(seed: int) -> None:
    random = np.random.default_rng(seed)
    rank = int(random.integers(0, 6))
    x = np.empty(SIZES[:rank])
    first, second = (
        None if random.random() < 0.3 else tuple(random.permutation(rank).tolist()) for _ in range(2)
    )
    wanted = np.transpose(np.transpose(x, first), second).shape
    known = value(*x.shape) if random.random() < 0.5 else Value(tensor_type(F32, None))
    found = a.composed(known, first, second)
    if first is None and second is None and known.rank is None:
        assert found is None
    else:
        assert found is not None and np.transpose(x, found).shape == wanted
    if known.rank is not None:
        assert a.in_order(known, first) == (np.transpose(x, first).shape == x.shape)
        assert a.in_order(known, found) == (wanted == x.shape)


@pytest.mark.parametrize("seed", SEEDS)
def test_transposes_that_move_no_element(seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = tuple(int(random.choice([1, 1, 2, 3])) for _ in range(random.integers(1, 5)))
    perm = tuple(random.permutation(len(shape)).tolist())
    x = np.arange(np.prod(shape)).reshape(shape)
    still = bool((np.transpose(x, perm).reshape(-1) == x.reshape(-1)).all())
    assert a.moves_units(value(*shape), perm) == still
    unknown = tuple(symbol(f"N{i}") if d > 1 else 1 for i, d in enumerate(shape))
    assert not a.moves_units(value(*unknown), perm) or still


NUMBERS = [d for d in ALL if d is BOOL or d.is_int or d.is_float]


def some_values(dtype: Any) -> list[Any]:
    """All values of a small type, the remarkable ones of a large type; exact, as ints or floats. No NaN."""
    if dtype is BOOL:
        return [False, True]
    if dtype.is_int:
        low, high = (-(1 << dtype.bits - 1), 1 << dtype.bits - 1) if dtype.kind == "i" else (0, 1 << dtype.bits)
        if dtype.bits <= 8:
            return list(range(low, high))
        powers = [1 << k for k in range(dtype.bits)]
        near = {s * p + d for p in powers for d in (-1, 0, 1) for s in (-1, 1)} | {low, high - 1, low + 1}
        return [v for v in near if low <= v < high]
    if dtype.bits <= 16:
        codes = np.arange(1 << dtype.bits, dtype=f"uint{8 if dtype.bits <= 8 else 16}")
        with np.errstate(all="ignore"):
            found = codes.view(dtype.numpy).astype(np.float64)
    else:
        digits = {32: 24, 64: 53}[dtype.bits]
        edges = [1.0, 1.5, 2 - 2.0 ** (1 - digits), 1 + 2.0 ** (1 - digits)]
        kinds = {32: (-149, 128), 64: (-1074, 1024)}[dtype.bits]
        with np.errstate(all="ignore"):
            found = np.array([np.ldexp(e, k) for k in range(*kinds) for e in edges]).astype(dtype.numpy).astype(float)
        found = np.concatenate([found, -found, [0.0, np.inf, -np.inf]])
    return [float(v) for v in np.unique(found[~np.isnan(found)])]


def holds(dtype: Any, number: Any) -> bool:
    """Whether a value is one of a type's, by converting it there and back."""
    if dtype is BOOL:
        return number in (0, 1)
    if dtype.is_int:
        low, high = (-(1 << dtype.bits - 1), 1 << dtype.bits - 1) if dtype.kind == "i" else (0, 1 << dtype.bits)
        return number == number and abs(number) != np.inf and int(number) == number and low <= number < high
    with np.errstate(all="ignore"):
        there = float(np.array(float(number)).astype(dtype.numpy))
    return there == number  # Python compares ints and floats exactly


@pytest.mark.parametrize("inner", NUMBERS, ids=str)
def test_types_that_hold_others(inner: Any) -> None:
    common = [d for d in NUMBERS if d is BOOL or (d.bits >= 8 and d.is_int) or d in (F16, BF16, F32, F64)]
    numbers = some_values(inner)
    for outer in NUMBERS:
        really = all(holds(outer, number) for number in numbers)
        said = a.holds_all(outer, inner)
        assert really or not said, f"{outer} does not hold every {inner}"
        if inner in common and outer in common:
            assert said == really, f"{outer} holds every {inner}"
    assert not a.holds_all(STR, inner) and not a.holds_all(inner, STR)


@pytest.mark.parametrize("seed", SEEDS)
def test_pads_of_two_operators(seed: int) -> None:
    random = np.random.default_rng(seed)
    spatial = int(random.integers(1, 4))
    rank = spatial + 2
    axes = sorted(random.permutation(rank)[: random.integers(1, rank + 1)].tolist())
    axes = [axis - rank * int(random.integers(2)) for axis in axes] if random.random() < 0.5 else list(range(rank))
    random.shuffle(axes)
    given = random.integers(0, 3, (2, len(axes)))
    for i, axis in enumerate(axes):
        if axis % rank < 2 and random.random() < 0.8:
            given[:, i] = 0
    if random.random() < 0.2:
        given[random.integers(2), random.integers(len(axes))] = -1
    own = random.integers(0, 3, 2 * spatial).tolist()
    valid = random.random() < 0.3
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F32, (1, 1, *(9,) * spatial)))
    attributes = {"auto_pad": "VALID"} if valid else {"pads": own}
    conv = Builder(graph).node("Conv", [x, floats(np.ones((1, 1, *(1,) * spatial)))], attributes)
    in_order = axes == list(range(rank))
    found = a.joined_pads(ints(*given.reshape(-1).tolist()), None if in_order else ints(*axes), conv.output)
    amounts = np.zeros((2, rank), int)
    for i, axis in enumerate(axes):
        amounts[:, axis % rank] = given[:, i]
    if (amounts < 0).any() or amounts[:, :2].any():
        assert found is None
        return
    array = random.normal(size=(1, 1, *SIZES[:spatial]))
    once = np.pad(array, amounts.T)
    twice = once if valid else np.pad(once, [(0, 0), (0, 0), *np.array(own).reshape(2, -1).T])
    assert found is not None
    np.testing.assert_array_equal(np.pad(array, [(0, 0), (0, 0), *np.array(found).reshape(2, -1).T]), twice)


@pytest.mark.parametrize("seed", SEEDS)
def test_shapes_that_broadcast(seed: int) -> None:
    random = np.random.default_rng(seed)
    full = [int(n) for n in random.integers(0, 4, random.integers(1, 4))]
    x, z = ([1 if random.random() < 0.4 else d for d in full[random.integers(len(full) + 1) :]] for _ in range(2))
    same = np.broadcast_shapes(tuple(x), tuple(z)) == tuple(full)
    assert a.same_broadcast(value(*x), value(*z), value(*full)) == same
    # Sizes that are not known: equal only if they are the same symbol.
    names = {d: symbol(f"D{d}") for d in full if d != 1}
    sx, sz, sf = ([names.get(d, d) for d in shape] for shape in (x, z, full))
    assert a.same_broadcast(value(*sx), value(*sz), value(*sf)) == same


def test_shapes_that_may_broadcast() -> None:
    b, s = symbol("B"), symbol("S")
    assert a.same_broadcast(value(s), value(5), value(5))  # S is 1 or 5, or nothing works anyway
    assert not a.same_broadcast(value(s), value(1), value(5))
    assert not a.same_broadcast(value(s), value(1), value(b))
    assert not a.same_broadcast(value(s), value(b), value(b))
    assert not a.same_broadcast(value(b), value(b), value(1, b))
    assert not a.same_broadcast(Value(tensor_type(F32, None)), value(b), value(b))


@pytest.mark.parametrize("seed", SEEDS)
def test_targets_of_expand(seed: int) -> None:
    random = np.random.default_rng(seed)
    full = [int(n) for n in random.integers(0, 4, random.integers(1, 4))]
    x = [1 if random.random() < 0.4 else d for d in full[random.integers(len(full) + 1) :]]
    found = elements(a.expand_target(value(*x), value(*full)))
    assert np.broadcast_shapes(tuple(x), tuple(found)) == tuple(full)
    names = [symbol(f"D{i}") if d > 1 else d for i, d in enumerate(full)]
    own = [n if d == f else d for d, f, n in zip(x, full[-len(x) :] if x else [], names[-len(x) :] if x else [])]
    target = a.expand_target(value(*own), value(*names))
    enlarged = [f for o, f, n in zip([1] * (len(full) - len(own)) + own, full, names) if n is not o and n != o]
    if any(size > 1 for size in enlarged):
        assert target is None
    else:
        assert np.broadcast_shapes(tuple(x), tuple(elements(target))) == tuple(full)


@pytest.mark.parametrize("dtype", [d for d in NUMBERS if d.bits >= 8 and holds(d, 0)], ids=str)
def test_constants_of_one_number(dtype: Any) -> None:
    for number in (0, 1):
        same = floats(np.full((2, 3), number), dtype)
        mixed = floats([[number, number], [number, 1 - number]], dtype)
        splat = constant(Tensor.of_splat(number, (1 << 20,), dtype))
        assert a.all_equal(same, number) and a.all_equal(splat, number)
        assert not a.all_equal(mixed, number)
        assert not a.all_equal(same, 1 - number) and not a.all_equal(splat, 1 - number)
    assert not a.all_equal(floats(np.empty((0, 2)), dtype), 1)
    assert not a.all_equal(value(2, dtype=dtype), 0)


def test_constants_too_large_to_look_at() -> None:
    assert not a.all_equal(floats(np.ones(a._MAX_COMPARED // 4 + 1)), 1)
    assert a.all_equal(floats(np.ones(a._MAX_COMPARED // 4)), 1)


@pytest.mark.parametrize("dtype", [F16, BF16, F32, F64], ids=str)
def test_the_lowest_number(dtype: Any) -> None:
    import ml_dtypes

    assert a.lowest(floats(-np.inf, dtype))
    bottom = float(ml_dtypes.finfo(dtype.numpy).min)
    if dtype is not BF16:
        assert a.lowest(floats(bottom, dtype))
    assert not a.lowest(floats(bottom / 2, dtype))
    assert not a.lowest(floats(np.nan, dtype))
    assert not a.lowest(floats(np.inf, dtype))
    assert not a.lowest(floats([-np.inf, -np.inf], dtype))
    assert not a.lowest(value(dtype=dtype))


def test_steps_and_lists() -> None:
    assert elements(a.joined(ints(1, 2), ints(3))) == [1, 2, 3]
    assert elements(a.joined_steps(ints(0, 1), None, ints(2), ints(-2))) == [1, 1, -2]
    assert a.joined_steps(ints(0), value(1, dtype=I64), ints(1), None) is None
    assert a.joined(ints(1), value(1, dtype=I64)) is None
    assert a.disjoint(ints(0, 2), ints(1)) and not a.disjoint(ints(0), ints(0))
    assert not a.disjoint(ints(0), ints(-1))
    assert a.all_positive(None) and a.all_positive(ints(1, 2)) and not a.all_positive(ints(1, -1))
    assert not a.all_positive(value(1, dtype=I64))


def test_rows_and_static_shapes() -> None:
    assert elements(a.rows(value(2, 3, 4))) == [6, 4]
    assert elements(a.static_shape(value(2, 3))) == [2, 3]
    for shape in ((2, 0), (symbol("B"), 2)):
        assert a.rows(value(*shape)) is None and a.static_shape(value(*shape)) is None


@pytest.mark.parametrize("shapes", list(itertools.product([(), (1,), (4,), (4, 1)], repeat=2)), ids=str)
def test_the_type_of_an_expand_target_is_the_type_it_gives(shapes: Any) -> None:
    x, y = shapes
    if len(x) > len(y) or np.broadcast_shapes(x, y) != y:
        return
    graph = Graph("main")
    node = Builder(graph).node("Expand", [graph.add_input("x", tensor_type(F32, x)), ints(*y)])
    target = a.expand_target(node.inputs[0], node.output)
    assert target is not None
    node.set_input(1, constant(target))
    node.output.type = None
    infer_node(node)
    assert isinstance(node.output.type, TensorType) and node.output.type.shape == y
