"""Natives of half.rules: which products are those of an attention, and how far a head is from 16."""

from __future__ import annotations

from ...ir.core import Value
from ...ir.dims import DimLike
from ...ir.rewrite import native
from ...ir.rewrite.instances import Pick, instance_for
from ...passes.quantize.attentions import scores_behind

_HEAD = 16
_FARTHEST = 8  # nodes between the scores and the probabilities
_BETWEEN = frozenset(("Add", "Mul", "Div", "Where", "Tanh", "Identity", "Softmax", "IsNaN"))


@native
def up_to_16(size: DimLike) -> int | None:
    """What a head lacks; None where its size is unknown, or 16 and more."""
    return _HEAD - size if isinstance(size, int) and size < _HEAD else None


@native
def are_probabilities(value: Value) -> bool:
    """True for a softmax of scores that are a product of two values, neither of which is constant."""
    return scores_behind(value) is not None


@native
def are_scores(value: Value) -> bool:
    """True for a product of two values on which a softmax, and another product, depend."""
    reached = [value]
    for each in reached:  # grows while we go
        for user, index in each.uses:
            if user.op.key == "MatMul" and index == 0 and scores_behind(each) is value.producer:
                return True
            if user.op.key in _BETWEEN and len(reached) < _FARTHEST:
                reached += user.outputs
    return False


@instance_for("scores_of_16")
def small_heads(pick: Pick) -> str:
    """An attention with heads of a few numbers, with a mask and without."""
    size, scores = pick(4, 8, 15), pick("%s", "%a")
    return f"""
    graph @main(%q: f16[1,2,3,{size}], %k: f16[1,2,{size},5], %v: f16[1,2,5,16], %m: f16[5]) -> (%y) {{
      %s = MatMul(%q, %k)
      %a = Add(%s, %m)
      %p = Softmax({scores}) {{axis=3}}
      %y = MatMul(%p, %v)
    }}"""


@instance_for("values_of_16")
def small_values(pick: Pick) -> str:
    """As `small_heads`, where values have fewer numbers than keys."""
    size = pick(4, 8, 15)
    return f"""
    graph @main(%q: f16[1,2,3,16], %k: f16[1,2,16,5], %v: f16[1,2,5,{size}]) -> (%y) {{
      %s = MatMul(%q, %k)
      %p = Softmax(%s) {{axis=3}}
      %y = MatMul(%p, %v)
    }}"""
