"""Small graphs in text, rewritten by rules in text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from geoc.ir.core import Model
from geoc.ir.rewrite import NATIVES, RewriteDriver, RuleSet, parse_rules
from geoc.ir.text import parse_model, print_model
from geoc.ir.verify import verify


class Lab:
    """What the tests of rules do all the time."""

    @staticmethod
    def model(body: str, inputs: str = "%x: f32[2,8]", outputs: str = "%y") -> Model:
        """A model whose main graph has these statements; types of inputs are given, others inferred."""
        from geoc.ir.infer import infer_graph

        lines = "\n".join("  " + line.strip() for line in body.strip().splitlines())
        made = parse_model(f'geoc 1\nopset "" 23\n\ngraph @main({inputs}) -> ({outputs}) {{\n{lines}\n}}\n')
        infer_graph(made.graph)
        return made

    @staticmethod
    def rule(match: str, rewrite: str, where: str = "", headers: str = "") -> str:
        """The text of one rule."""
        guards = f"where {where}" if where else ""
        return f'rule r{headers} {{\n"""A rule."""\nmatch {match}\n{guards}\nrewrite {rewrite}\n}}\n'

    @staticmethod
    def load(rules: str, natives: Mapping[str, Any] = NATIVES) -> RuleSet:
        return parse_rules(rules, "r.rules", natives)

    def apply(self, rules: str | RuleSet, target: Model, ctx: Any = None, natives: Any = NATIVES) -> int:
        """Run rules on a model, verify it, and give the number of rewrites."""
        loaded = self.load(rules, natives) if isinstance(rules, str) else rules
        count = RewriteDriver(loaded).run(target, ctx)
        verify(target)
        return count

    @staticmethod
    def statements(target: Model) -> list[str]:
        """The statements of the main graph as printed, types of outputs and weights left out."""
        lines = [line.strip() for line in print_model(target).splitlines()]
        found = []
        for line in lines:
            if line.startswith("%"):
                outs, _, rest = line.partition(" = ")
                found.append(", ".join(o.partition(":")[0] for o in outs.split(", %")) + " = " + rest)
        return found

    @staticmethod
    def ops(target: Model) -> list[str]:
        """The ops of the main graph in order."""
        return [node.op.key for node in target.graph]


@pytest.fixture(scope="session")
def lab() -> Lab:
    return Lab()
