"""Rules that refuse: what they find, what they say, and what is wrong with one is said with its place."""

from __future__ import annotations

import time
from typing import Any

import pytest

from geoc.ir.core import Model
from geoc.ir.errors import TextError, UsageError
from geoc.ir.infer import infer_graph
from geoc.ir.rewrite import RewriteDriver, find_matches, load_rules, native, parse_rules, refusals
from geoc.ir.rewrite.python_rule import const, is_const, rule
from geoc.ir.text import parse_model


def model_of(body: str, head: str = "graph @main(%x: f32[2,3], %k: i64[1]) -> (%y)") -> Model:
    model = parse_model(f'geoc 1\nopset "" 21\nopset "com.microsoft" 1\n\n{head} {{\n{body}\n}}\n')
    for graph in model.roots():
        infer_graph(graph)
    return model


def refused(rules: str, body: str, **options: str) -> list[tuple[str, str, str]]:
    """(output of the node, name of the rule, reason) of each refusal."""
    found = refusals(parse_rules(rules), model_of(body, **options))
    return [(each.node.outputs[0].hint, each.rule.name, each.reason) for each in found]


def row(text: str, name: str = "r", head: str = "") -> str:
    return f'rule {name} {head} {{\n"""d."""\n{text}\n}}\n'


AXES = row('match %y = ReduceSum|ReduceMax(%x, %axes) {*} where not const(%axes) refuse "axes must be constant"')


def test_a_condition_about_an_operand_wants_it_to_be_there() -> None:
    body = """
  weight %a: i64[1] = [1]
  %p = ReduceSum(%x, %k)
  %q = ReduceMax(%x, %a)
  %y = ReduceSum(%x)"""
    assert refused(AXES, body) == [("p", "r", "axes must be constant")]
    absent = AXES.replace("%axes)", "%axes?)", 1)  # what is absent stops no rule: this one says something else
    assert [name for name, _, _ in refused(absent, body)] == ["p", "y"]
    asked = absent.replace("where not", "where has(%axes), not")
    assert [name for name, _, _ in refused(asked, body)] == ["p"]


def test_regions_are_looked_into_and_may_be_refused_themselves() -> None:
    body = """
  %c = Cast(%k) {to = 9}
  %s = Squeeze(%c)
  %y: f32[*] = If(%s)
    with then_branch = () -> (%t) {
      %t = ReduceSum(%x, %k)
    }
    with else_branch = () -> (%e) {
      %e = Neg(%x)
    }"""
    assert refused(AXES, body) == [("t", "r", "axes must be constant")]
    flow = row('match %y = If|Loop|Scan:$op(%a...) {*} refuse "no {$op}"')
    assert refused(flow + AXES.replace("rule r", "rule s"), body) == [("y", "r", "no If"), ("t", "s", "axes must be constant")]


def test_the_first_in_order_gives_the_reason() -> None:
    rules = row('match %y = Relu(%x) where rank(%x) == 2 refuse "one"', "one")
    rules += row('match %y = Relu|Neg(%x) where rank(%x) == 2 refuse "two"', "two", ": benefit 1")
    assert refused(rules, "  %r = Relu(%x)\n  %y = Neg(%r)") == [("r", "two", "two"), ("y", "two", "two")]


def test_what_is_not_proven() -> None:
    body = "  %y = Neg(%x)"
    wide = row('match %y = Neg(%x) where dim(%x, 0) > 8 refuse "wide"')
    open_ = row('match %y = Neg(%x) where not proven(dim(%x, 0) <= 8) refuse "wide"')
    for shape, known, unknown in (("f32[2,3]", 0, 0), ("f32[9,3]", 1, 1), ("f32[N,3]", 0, 1), ("f32[*]", 0, 1)):
        head = f"graph @main(%x: {shape}) -> (%y)"
        assert len(refused(wide, body, head=head)) == known
        assert len(refused(open_, body, head=head)) == unknown, shape


def test_any_operator_and_any_operand() -> None:
    half = row('match %y = _:$op(%a..., %v: f16, %b...) {*} refuse "no {$op} of f16"')
    head = "graph @main(%x: f32[2], %h: f16[2]) -> (%y)"
    body = """
  weight %top: f16[] = 6.0
  %n = Neg(%x)
  %c = Clip(%h, none, %top)
  %o = my.own::Thing(%n, %c)
  %y = com.microsoft::Gelu(%x)"""
    assert refused(half, body, head=head) == [("c", "r", "no Clip of f16"), ("o", "r", "no my.own::Thing of f16")]
    result = row('match %y: f16 = _(%a...) {*} refuse "f16"')
    assert [name for name, _, _ in refused(result, body, head=head)] == ["c"]


def test_all_but_some_operators() -> None:
    rules = row('match %y = _:$op(%a...) {*} where not ($op in {"Relu", "Neg"}) refuse "no layer for {$op}"')
    assert refused(rules, "  %a = Relu(%x)\n  %b = Erf(%a)\n  %y = Neg(%b)") == [("b", "r", "no layer for Erf")]


def test_uses_elsewhere_and_results_that_it_does_not_name_are_no_hindrance() -> None:
    rules = row('match %y = Relu(Neg(%x)) refuse "fused"', "inner") + row(
        'match %y = MaxPool(%x) {*} where other_uses(%y) > 0 refuse "indices"', "indices"
    )
    head = "graph @main(%x: f32[1,1,4,4]) -> (%y, %i, %n)"
    body = "  %n = Neg(%x)\n  %r = Relu(%n)\n  %y, %i = MaxPool(%r) {kernel_shape = [2, 2]}"
    assert refused(rules, body, head=head) == [("r", "inner", "fused"), ("y", "indices", "indices")]
    alone = body.replace("%y, %i = MaxPool", "%y, %j = MaxPool").replace("%n)", "%n)")
    assert [n for n, _, _ in refused(rules, alone + "\n  %i = Neg(%y)", head=head)] == ["r"]
    split = row('match %y = Split(%x) {*} refuse "parts"')
    assert [n for n, _, _ in refused(split, "  %y, %z = Split(%x) {axis = 0, num_outputs = 2}")] == ["y"]


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("{$t} of rank {R}", "f32 of rank 2"),
        ("a {{brace}} and {$m}", "a {brace} and cubic"),
        ("{D} elements", "[1, 1, 4, 4] elements"),
        ("{%x}", "%x: f32[1,1,4,4]"),
    ],
)  # fmt: skip
def test_reasons_tell_what_was_found(reason: str, said: str) -> None:
    rules = row(
        'match %y = Resize(%x, _, %s) {mode = $m, *}\n'
        f'where $t = dtype(%s), R = rank(%s) + 1, D = shape(%x)\nrefuse "{reason}"'
    )
    head = "graph @main(%x: f32[1,1,4,4]) -> (%y)"
    body = '  weight %s: f32[4] = [1.0, 1.0, 2.0, 2.0]\n  %y = Resize(%x, none, %s) {mode = "cubic"}'
    assert refused(rules, body, head=head) == [("y", "r", said)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('match %y = Relu(%x) refuse "no {$mode}"', "2:28: $mode is not bound"),
        ('match %y = Clip(%x, %lo?, _) refuse "{%lo} is wrong"', "2:37: %lo may be absent here"),
        ('match %y = Relu(%x) refuse "no {mode!r}"', "2:28: a reason names what it tells in braces"),
        ('match %y = Relu(%x) refuse "no {$a + 1}"', "2:28: a reason names what it tells in braces"),
        ('match %y = Relu(%x) refuse "no {"', "2:28: a reason names what it tells in braces"),
        ('match %y = Relu(%x) %z = Neg(%x) refuse "both"', "2:21: a rule that refuses has one root; %z is another"),
        ("match %y = Relu(%x) refuse %x", "2:28: unexpected '%x', expected a string"),
        ("match %y = Relu(%x)", "3:1: unexpected '}'"),
        ('match %y = _(%x) refuse "x"', "2:12: _(...) is any operator, whose attributes are not known: write {*}"),
        ('match %y = _(%x) {axis = 1, *} refuse "x"', "2:12: _(...) is any operator, whose attributes are not known"),
        ("match %y = _(%x) {*} rewrite %y = %x", "2:12: _(...) is any operator, which can be refused and not rewritten"),
        ("match %y = If(%c) {*} rewrite %y = %c", "2:12: If has subgraphs: rules cannot match or build it"),
        ('match %y = Relu(%x) where proven() refuse "x"', "2:27: proven(...) takes one condition"),
        ('match %y = Relu(%x) where provn(rank(%x) == 2) refuse "x"', "2:27: unknown function 'provn'; did you mean proven"),
    ],
)
def test_faults_have_their_place(text: str, said: str) -> None:
    with pytest.raises(TextError) as caught:
        parse_rules(f'rule r {{ """d."""\n{text}\n}}', "limits.rules")
    assert str(caught.value).startswith(f"limits.rules:{said}")


@pytest.mark.parametrize("header", ["shared", "expands"])
def test_headers_about_a_right_side_say_nothing(header: str) -> None:
    with pytest.raises(TextError, match=f"a rule that refuses builds nothing: '{header}' says nothing about it"):
        parse_rules(row('match %y = Relu(%x) refuse "x"', head=f": {header}"))


def test_shadowing_is_among_rules_of_one_kind() -> None:
    general, special = 'match %y = Relu|Neg(%x) refuse "x"', 'match %y = Relu(%x) refuse "y"'
    with pytest.raises(TextError, match="rule 's' can never fire"):
        parse_rules(row(general) + row(special, "s"))
    assert len(parse_rules(row(special, "s") + row(general))) == 2
    assert len(parse_rules(row(general) + row("match %y = Relu(Relu(%x)) rewrite %y = Relu(%x)", "s"))) == 2


def test_they_take_no_part_in_rewriting_and_can_be_looked_for() -> None:
    rules = parse_rules(row('match %y = Relu(%x) refuse "x"') + row("match %y = Neg(Neg(%x)) rewrite %y = %x", "s"))
    model = model_of("  %a = Relu(%x)\n  %b = Neg(%a)\n  %y = Neg(%b)")
    assert RewriteDriver(rules).run(model) == 1
    assert [each.rule.name for each in refusals(rules, model)] == ["r"]
    assert [match.nodes[0].op.key for match in find_matches(rules.by_name["r"], model)] == ["Relu"]


def test_the_cache_keeps_them(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "limits.rules"
    path.write_text(AXES + row('match %y = _:$op(%a...) {*} where not ($op in {"Neg"}) refuse "no {$op}"', "s"))
    model = model_of("  %y = ReduceSum(%x, %k)")
    for _ in range(2):
        rules = load_rules(path)
        assert [(r.refuses, r.entries[0].everywhere) for r in rules] == [(True, False), (True, True)]
        assert [each.reason for each in refusals(rules, model)] == ["axes must be constant"]


@native
def refuse_is_long(x: Any) -> bool:
    """A native beside the rows of this test."""
    return x.shape is not None and x.shape[-1] == 3


def test_natives_decide_as_they_do_elsewhere() -> None:
    rules = row('match %y = _(%a..., %v, %b...) {*} where refuse_is_long(%v) refuse "long"')
    assert [n for n, _, _ in refused(rules, "  %a = Neg(%k)\n  %y = Neg(%x)")] == ["y"]


def test_kinds_of_nodes_are_told_apart_by_all_that_conditions_ask() -> None:
    """What holds of a node's types is asked once for all nodes of the kind: constness and shapes are part of it."""
    rules = row('match %y = _(%a..., %v, %b...) {*} where const(%v), numel(%v) > 2 refuse "large"')
    body = """
  weight %w: f32[3] = [1.0, 2.0, 3.0]
  weight %s: f32[1] = [1.0]
  %a = Add(%x, %w)
  %b = Add(%x, %s)
  %c = Add(%x, %x)
  %y = Add(%x, %w)"""
    assert [n for n, _, _ in refused(rules, body)] == ["a", "y"]
    least = row('match %y = _(%a..., %v, %b...) {*} where min(%v) < 0 refuse "negative"')
    assert [n for n, _, _ in refused(least, body.replace("[1.0]", "[-1.0]"))] == ["b"]


def test_least_and_greatest_of_lists_and_constants() -> None:
    rules = row(
        'match %y = Conv(%x, %w) {strides = $s, pads = $p, *} where has($s) and max($s) > 2 or has($p) and min($p) < 0 refuse "{$s}"'
    )
    head = "graph @main(%x: f32[1,1,9,9], %w: f32[1,1,2,2]) -> (%y)"
    body = "  %a = Conv(%x, %w) {strides = [3, 1]}\n  %b = Conv(%x, %w) {strides = [2, 2]}\n  %y = Conv(%x, %w)"
    assert [(n, r) for n, _, r in refused(rules, body, head=head)] == [("a", "[3, 1]")]


def test_in_python() -> None:
    @rule()
    class Axes:
        """Axes must be constant."""

        def match(p, x, axes):
            return p.ReduceSum(x, axes, others=True)

        def where(axes):
            return ~is_const(axes)

        refuse = "{%axes} is not constant"

    @rule()
    class Weights:
        """No constant is added."""

        def match(p, x, w: const):
            return p.Add(x, w)

        refuse = "a constant is added"

    model = model_of("  weight %w: f32[3] = splat(1)\n  %a = Add(%x, %w)\n  %y = ReduceSum(%a, %k)")
    from geoc.ir.rewrite import RuleSet

    assert [e.reason for e in refusals(RuleSet([Axes, Weights]), model)] == ["a constant is added", "%k: i64[1] is not constant"]
    with pytest.raises(UsageError, match="needs the functions match and rewrite, or match and a text refuse"):

        @rule()
        class Neither:
            """Nothing."""

            def match(p, x):
                return p.Relu(x)


def test_time_grows_with_the_nodes() -> None:
    rules = parse_rules(
        row('match %y = _(%a..., %v: f64, %b...) {*} refuse "x"', "one")
        + row('match %y = _:$op(%a...) {*} where not ($op in {"Relu", "Add"}) refuse "x"', "two")
        + AXES
    )

    def seconds(count: int) -> float:
        lines = "\n".join(f"  %v{i + 1} = Relu(%v{i})\n  %w{i} = Add(%v{i}, %v{i + 1})" for i in range(count))
        model = model_of(f"  %v0 = Relu(%x)\n{lines}\n  %y = Relu(%v{count})")
        best = 9.0
        for _ in range(5):
            begun = time.perf_counter()
            assert refusals(rules, model) == []
            best = min(best, time.perf_counter() - begun)
        return best

    small, large = seconds(4000), seconds(16000)  # neither fits the processor's cache
    assert large < 8 * small, (small, large)
