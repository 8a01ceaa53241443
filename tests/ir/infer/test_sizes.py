"""Symbolic sizes of slices, windows and reshapes against the same computation on every small number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from geoc.ir.core import Graph, Node, Value, constant
from geoc.ir.dims import DimLike, substitute, symbol
from geoc.ir.errors import InvalidModel
from geoc.ir.infer import infer_node
from geoc.ir.infer.base import broadcast_dim
from geoc.ir.infer.indexing import slice_size
from geoc.ir.infer.nn import Window
from geoc.ir.ops import op
from geoc.ir.tensor import int_tensor
from geoc.ir.types import F32, TensorType, tensor_type

N, S = symbol("N"), symbol("S")
FAR = (1 << 63) - 1


def at(dim: Any, **env: int) -> Any:
    return None if dim is None else substitute(dim, env.get)


bounds = st.one_of(st.integers(-12, 12), st.sampled_from([FAR, (1 << 31) - 1, -FAR - 1, -(1 << 31)]))


@given(bounds, bounds, st.sampled_from([1, 1, 2, 3, -1, -2]))
@settings(max_examples=400, deadline=None)
def test_slice_with_constant_bounds(start: int, end: int, step: int) -> None:
    size = slice_size(N, start, end, step)
    for n in range(15):
        expected = _sliced(n, start, end, step)
        assert size is None or at(size, N=n) == expected, (size, n)
        assert slice_size(n, start, end, step) == expected


def _sliced(n: int, start: int, end: int, step: int) -> int:
    # The operator clamps where Python's negative end wraps: -(n + 1) and below means "before 0". Going backwards it
    # clamps the start to 0 at least, where Python takes nothing.
    stop: int | None = end
    if step < 0 and end < -n:
        stop = None
    if step < 0 and start < -n:
        start = 0
    return len(np.zeros(n)[start:stop:step])


SYMBOLIC: list[tuple[DimLike, DimLike, DimLike]] = [
    (N, 0, N), (N, 0, S), (N, S, N), (N, 1, N), (N, S, FAR), (N + S, N, FAR), (N + S, N, N + S), (512, 0, S),
    (8, S, S + 3), (N, 0, N - 1), (N, N - 1, N), (N, -1, FAR), (N, 0, -1), (S * 2, 0, S), (S * 2, S, FAR),
    (N + 2, 0, N), (N, 0, N + 2), (10, N, N + S), (N, 0, N - 2), (S, 2, S + 1),
]  # fmt: skip


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("case", SYMBOLIC, ids=str)
def test_slice_with_symbolic_bounds(case: tuple[DimLike, DimLike, DimLike], step: int) -> None:
    dim, start, end = case
    size = slice_size(dim, start, end, step)
    assert size is not None
    for n in range(9):
        for s in range(9):
            numbers = [at(d, N=n, S=s) for d in case]
            assert at(size, N=n, S=s) == _sliced(*numbers, step), (size, n, s)


def test_a_bound_below_zero_counts_from_the_end() -> None:
    """N - 3 is -1 where N is 2: all but the last element."""
    assert _sliced(2, 0, -1, 1) == 1
    assert slice_size(N, 0, N - 3, 1) is None
    assert slice_size(N + S, 0, N - 2, 1) is None


def test_shared_parts_of_slices_cancel() -> None:
    assert slice_size(N + S, N, FAR, 1) is S
    assert slice_size(N, 0, N, 1) is N
    assert slice_size(N, S, FAR, 1) is not N


@given(
    kernel=st.integers(1, 5), stride=st.integers(1, 3), dilation=st.integers(1, 2), begin=st.integers(0, 2),
    end=st.integers(0, 2), ceil_mode=st.booleans(),
    auto_pad=st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_window_by_counting(
    kernel: int, stride: int, dilation: int, begin: int, end: int, ceil_mode: bool, auto_pad: str
) -> None:
    if auto_pad != "NOTSET":
        begin, end, ceil_mode = 0, 0, False
    assume(max(begin, end) < kernel)  # as every pooling must have it
    attrs = {"strides": (stride,), "dilations": (dilation,), "pads": (begin, end), "auto_pad": auto_pad}
    node = Node(op("MaxPool"), (), (), attrs)
    window = Window(node, (kernel,))
    symbolic = window.output(node, 0, N, ceil_mode)
    extent = (kernel - 1) * dilation + 1
    for n in range(extent, extent + 9):
        expected = _count_windows(n, extent, stride, begin, end, ceil_mode, auto_pad)
        assert window.output(node, 0, n, ceil_mode) == expected
        assert symbolic is None or at(symbolic, N=n) == expected
    assert symbolic is not None or ceil_mode


def _count_windows(n: int, extent: int, stride: int, begin: int, end: int, ceil_mode: bool, pad: str) -> int:
    if pad.startswith("SAME"):
        return len(range(0, n, stride))
    starts = range(-begin, n + end, stride)
    if not ceil_mode:
        return sum(1 for s in starts if s + extent <= n + end)
    # One more window may hang over the end, if it starts on data or on the padding before it.
    whole = [s for s in starts if s + extent <= n + end]
    following = whole[-1] + stride
    return len(whole) + (whole[-1] + extent < n + end and following < n)


RESHAPES: list[tuple[tuple[DimLike, ...], tuple[DimLike, ...], tuple[DimLike, ...]]] = [
    ((N, S, 768), (N, S, 12, -1), (N, S, 12, 64)),
    ((N, S, 768), (0, 0, 12, 64), (N, S, 12, 64)),
    ((N, 12, S, 64), (-1, S, 64), (N * 12, S, 64)),
    ((N, S, 64), (-1,), (N * S * 64,)),
    ((N * S, 64), (N, -1, 64), (N, S, 64)),
    ((N, S), (N, -1, 2), (N, symbol("?x"), 2)),
    ((2, 3, 4), (4, -1), (4, 6)),
    ((1, 128, 768), (S, 128, 768), (1, 128, 768)),
    ((N, 0, 4), (0, 0, 2, 2), (N, 0, 2, 2)),
]


@pytest.mark.parametrize("case", RESHAPES, ids=str)
def test_reshape(case: Any) -> None:
    shape, target, expected = case
    found = reshaped(shape, target)
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        assert a is b or a == b or (not isinstance(b, int) and b.is_unknown), found
    for n, s in ((2, 6), (3, 4), (6, 2)):
        before = int(np.prod([at(d, N=n, S=s) for d in shape]))
        after = int(np.prod([at(d, N=n, S=s) for d in found]))
        assert before == after or any(isinstance(d, int) for d in found[:1])


def reshaped(shape: Any, target: Any) -> tuple[DimLike, ...]:
    graph = Graph()
    x = graph.add_input("x", tensor_type(F32, shape))
    if all(isinstance(d, int) for d in target):
        to = constant(int_tensor(target))
    else:
        to = Value(tensor_type(int_tensor([0]).dtype, (len(target),)))
        to.content = target
    node = Node(op("Reshape"), (x, to), (Value(None, "y"),))
    infer_node(node)
    type = node.output.type
    assert isinstance(type, TensorType) and type.shape is not None
    return type.shape


def test_reshape_that_cannot_fit() -> None:
    with pytest.raises(InvalidModel, match=r"Reshape \(%y\).*6 elements.*8"):
        reshaped((2, 3), (2, 4))
    with pytest.raises(InvalidModel, match="no shape"):
        reshaped((2, 3), (4, -1))


PAIRS: list[tuple[DimLike, DimLike]] = [
    (N, N), (N, 1), (1, N), (N, 5), (5, N), (N, S), (substitute(symbol("m"), {"m": N}.get), S), (3, 3), (1, 7),
]  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_broadcast_is_numpys_where_numpy_accepts_it(pair: tuple[DimLike, DimLike]) -> None:
    result = broadcast_dim(*pair)
    assert result is not False
    for n in range(7):
        for s in range(7):
            a, b = (at(d, N=n, S=s) for d in pair)
            if a != b and 1 not in (a, b):
                continue
            assert result is None or at(result, N=n, S=s) == np.broadcast_shapes((a,), (b,))[0]


def test_broadcast_with_a_table_sliced_to_the_length() -> None:
    part = slice_size(512, 0, S, 1)
    assert broadcast_dim(S, part) is S and broadcast_dim(part, S) is S
    assert broadcast_dim(N, part) is None
    one = slice_size(1, 0, S, 1)
    assert broadcast_dim(S, one) is None  # S = 0 would give 0, S = 2 gives 2 from 1
    assert broadcast_dim(2, 3) is False
