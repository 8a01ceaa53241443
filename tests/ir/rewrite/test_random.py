"""The compiled matcher against a plain one that enumerates everything, on random patterns and graphs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from geoc.ir.builder import Builder
from geoc.ir.core import Graph, Model, Node, Value
from geoc.ir.errors import TextError
from geoc.ir.rewrite import Rule, RuleSet, explain, find_matches, parse_rules
from geoc.ir.rewrite.syntax import Call, Capture, Either, Literal, Syntax, Var
from geoc.ir.types import F32, tensor_type
from geoc.ir.verify import verify

UNARY, BINARY = ["Neg", "Exp", "Abs"], ["Add", "Sub", "Mul"]


def random_term(rng: random.Random, depth: int, names: list[str]) -> str:
    kind = rng.random()
    if depth == 0 or kind < 0.2:
        if rng.random() < 0.2:
            return rng.choice(["1.0", "2.0", "$c", "$d"])
        return "%" + rng.choice(names)
    if kind < 0.3:
        return f"({random_call(rng, depth - 1, names)} | {random_call(rng, depth - 1, names)})"
    if kind < 0.4:
        return f"{rng.choice(UNARY)}?({random_call(rng, depth - 1, names)})"
    return random_call(rng, depth, names)


def random_call(rng: random.Random, depth: int, names: list[str]) -> str:
    if rng.random() < 0.4:
        ops = rng.choice([*UNARY, "Neg|Exp"])
        return f"{ops}({random_term(rng, depth - 1 if depth else 0, names)})"
    ops = rng.choice([*BINARY, *BINARY, "Add|Sub", "Mul|Add"])
    inner = depth - 1 if depth else 0
    return f"{ops}({random_term(rng, inner, names)}, {random_term(rng, inner, names)})"


def random_rule(rng: random.Random) -> str:
    names = ["a", "b"]
    lines = []
    if rng.random() < 0.4:
        lines.append(f"%t = {random_call(rng, 1, names)}")
        names = ["a", "b", "t", "t"]
    for _ in range(50):
        term = random_call(rng, 3, names)
        if "%t" in term or len(lines) == 0:
            break
    else:
        lines = []
        term = term.replace("%t", "%a")
    shared = " : shared" if rng.random() < 0.3 else ""
    body = "\n".join([*lines, f"%y = {term}"])
    return f'rule r{shared} {{ """D."""\nmatch {body}\nrewrite %y = my.domain::New() }}'


def random_graph(rng: random.Random, size: int) -> Graph:
    graph = Graph("main")
    values = [graph.add_input(n, tensor_type(F32, (4,))) for n in "pq"]
    b = Builder(graph)
    for _ in range(size):
        near = values[-4:]
        if rng.random() < 0.45:
            values.append(b.op(rng.choice(UNARY), rng.choice(near)))
        else:
            left, right = rng.choice(near), rng.choice(near)
            if rng.random() < 0.3:
                right = b.const(rng.choice([1.0, 2.0]), F32)
            if rng.random() < 0.5:
                left, right = right, left
            values.append(b.op(rng.choice(BINARY), left, right))
    used = [v for v in values if not v.uses]
    graph.set_outputs([*used, *rng.sample(values, 1)], [f"o{i}" for i in range(len(used) + 1)])
    return graph


class Plain:
    """All matches of a rule at a node, by enumeration; bindings are copied dicts."""

    def __init__(self, rule: Rule) -> None:
        self.defs = {o.name: d for d in rule.match for o in d.outs}
        self.shared = rule.shared

    def matches(self, node: Node) -> bool:
        for _, nodes in self.term(Var((0, 0), "y"), node.output, {}, (), None):
            if self.shared or all(
                user in nodes for n in nodes if n is not node for v in n.outputs for user, _ in v.uses
            ):
                return True
        return False

    def term(
        self, term: Syntax, value: Value, env: dict[str, Any], nodes: tuple[Node, ...], within: Node | None
    ) -> Iterator[tuple[dict[str, Any], tuple[Node, ...]]]:
        if isinstance(term, Either):
            for way in term.alternatives:
                yield from self.term(way.term, value, env, nodes, within)
        elif isinstance(term, Var):
            known = env.get("%" + term.name)
            if known is not None:
                same = known is value or (
                    known.const is not None and value.const is not None and known.const.same(value.const)
                )
                if same:
                    yield env, nodes
                return
            bound = {**env, "%" + term.name: value}
            if term.name in self.defs:
                yield from self.term(self.defs[term.name].term, value, bound, nodes, within)
            else:
                yield bound, nodes
        elif isinstance(term, Literal):
            if value.const is not None and value.const.item() == term.value:
                yield env, nodes
        elif isinstance(term, Capture):
            if value.const is not None and env.get("$" + term.name, value.const.item()) == value.const.item():
                yield {**env, "$" + term.name: value.const.item()}, nodes
        else:
            assert isinstance(term, Call)
            node = value.producer
            if node is None or node.op.key not in term.ops or len(node.inputs) != len(term.args):
                return
            orders = [node.inputs]
            if node.op.key in ("Add", "Mul"):
                orders.append(node.inputs[::-1])
            for order in orders:
                found = [(env, (*nodes, node))]
                for arg, operand in zip(term.args, order):
                    assert operand is not None
                    found = [r for e, n in found for r in self.term(arg, operand, e, n, node)]
                yield from found


def test_agrees_with_enumeration() -> None:
    rng = random.Random(7)
    matched = attempts = 0
    for _ in range(250):
        try:
            (rule,) = parse_rules(random_rule(rng))
        except TextError as error:
            # A random text may be a circle or nothing but an operand; both are refused when it is loaded.
            assert "defined by itself" in str(error) or "nothing but" in str(error), error
            continue
        plain = Plain(rule)
        for _ in range(4):
            graph = random_graph(rng, rng.randrange(5, 40))
            found = {m.nodes[0]: None for m in find_matches(rule, graph)}
            wanted = {n: None for n in graph if plain.matches(n)}
            assert list(found) == list(wanted), rule.match
            missed = {near.node: None for near in explain(rule, graph)}
            assert not any(n in missed for n in wanted)
            matched += len(wanted)
            attempts += graph.size
    assert matched > 200 and attempts > 10_000


def test_the_index_loses_nothing() -> None:
    """What early rejection by producers leaves must contain every match."""
    rng = random.Random(8)
    for _ in range(150):
        try:
            rules = parse_rules(random_rule(rng))
        except TextError:  # as above
            continue
        graph = random_graph(rng, 40)
        matching = [m.nodes[0] for m in find_matches(rules.rules[0], graph)]
        assert all(rules.candidates(node) for node in matching)


def test_rewriting_random_graphs_reaches_a_fixed_point() -> None:
    """After a run nothing matches, the graph is valid, and the count is the same for a copy."""
    rules = parse_rules(
        """
        rule a { \"\"\"D.\"\"\" match %y = Neg(Neg(%x)) rewrite %y = %x }
        rule b { \"\"\"D.\"\"\" match %y = Abs(Neg(%x)) rewrite %y = Abs(%x) }
        rule c { \"\"\"D.\"\"\" match %y = Abs(Exp(%x)) rewrite %y = Exp(%x) }
        rule d { \"\"\"D.\"\"\" match %y = Mul(%x, 1.0) rewrite %y = %x }
        rule e { \"\"\"D.\"\"\" match %y = Add(Neg(%a), %b) rewrite %y = Sub(%b, %a) }
        rule f { \"\"\"D.\"\"\" match %y = Mul(Exp(%a), Exp(%b)) rewrite %y = Exp(Add(%a, %b)) }
        rule g { \"\"\"D.\"\"\" match %n = Neg(%x) %m = Exp(%x) rewrite (%n, %m) = my.domain::Both(%x) }
        """
    )
    from geoc.ir.rewrite import RewriteDriver

    total = 0
    for seed in range(60):
        graphs = [random_graph(random.Random(seed), 60) for _ in range(2)]
        counts = [RewriteDriver(rules).run(graph) for graph in graphs]
        assert counts[0] == counts[1]
        total += counts[0]
        for graph in graphs:
            verify(Model(graph))
            for rule in rules:
                if rule.name != "g":  # its matches may be refused, where they would make a circle
                    assert find_matches(rule, graph) == [], (seed, rule.name)
    assert total > 200
    assert isinstance(rules, RuleSet)
