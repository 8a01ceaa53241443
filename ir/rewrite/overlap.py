"""Rules that shadow each other: a later one that can never fire because an earlier one always does."""

from __future__ import annotations

from itertools import permutations
from typing import Any

from ..ops import op as op_of
from .analyse import Analysis
from .operands import attribute_value, same_attribute
from .syntax import ANY, Call, Capture, Def, Either, Hole, Invoke, Literal, Syntax, Var, problem, walk


def check_overlap(analyses: list[Analysis]) -> None:
    """Raise TextError for a rule that an earlier one, without guards, shadows."""
    order = sorted(analyses, key=lambda a: -(dict(a.rule.headers).get("benefit") or 0))
    for late, shadowed in enumerate(order):
        for general in order[:late]:
            if _unguarded(general) and _subsumes(general, shadowed):
                first = general.rule
                raise problem(
                    f"rule {shadowed.rule.name!r} can never fire: whatever it matches, rule {first.name!r} "
                    f"at {general.source}:{first.place[0]}:{first.place[1]} matches first",
                    shadowed.source, shadowed.rule.place,
                )  # fmt: skip


def _unguarded(analysis: Analysis) -> bool:
    """Whether nothing but the pattern decides: no guards, and no function that may refuse."""
    return not analysis.guards and not any(
        isinstance(p, Invoke) for d in analysis.rule.rewrite for p in walk(d.term)
    )


def _subsumes(general: Analysis, special: Analysis) -> bool:
    """Whether the general pattern surely matches wherever the special one does."""
    if len(general.roots) != 1 or len(special.roots) != 1:
        return False
    return _Comparison(general, special).definition(general.roots[0], special.roots[0])


class _Comparison:
    def __init__(self, general: Analysis, special: Analysis) -> None:
        self.general = general
        self.special = special
        self.values: dict[str, Syntax] = {}
        self.captures: dict[str, Syntax] = {}

    def definition(self, general: Def, special: Def) -> bool:
        if len(general.outs) != len(special.outs):
            return False
        marked = {m for o in general.outs for m in o.marks}
        if marked - {m for o in special.outs for m in o.marks}:
            return False
        return self.term(general.term, special.term)

    def term(self, general: Syntax, special: Syntax) -> bool:
        if isinstance(special, Either):
            return all(not a.guards and self.term(general, a.term) for a in special.alternatives)
        if isinstance(general, Either):
            return any(not a.guards and self.trial(general, a.term, special) for a in general.alternatives)
        if isinstance(general, Hole):
            return True
        if isinstance(general, Var):
            return self.variable(general, special)
        if isinstance(general, Literal):
            return general == special
        if isinstance(general, Capture):
            return self.capture(general, special)
        if isinstance(special, Var) and special.name in self.special.defs:
            known, index = self.special.defs[special.name]
            # A value used in several places of the special pattern has uses outside the general one.
            if index or len(known.outs) > 1 or self.special.references[special.name] > 1:
                return False
            return self.term(general, known.term)
        return isinstance(general, Call) and isinstance(special, Call) and self.call(general, special)

    def trial(self, either: Either, way: Syntax, special: Syntax) -> bool:
        values, captures = dict(self.values), dict(self.captures)
        if self.term(way, special):
            return True
        self.values, self.captures = values, captures
        return False

    def variable(self, general: Var, special: Syntax) -> bool:
        name = general.name
        if name in self.general.defs:
            known, index = self.general.defs[name]
            if index or len(known.outs) > 1 or self.general.references[name] > 1:
                return False
            return self.term(known.term, special)
        if isinstance(special, Var) and special.variadic != general.variadic:
            return False
        if not general.optional and isinstance(special, Var) and special.optional:
            return False
        marks = set(special.marks) if isinstance(special, Var) else set()
        if isinstance(special, (Literal, Capture)):
            marks |= {"const", "scalar"}
        if isinstance(special, Hole) or set(general.marks) - marks:
            return not general.marks and not self.general.references[name] > 1
        seen = self.values.setdefault(name, special)
        return seen is special or (isinstance(special, Var) and seen == special)

    def capture(self, general: Capture, special: Syntax) -> bool:
        if not isinstance(special, (Literal, Capture)):
            return False
        seen = self.captures.setdefault(general.name, special)
        return seen is special or seen == special

    def call(self, general: Call, special: Call) -> bool:
        if not (ANY in general.ops or set(special.ops) <= set(general.ops)) or len(general.args) != len(special.args):
            return False
        if not self.attributes(general, special):
            return False
        orders: Any = [general.args]
        if ANY not in special.ops and all(op_of(o).commutative for o in special.ops) and len(general.args) < 5:
            orders = permutations(general.args)
        for order in orders:
            values, captures = dict(self.values), dict(self.captures)
            if all(self.term(g, s) for g, s in zip(order, special.args)):
                return True
            self.values, self.captures = values, captures
        return False

    def attributes(self, general: Call, special: Call) -> bool:
        if special.open and not general.open:
            return False
        wanted = {a.name: a for a in general.attributes}
        given = {a.name: a for a in special.attributes}
        if not general.open and any(n not in wanted for n in given):
            return False
        for name, attribute in wanted.items():
            found = given.get(name)
            if isinstance(attribute.choices[0], Capture):
                if self.general_repeats(attribute.choices[0].name):
                    return False
                continue
            if found is None or any(isinstance(c, Capture) for c in found.choices):
                return False
            allowed = [attribute_value(c) for c in attribute.choices]
            values = [attribute_value(c) for c in found.choices]
            if not all(any(same_attribute(v, w) for w in allowed) for v in values):
                return False
        return True

    def general_repeats(self, name: str) -> bool:
        """Whether a capture stands in several places, which ties them together."""
        parts = [p for d in self.general.rule.match for p in walk(d.term)]
        return sum(isinstance(p, Capture) and p.name == name for p in parts) > 1
