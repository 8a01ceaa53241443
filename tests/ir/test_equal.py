"""Structural equality: what counts, what does not, and how a difference is told."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from geoc.ir.core import AttrRef, EmptyList, SparseTensor
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
    (('%x: f32[B,?a]', '%q: f32[B,?a]'), "graph input names differ"),
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
    assert BASE.count(change[0]) == 1 or change[0] in ("%x: f32[B,?a]", "%b: f32[B,?a]", '"v"', "%x: ?")
    ours, theirs = parse_model(BASE), parse_model(BASE.replace(*change, 1).replace("(%x, %w)", "(%q, %w)")
                                                  if change[1].startswith("%q") else BASE.replace(*change, 1)) \
        if not change[1].startswith("%q") else (parse_model(BASE), parse_model(BASE.replace("%x", "%q", 4)))
    found = difference(ours, theirs)
    if words is None:
        assert found is None
        assert structural_hash(ours) == structural_hash(theirs)
    else:
        assert found is not None and words in found
        assert not equal(theirs, ours)
        assert structural_hash(ours) != structural_hash(theirs)
