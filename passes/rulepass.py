"""Sets of rewrite rules as passes.

    SimplifyShape = rule_pass("simplify-shape", "shape.rules")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

from ..ir.core import Model, Node
from .base import Context, Pass

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..ir.rewrite import Rule, RuleSet


@dataclass(frozen=True)
class RulePass(Pass):
    """Applies a set of rules until none matches. Made by `rule_pass`, which gives name and rules."""

    settles: ClassVar[bool] = True
    source: ClassVar[str] = ""  # the .rules file; "" for rules that were given as objects
    given: ClassVar[tuple[Rule, ...]] = ()
    loaded: ClassVar[RuleSet | None] = None

    @classmethod
    def rules(cls) -> RuleSet:
        """The rules, read when first asked for. Raises TextError or OSError for a bad file."""
        if cls.loaded is None:
            from ..ir.rewrite import RuleSet, load_rules

            cls.loaded = load_rules(cls.source) if cls.source else RuleSet(cls.given)
        return cls.loaded

    def rule_names(self) -> tuple[str, ...]:
        return tuple(rule.name for rule in self.rules())

    def rule_origin(self, rule: str) -> str:
        return self.rules().by_name[rule].location

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any rule was applied. Raises RewriteLoop for rules that undo each other."""
        from ..ir.rewrite import Hooks, RewriteDriver

        name = self.name

        def allow(kind: str, rule: str, node: Node) -> bool:
            return ctx.allow(name, rule, node)

        def applied(rule: Rule, old: list[Node], new: list[Node], microseconds: float) -> None:
            ctx.rewritten(name, rule.name, old, new, microseconds / 1e6)

        def missed(rule: Rule, node: Node, reason: Callable[[], str]) -> None:
            ctx.remark("missed", name, reason(), rule=rule.name, node=node)

        def refused(rule: Rule, node: Node, why: str, dearer: bool) -> None:
            kind, unlock = ("refused", f"`: expands` in {rule.location}") if dearer else ("missed", "")
            ctx.decline(kind, name, rule.name, node, why, unlock)

        hooks = Hooks(
            allow=allow,
            applied=applied if ctx.watched else None,
            missed=missed if ctx.wants_remarks else None,
            enabled=(lambda rule: rule.name not in ctx.skip) if ctx.skip else None,
            cost=ctx.cost,
            refused=refused,
        )
        return RewriteDriver(self.rules()).run(model, hooks) > 0


def rule_pass(name: str, rules: str | Sequence[Rule], doc: str = "", lossy: bool = False) -> type[RulePass]:
    """A pass class from a .rules file, read when it is first used, or from `Rule` objects.

    `lossy`: they change numbers. Without `doc` the documentation is the comment at the head of the file.
    """
    fields: dict[str, object] = {"name": name, "lossy": lossy}
    if isinstance(rules, str):
        fields["source"] = rules
        doc = doc or _head_comment(rules)
    else:
        fields["given"] = tuple(rules)
        doc = doc or f"Rules of {rules[0].source}."
    return type(name, (RulePass,), {**fields, "__doc__": doc, "__module__": __name__})


def _head_comment(path: str) -> str:
    """The comment lines that a file begins with."""
    lines: list[str] = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.startswith("#"):
                break
            lines.append(line.strip().lstrip("#").strip())
    return "\n".join(lines)


def rules_of_module(module: ModuleType) -> list[Rule]:
    """The rules that a Python module defines with `@rule`."""
    from ..ir.rewrite import Rule

    return [value for value in vars(module).values() if isinstance(value, Rule)]
