"""Structural equality: what counts, what does not, and how a difference is told."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from geoc.ir.attributes import AttrRef, EmptyList, SparseTensor
from geoc.ir.equal import difference, equal, same_attribute, same_tensor, structural_hash
from geoc.ir.tensor import MappedFile, Tensor
from geoc.ir.text import parse_model
from geoc.ir.types import F16, F32, I64, tensor_type

BASE = """geoc 1
opset "" 20
metadata "k" "v"
graph @main(%x: f32[B,?a], %k: i64[] = 3) -> (%y: f32[B,?a] as "out", %z: f32[?]) {
  weight %w: f32[2] = [1.0, 2.0]
  %a: f32[B,?a] = Add(%x, %w)  !"loc"
  %b: f32[B,?a] = Sub(%a, %x)
  %z: f32[?] = my::Op(%b, none) {n=1, f=0.5, t=tensor(i64[1] = [5])}
  %y: f32[B,?a] = If(%k)
    with then_branch = () -> (%t) {
      %t: f32[B,?a] = LeakyRelu(%a)
    }
    with else_branch = () -> (%b) {
    }
}
function "d" "f" {alpha=1.0} (%x: ?) -> (%y) {
  %y: ? = LeakyRelu(%x) {alpha=@alpha:float}
}
"""

# One change each: the new text, and a part of the sentence that tells it.
DIFFERENT = [
    (('"v"', '"w"'), "metadata differ"),
    (('%x: f32[B,?a]', '%x: f32[B,?a] as "q"'), "graph input names differ"),
    (('as "out"', 'as "other"'), "output names differ"),
    (("%x: f32[B,?a]", "%x: f16[B,?a]"), "input 'x': the types differ"),
    (("%x: f32[B,?a]", "%x: f32[N,?a]"), "input 'x': the types differ"),
    (("i64[] = 3", "i64[] = 4"), "input 'k': the default values differ"),
    (("i64[] = 3", "i64[]"), "input 'k': the default values differ"),
    (("Add(", "Mul("), "the operators differ: %a"),
    (("Sub(%a, %x)", "Sub(%x, %a)"), "operand 0 differs: %b"),
    (("Sub(%a, %x)", "Sub(%a, %a)"), "operand 1 differs: %b"),
    (("Sub(%a, %x)", "Sub(%a)"), "numbers of operands differ: %b"),
    (("(%b, none)", "(%b, %x)"), "operand 1 is absent in one"),
    (("[1.0, 2.0]", "[1.0, 2.5]"), "operand 1 differs: %a"),
    (("n=1", "n=2"), "attribute 'n' differs: %z"),
    (("n=1", "n=1.0"), "attribute 'n' differs"),
    (("f=0.5, ", ""), "attribute 'f' differs"),
    (("[5]", "[6]"), "attribute 't' differs"),
    (("LeakyRelu(%a)", "LeakyRelu(%a) {alpha=0.5}"), "attribute 'alpha' differs: %t"),
    (("LeakyRelu(%a)", "LeakyRelu(%b)"), "operand 0 differs: %t"),
    (("else_branch = () -> (%b)", "else_branch = () -> (%a)"), "is a different value"),
    (("with else_branch", "with other"), "the regions differ: %y"),
    (("%b: f32[B,?a]", "%b: f32[B,?c]"), "the types of output 0 differ: %b"),
    (("  %z: f32[?]", "  %new: ? = Neg(%x)\n  %z: f32[?]"), "the operators differ"),
    (("    with else", "    # comment\n    with else"), None),
    (("%x: ?", "%x: f32[]"), "function d::f: graph input 'x': the types differ"),
    (("{alpha=1.0}", "{alpha=2.0}"), "function d::f: the defaults of attribute 'alpha' differ"),
    (("@alpha:float", "@alpha:int"), "function d::f: attribute 'alpha' differs"),
    (('"d" "f"', '"d" "g"'), "functions differ"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), DIFFERENT, ids=[f"{a}->{b}" for (a, b), _ in DIFFERENT])
def test_one_change(change: tuple[str, str], words: str | None) -> None:
    assert change[0] in BASE
    ours, theirs = parse_model(BASE), parse_model(BASE.replace(*change, 1))
    found = difference(ours, theirs)
    if words is None:
        assert found is None
        assert structural_hash(ours) == structural_hash(theirs)
    else:
        assert found is not None and words in found
        assert not equal(theirs, ours)
        assert structural_hash(ours) != structural_hash(theirs)


# Changes that do not change the meaning, and whether a strict comparison sees them.
SAME = [
    ('!"loc"', '!"elsewhere"', True),
    ("%a", "%renamed", True),
    ("%t", "%renamed", True),
    ("?a", "?other", False),
    ("@main", "@other", True),
    ('opset "" 20', 'opset "" 21', True),
    ("n=1, f=0.5", "f=0.5, n=1", False),
    ("LeakyRelu(%a)", "LeakyRelu(%a) {alpha=0.01}", False),
    ("(%b) {", '(%b as "anything") {', True),
]


@pytest.mark.parametrize(("old", "new", "strict"), SAME)
def test_what_does_not_count(old: str, new: str, strict: bool) -> None:
    assert old in BASE
    ours, theirs = parse_model(BASE), parse_model(BASE.replace(old, new))
    assert difference(ours, theirs) is None
    assert structural_hash(ours) == structural_hash(theirs)
    assert (difference(ours, theirs, strict=True) is not None) is strict


def test_order_of_regions_does_not_count() -> None:
    ours, theirs = parse_model(BASE), parse_model(BASE)
    node = next(n for n in theirs.graph if n.regions)
    node.regions = dict(reversed(node.regions.items()))
    assert equal(ours, theirs)
    assert structural_hash(ours) == structural_hash(theirs)


def test_unknown_dimensions_correspond_one_to_one() -> None:
    def model(shapes: str) -> object:
        return parse_model(f"geoc 1\ngraph (%x: f32[{shapes}]) -> () {{\n}}\n").graph

    assert equal(model("?a,?b,?a"), model("?b,?a,?b"))  # type: ignore[arg-type]
    for other in ("?a,?b,?b", "?a,?a,?a", "?,?,?", "?a,N,?a", "?a,1,?a"):
        assert not equal(model("?a,?b,?a"), model(other))  # type: ignore[arg-type]
        assert not equal(model(other), model("?a,?b,?a"))  # type: ignore[arg-type]
    assert equal(model("2*?a+?b,?b"), model("2*?z+?y,?y"))  # type: ignore[arg-type]
    assert not equal(model("2*?a+?b,?b"), model("2*?z+?y,?z"))  # type: ignore[arg-type]


def test_a_statement_more() -> None:
    longer = BASE.replace("  %y: f32[B,?a] = If", "  %q: ? = Neg(%x)\n  %y: f32[B,?a] = If")
    more = "geoc 1\ngraph (%x: ?) -> () {\n  %y: ? = Neg(%x)\n}\n"
    less = "geoc 1\ngraph (%x: ?) -> () {\n}\n"
    assert "operators differ" in str(difference(parse_model(BASE), parse_model(longer)))
    assert difference(parse_model(less), parse_model(more)) == "only the second has the statement: %y: ? = Neg(%x)"
    assert difference(parse_model(more), parse_model(less)) == "only the first has the statement: %y: ? = Neg(%x)"


def test_one_constant_or_two_equal_ones() -> None:
    text = (
        "geoc 1\ngraph () -> (%y) {{\n  weight %a: f32[] = 1\n  weight %b: f32[] = 1\n"
        "  %y: ? = Add({}, {})\n}}\n"
    )
    assert equal(parse_model(text.format("%a", "%a")), parse_model(text.format("%a", "%b")))


def test_attributes_by_kind_and_bits() -> None:
    nan, other_nan = math.nan, float(np.array([0x7FC00001], "<u4").view("<f4")[0])
    values = [
        1, 1.0, 0.0, -0.0, nan, other_nan, "1", b"1", (), (1,), (1.0,), ("1",), EmptyList("ints"),
        EmptyList("floats"), AttrRef("a", "int"), AttrRef("a", "float"), AttrRef("b", "int"),
        Tensor.of([1], I64), Tensor.of([1], F32), Tensor.of([2], I64), tensor_type(F32, ()),
        tensor_type(F32, None), SparseTensor(Tensor.of([1], F32), Tensor.of([1], I64), (3,)),
        SparseTensor(Tensor.of([1], F32), Tensor.of([1], I64), (4,)),
    ]  # fmt: skip
    for i, a in enumerate(values):
        for j, b in enumerate(values):
            assert same_attribute(a, b) is (i == j), (a, b)
    assert same_attribute(Tensor.of([1], I64), Tensor.of([1], I64))
    assert same_attribute((nan, -0.0), (float("nan"), -0.0))


def test_spans_of_one_file_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.data"
    with open(path, "wb") as file:
        file.truncate(1 << 32)  # a hole of 4 GiB: reading it would take seconds
    first, second = MappedFile(path), MappedFile(path)
    a = Tensor(F16, (1 << 31,), file=first)
    assert same_tensor(a, Tensor(F16, (1 << 31,), file=second))
    assert not same_tensor(a, Tensor(F32, (1 << 30,), file=second))


def test_only_like_compares_with_like() -> None:
    model = parse_model(BASE)
    with pytest.raises(TypeError):
        equal(model, model.graph)


def test_regions_compare_with_their_surroundings() -> None:
    model = parse_model(BASE)
    node = next(n for n in model.graph if n.regions)
    then, other = node.regions["then_branch"], node.regions["else_branch"]
    assert equal(then, then)
    assert not equal(then, other)
