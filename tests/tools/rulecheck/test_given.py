"""What is made for natives that look into whole computations: it is varied, and mistakes in the rules that it is for are found."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import onnx.reference
import pytest

from geoc.ir.rewrite import parse_rules
from geoc.ir.types import BOOL, F32
from geoc.lowering.backend import all_rule_sets
from geoc.lowering.onnx import to_proto
from geoc.passes.registry import Registry
from geoc.tools.rulecheck.choices import Choices, Infeasible
from geoc.tools.rulecheck.given import graphs, producers
from geoc.tools.rulecheck.given.masks import computed_mask
from geoc.tools.rulecheck.report import line_of
from geoc.tools.rulecheck.run import check_rules, rules_to_check
from geoc.tools.rulecheck.sketch import Sketch
from geoc.tools.rulecheck.structure import structure
from geoc.tools.rulecheck.values import feeds_for

RULES = {rule.name: (owner, rule) for owner, rule in rules_to_check(Registry(all_rule_sets()), ())}

# Rule, what its text says, what it is made to say.
PLANTED = {
    "padding turned round": ("mask_of_padding", "Cast(%g) {to = bool}", "Not(Cast(%g) {to = bool})"),
    "the mask where all is hidden": (
        "mask_of_positions_with_padding",
        "Where(%test, %bias, tensor($hidden, dtype(%c)))",
        "Where(%test, tensor($hidden, dtype(%c)), %bias)",
    ),
    "tables that are not doubled": ("rotary_wide", "doubled(%cos, $kind), doubled(%sin, $kind),", ""),
    "a wrong sign": ("rotary_products_front", "RotaryEmbedding(%q, %c3, %s3)", "RotaryEmbedding(%q, %c3, Neg(%s3))"),
    "pairs forgotten": ("rotary_front_packed", "interleaved = $pairs, num_heads = $heads, rotary", "num_heads = $heads, rotary"),
    "heads before the batch": ("attention_3d", "Concat([-1, $h], Shape(%key)", "Concat([$h, -1], Shape(%key)"),
    "the scale forgotten": ("attention_scale", "Mul(%q, $s)", "Mul(%q, 2.0)"),
    "the bias in other steps": ("qlinear_conv", "$bias = added(%b?, %xs, %ws)", "$bias = added(%b?, %xs, %xs)"),
    "channels of another axis": ("qlinear_matmul", "$columns = axis_for(%bs, rank(%b) - 1)", "$columns = axis_for(%bs, 0)"),
    "the second scale for the first part": ("qlinear_concat", "DequantizeLinear(%a, %as, %az)", "DequantizeLinear(%a, %bs, %az)"),
    "what the zero point leaves over forgotten": ("matmul_with_zero_point", "Mul(ReduceSum(%x, [-1]), $rest)", "0.0"),
    "zero left out of the range": ("rounded_by_range", "Relu(ReduceMax(%x) {keepdims = 0})", "ReduceMax(%x) {keepdims = 0}"),
    "means for what is nearest": ("resized_and_rounded_again", 'mode = "nearest"', 'mode in {"nearest", "linear"}'),
    "Relu of something else": ("relu_before_rounding", "QuantizeLinear(Relu(%x), %s, %z)", "QuantizeLinear(Abs(%x), %s, %z)"),
}  # fmt: skip


@pytest.mark.parametrize("what", PLANTED)
def test_a_mistake_planted_in_the_library_is_found(what: str) -> None:
    name, said, wrong = PLANTED[what]
    owner, rule = RULES[name]
    text = Path(rule.source).read_text()
    begin = text.index(f"rule {name} ")
    end = text.find("\nrule ", begin)
    own = text[begin : end if end > 0 else len(text)]
    assert said in own
    changed = parse_rules(text.replace(own, own.replace(said, wrong)), rule.source).by_name[name]
    (result,) = check_rules([(owner, changed)], count=1)
    assert result.fault is not None and result.fault.kind == "values", line_of(result)


def test_all_of_it_is_for_natives_and_rules_that_exist() -> None:
    asked = {place for _, rule in RULES.values() for places in structure(rule).asked.values() for place in places}
    assert asked >= producers().keys()
    assert RULES.keys() >= graphs().keys()


@pytest.mark.parametrize("dtype", [BOOL, F32])
def test_masks_are_varied(dtype) -> None:  # type: ignore[no-untyped-def]
    shape = (3, 1, 4, 5)
    texts, rows = set(), set()
    for seed in range(40):
        sketch = Sketch(Choices(random.Random(seed)))
        try:
            mask = computed_mask(sketch, dtype, shape)
        except Infeasible:
            continue
        instance = sketch.instance({mask: "m"}, [mask])
        assert mask.shape == shape and mask.dtype is dtype
        texts.add(tuple(node.op.key for node in instance.model.graph))
        shapes = {n: v.shape for n, v in zip(instance.model.graph.input_names, instance.model.graph.inputs)}
        feeds = feeds_for(instance.model, instance.fills, "masked", {}, shapes)
        (found,) = onnx.reference.ReferenceEvaluator(to_proto(instance.model)).run(None, feeds)
        rows.update(np.count_nonzero(found if dtype is BOOL else found == 0, axis=-1).reshape(-1).tolist())
    assert len(texts) >= 20  # different graphs
    assert {0, 1, 5} <= rows  # rows in which no key is seen, one key, all keys
