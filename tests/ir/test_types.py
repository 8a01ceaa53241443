"""Element types against onnx's own tables; types of values are interned and combine soundly."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from geoc.ir.dims import DimLike, fresh, symbol
from geoc.ir.types import (
    BY_NAME,
    BY_ONNX,
    BY_TYPE_STR,
    DTYPES,
    F16,
    F32,
    I64,
    STR,
    DType,
    Shape,
    TensorType,
    Type,
    is_refinement,
    join,
    map_type,
    merge,
    opaque_type,
    optional_type,
    render_type,
    sequence_type,
    sparse_tensor_type,
    tensor_type,
    type_str,
)
from geoc.ir.unknowns import dims_of, substitute_type, unknowns_of


def test_every_element_type_of_onnx() -> None:
    theirs = {number: name for name, number in TensorProto.DataType.items() if number}
    assert {d.onnx for d in DTYPES} == set(theirs)
    for dtype in DTYPES:
        assert f"tensor({theirs[dtype.onnx].lower()})" == dtype.type_str
        assert BY_NAME[dtype.name] is BY_ONNX[dtype.onnx] is BY_TYPE_STR[dtype.type_str] is dtype


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_numpy_types_and_sizes(dtype: DType) -> None:
    assert dtype.numpy == helper.tensor_dtype_to_np_dtype(dtype.onnx)
    if dtype is not STR:
        tensor = onnx.numpy_helper.from_array(np.zeros(13, dtype=dtype.numpy))
        assert tensor.data_type == dtype.onnx
        assert dtype.nbytes(13) == len(tensor.raw_data)


def test_types_are_interned() -> None:
    b = symbol("B")
    assert tensor_type(F32, (b, 3)) is tensor_type(F32, (symbol("B"), 3))
    assert tensor_type(F32, None) is not tensor_type(F32, ())
    assert tensor_type(F32, (fresh(),)) is not tensor_type(F32, (fresh(),))
    x = tensor_type(F32, (b,))
    made = [sequence_type(x), optional_type(x), map_type(I64, x), sparse_tensor_type(F32, (b,)), opaque_type("", "x")]
    again = [sequence_type(x), optional_type(x), map_type(I64, x), sparse_tensor_type(F32, (b,)), opaque_type("", "x")]
    assert all(p is q for p, q in zip(made, again))
    assert len(set(made)) == len(made)


def test_spelling() -> None:
    b = symbol("B")
    x = tensor_type(F32, (b * 2, 3))
    cases: list[tuple[Type | None, str, str | None]] = [
        (x, "f32[2*B,3]", "tensor(float)"),
        (tensor_type(F16, None), "f16[*]", "tensor(float16)"),
        (tensor_type(F16, ()), "f16[]", "tensor(float16)"),
        (sequence_type(x), "seq(f32[2*B,3])", "seq(tensor(float))"),
        (optional_type(sequence_type(x)), "opt(seq(f32[2*B,3]))", "optional(seq(tensor(float)))"),
        (map_type(I64, tensor_type(STR, ())), "map(i64,str[])", "map(int64, tensor(string))"),
        (sparse_tensor_type(F32, (3,)), "sparse f32[3]", "sparse_tensor(float)"),
        (opaque_type("", "a b"), 'opaque("","a b")', None),
        (sequence_type(None), "seq(?)", None),
        (None, "?", None),
    ]
    for type_, text, constraint in cases:
        assert render_type(type_) == text
        assert type_str(type_) == constraint


A, B, U, V = symbol("A"), symbol("B"), fresh(), fresh()
SHAPES: list[Shape | None] = [None, (), (2,), (3,), (A,), (B,), (U,), (V,), (A * 2,), (2, A), (U, 3), (A, 3)]
TYPES: list[Type | None] = [
    None, *(tensor_type(d, s) for d in (F32, I64) for s in SHAPES),
    sequence_type(tensor_type(F32, (A,))), sequence_type(None), optional_type(tensor_type(F32, (2,))),
]  # fmt: skip


def says(type_: Type | None) -> list[tuple[str, object]]:
    """What a type claims, fact by fact; unknown dimensions claim nothing."""
    if not isinstance(type_, TensorType):
        return [] if type_ is None else [("type", type_)]
    facts: list[tuple[str, object]] = [("dtype", type_.dtype)]
    if type_.shape is not None:
        facts.append(("rank", len(type_.shape)))
        facts += [(f"dim {i}", d) for i, d in enumerate(type_.shape) if isinstance(d, int) or not d.is_unknown]
    return facts


def test_refinement_is_a_partial_order_with_unknown_at_the_bottom() -> None:
    for a in TYPES:
        assert is_refinement(a, a) and is_refinement(a, None)
        assert a is None or not is_refinement(None, a)
    for a, b in itertools.product(TYPES, TYPES):
        if is_refinement(a, b) and isinstance(a, TensorType) and isinstance(b, TensorType):
            ours, theirs = dict(says(a)), dict(says(b))
            assert all(k in ours and (ours[k] == v or isinstance(ours[k], int)) for k, v in theirs.items())


def test_merge_says_what_both_say() -> None:
    for a, b in itertools.product(TYPES, TYPES):
        merged = merge(a, b)
        assert merge(merged, b) is merged
        assert is_refinement(merged, a)
        if is_refinement(b, a):
            assert is_refinement(merged, b)


def test_join_covers_both() -> None:
    for a, b in itertools.product(TYPES, TYPES):
        joined = join(a, b)
        if isinstance(joined, TensorType):
            assert set(says(joined)) <= set(says(a)) & set(says(b))
        assert joined is a or a is not b


def test_unknowns_inside_types() -> None:
    nested = optional_type(sequence_type(tensor_type(F32, (U, A, V * U + 1))))
    assert list(dims_of(nested)) == [U, A, V * U + 1]
    names: list[str] = [d.atom.name for d in (U, U, V) if d.atom]
    assert unknowns_of(nested) == [(names[0], True), (names[1], False), (names[2], False)]
    replaced: dict[str, DimLike] = {names[0]: 5, names[2]: B}
    assert substitute_type(nested, replaced.get) is optional_type(
        sequence_type(tensor_type(F32, (5, A, B * 5 + 1)))
    )
    for type_ in TYPES:
        assert substitute_type(type_, lambda name: None) is type_
