"""Static checks of one rule: everything that can be said about it before it meets a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import GeocError, TextError
from ..ops import Op, known_keys, known_opsets
from ..ops import op as op_of
from ..types import BY_NAME
from .analyse import Analysis, GuardStep
from .functions import FUNCTIONS, TAKES_VALUE
from .guards import CONSTANTS
from .links import find_links
from .native import arity
from .operands import MARKS
from .syntax import (
    ANY,
    Alternative,
    Attribute,
    Bind,
    Call,
    Capture,
    Def,
    Either,
    Hole,
    Invoke,
    Items,
    Literal,
    Name,
    Reason,
    Rest,
    Syntax,
    Var,
    nearest,
    plain_name,
    problem,
    walk,
)

Natives = Mapping[str, Callable[..., Any]]
_HEADERS = ("benefit", "shared", "expands")
_KIND_OF = {int: "int", float: "float", str: "string"}


def check(analysis: Analysis, natives: Natives) -> None:
    """Raise TextError, with line and column, for the first fault of a rule."""
    _Checker(analysis, natives).run()


class _Checker:
    def __init__(self, analysis: Analysis, natives: Natives) -> None:
        self.analysis = analysis
        self.rule = analysis.rule
        self.natives = natives

    def fault(self, message: str, place: tuple[int, int]) -> TextError:
        return problem(message, self.analysis.source, place)

    def run(self) -> None:
        rule = self.rule
        if not rule.doc:
            raise self.fault(f'rule {rule.name!r} needs a """docstring""" that says what it does', rule.place)
        for name, _ in rule.headers:
            if name not in _HEADERS:
                raise self.fault(f"unknown header {name!r}{nearest(name, _HEADERS)}", rule.place)
        for item in rule.match:
            self.left_definition(item)
        self.roots()
        for step in self.analysis.guards:
            self.guard(step)
        if rule.refuse is not None:
            self.refusal(rule.refuse)
            return
        built: dict[str, None] = {}
        for item in rule.rewrite:
            self.right_definition(item, built)
        self.all_used(built)

    # Left side

    def left_definition(self, item: Def) -> None:
        ways: list[Syntax] = [item.term]
        for term in ways:  # grows while we go
            if isinstance(term, Either):
                ways.extend(a.term for a in term.alternatives)
            elif not isinstance(term, (Call, Var)):
                raise self.fault("a definition on the left side is an operator call", term.place)
        for out in item.outs:
            self.marks(out)
        if len(item.outs) > 1 and not isinstance(item.term, Call):
            raise self.fault("several values are defined by one operator call", item.place)
        for part in walk(item.term, guards=False):
            if isinstance(part, Call):
                self.call(part, len(item.outs) if part is item.term else 1, left=True)
                self.left_operands(part)
            elif isinstance(part, Var):
                self.marks(part)
                if part.variadic and part.name in self.analysis.defs:
                    raise self.fault(f"%{part.name} is one value, not any number", part.place)

    def left_operands(self, call: Call) -> None:
        before = False
        for arg in call.args:
            variadic = isinstance(arg, Var) and arg.variadic
            if variadic and before:
                raise self.fault("two lists of operands in a row: where one ends is not defined", arg.place)
            before = variadic
            name = arg.name if isinstance(arg, Var) else ""
            if name and variadic != (name in self.analysis.variadic):
                raise self.fault(f"%{plain_name(name)} is both one value and any number", arg.place)
            if not isinstance(arg, (Var, Call, Either, Capture, Literal, Hole)):
                raise self.fault("an operand on the left side cannot be computed", arg.place)
            if isinstance(arg, Literal) and isinstance(arg.value, str):
                raise self.fault("an operand cannot be a string", arg.place)
        for attribute in call.attributes:
            for choice in attribute.choices:
                self.left_attribute(attribute, choice)
        if call.copy:
            raise self.fault(f"*%{call.copy} copies attributes, on the right side only", call.place)

    def left_attribute(self, attribute: Attribute, choice: Syntax) -> None:
        if isinstance(choice, Capture) and len(attribute.choices) == 1:
            return
        parts = choice.items if isinstance(choice, Items) else (choice,)
        for part in parts:
            if isinstance(part, Name) and part.name in BY_NAME:
                continue
            if isinstance(part, Name):
                hint = f'; write "{part.name}" for a string' if part.name.islower() else ""
                raise self.fault(f"unknown value {part.name!r} of an attribute{hint}", part.place)
            if not isinstance(part, Literal):
                raise self.fault(
                    "an attribute on the left side is a literal or a $capture; compare in the where clause",
                    part.place,
                )

    def marks(self, var: Var) -> None:
        for mark in var.marks:
            if mark not in MARKS:
                raise self.fault(f"unknown mark {mark!r}{nearest(mark, MARKS)}", var.place)
            if mark == "shared" and var.name not in self.analysis.defs:
                raise self.fault("only a value that the left side defines can be shared", var.place)

    def roots(self) -> None:
        roots = list(self.analysis.roots)
        for position in range(len(roots)):
            self.root_term(roots[position])
            order = [roots[position], *(r for r in roots if r is not roots[position])]
            for at in range(1, len(order)):
                if find_links(self.analysis, order, at) is None:
                    name = order[at].outs[0].name
                    raise self.fault(
                        f"nothing connects %{name} to the rest of the pattern: it must use a value that "
                        "the other definitions bind",
                        order[at].place,
                    )

    def root_term(self, root: Def) -> None:
        ways: list[Syntax] = [root.term]
        for term in ways:  # grows while we go
            if isinstance(term, Either):
                ways.extend(a.term for a in term.alternatives)
            elif isinstance(term, Var):
                known = self.analysis.defs.get(term.name)
                if known is None:
                    name = plain_name(term.name)
                    raise self.fault(f"the pattern may be nothing but %{name}: it needs an operator", root.place)
                ways.append(known[0].term)

    def refusal(self, reason: Reason) -> None:
        """What a rule that refuses must be beside that: about one operator's node, without words about a right side."""
        for name, _ in self.rule.headers:
            if name != "benefit":
                raise self.fault(f"a rule that refuses builds nothing: {name!r} says nothing about it", self.rule.place)
        if len(self.analysis.roots) > 1:
            name = self.analysis.roots[1].outs[0].name
            raise self.fault(f"a rule that refuses has one root; %{name} is another", self.analysis.roots[1].place)
        for name in reason.names:
            if name not in self.bound():
                raise self.unbound(name, reason.place, self.bound())
            if name not in self.analysis.surely:
                raise self.fault(f"{name} may be absent here", reason.place)

    # Both sides

    def call(self, call: Call, outputs: int, left: bool) -> None:
        names = call.ops
        if not names:
            names = self.analysis.ops_of.get(call.capture, ())
            if left or not names:
                raise self.fault(f"${call.capture} does not name an operator here", call.place)
        if not left and (len(call.ops) > 1 or (call.ops and call.capture)):
            raise self.fault("the right side names one operator; use $op(...) for a captured one", call.place)
        if len({a.name for a in call.attributes}) < len(call.attributes):
            raise self.fault("an attribute is named twice", call.place)
        if ANY in names:
            self.any_call(call)
            return
        for name in names:
            self.op_call(self.op(name, call), call, outputs, left)

    def any_call(self, call: Call) -> None:
        if self.rule.refuse is None:
            raise self.fault("_(...) is any operator, which can be refused and not rewritten", call.place)
        if call.attributes or not call.open:
            raise self.fault("_(...) is any operator, whose attributes are not known: write {*}", call.place)

    def op(self, name: str, call: Call) -> Op:
        try:
            found = op_of(name)
        except GeocError as error:
            raise self.fault(error.message, call.place) from None
        if found.is_opaque and known_opsets(found.domain) is not None:
            raise self.fault(f"unknown operator {name}{nearest(name, known_keys())}", call.place)
        return found

    def op_call(self, op: Op, call: Call, outputs: int, left: bool) -> None:
        schema = op.schema
        if schema is None:
            return
        fixed = sum(1 for a in call.args if not (isinstance(a, Var) and a.variadic))
        if fixed > schema.max_inputs:
            raise self.fault(f"{op.key} has at most {schema.max_inputs} operands", call.place)
        if fixed == len(call.args) and fixed < schema.min_inputs:
            raise self.fault(f"{op.key} has at least {schema.min_inputs} operands", call.place)
        if outputs > schema.max_outputs:
            raise self.fault(f"{op.key} has at most {schema.max_outputs} outputs", call.place)
        if self.rule.refuse is None and any(spec.kind in ("graph", "graphs") for spec in schema.attributes.values()):
            raise self.fault(f"{op.key} has subgraphs: rules cannot match or build it", call.place)
        for attribute in call.attributes:
            kind = op.attr_kind(attribute.name)
            if kind is None:
                hint = nearest(attribute.name, schema.attributes)
                raise self.fault(f"{op.key} has no attribute {attribute.name!r}{hint}", attribute.place)
            for choice in attribute.choices:
                self.attribute_kind(op, attribute, choice, kind)
        if not call.open and not call.copy:
            given = {a.name for a in call.attributes}
            for name, spec in schema.attributes.items():
                if spec.required and name not in given:
                    hint = f"; write {name} = $c, or * for any" if left else ""
                    raise self.fault(f"{op.key} needs the attribute {name!r}{hint}", call.place)

    def attribute_kind(self, op: Op, attribute: Attribute, choice: Syntax, kind: str) -> None:
        given = _kind(choice)
        if given is None or given == kind or (given, kind) in (("int", "float"), ("ints", "floats")):
            return
        if given == "[]" and kind.endswith("s"):
            return
        raise self.fault(
            f"attribute {attribute.name!r} of {op.key} is of kind {kind}, not {given}", choice.place
        )

    # Guards and expressions

    def guard(self, step: GuardStep) -> None:
        tree = step.tree
        known = {**step.known, **step.names}
        if not isinstance(tree, Bind):
            self.expression(tree, known)
            return
        target = tree.target
        if isinstance(target, (Var, Capture, Name)):
            if isinstance(target, Var) and not isinstance(tree.value, (Invoke, Var)):
                raise self.fault(f"%{target.name} can only be what a function gives", tree.place)
            if isinstance(target, Name) and target.name in CONSTANTS:
                raise self.fault(f"{target.name} is an element type: it cannot be bound", tree.place)
            self.expression(tree.value, step.known)
        elif isinstance(tree.value, Items):
            self.expression(target, step.known)
            if sum(isinstance(i, Rest) for i in tree.value.items) > 1:
                raise self.fault("a list has one '...' at most", tree.value.place)
            for item in tree.value.items:
                if not isinstance(item, (Hole, Rest)):
                    self.expression(item, known)
        else:
            raise self.fault("'=' binds names; write '==' to compare", tree.place)

    def expression(self, tree: Syntax, known: Mapping[str, None]) -> None:
        """Check that an expression names only what is bound, and calls only what exists."""
        for part in walk(tree):
            if isinstance(part, (Var, Capture)):
                name = ("%" if isinstance(part, Var) else "$") + part.name
                if name not in known:
                    raise self.unbound(name, part.place, known)
                if isinstance(part, Var) and part.marks:
                    raise self.fault("marks stand on the left side", part.place)
            elif isinstance(part, Name) and part.name not in CONSTANTS and part.name not in known:
                names = [n for n in (*known, *CONSTANTS) if n[0] not in "%$"]
                raise self.fault(f"unknown name {part.name!r}{nearest(part.name, names)}", part.place)
            elif isinstance(part, Invoke):
                self.invocation(part)
            elif isinstance(part, (Call, Either, Hole, Bind)):
                raise self.fault("an operator cannot stand in an expression", part.place)

    def unbound(self, name: str, place: tuple[int, int], known: Iterable[str]) -> TextError:
        plain = name[0] + plain_name(name[1:])
        candidates = [n for n in known if n[0] == name[0] and "~" not in n]
        return self.fault(f"{plain} is not bound{nearest(plain, candidates)}", place)

    def invocation(self, call: Invoke) -> None:
        name, count = call.name, len(call.args)
        if name == "has":
            if count != 1 or not isinstance(call.args[0], (Var, Capture)):
                raise self.fault("has(...) takes one %value or $capture", call.place)
            return
        if name == "proven":
            if count != 1:
                raise self.fault("proven(...) takes one condition", call.place)
            return
        if name in FUNCTIONS:
            fewest: int = FUNCTIONS[name][1]
            most: int | None = FUNCTIONS[name][2]
            if name in TAKES_VALUE and call.args and not isinstance(call.args[0], (Var, Invoke)):
                raise self.fault(f"{name}(...) takes a %value", call.place)
        elif name in self.natives:
            fewest, most = arity(self.natives[name])
        else:
            candidates = ["has", "proven", *FUNCTIONS, *self.natives]
            raise self.fault(f"unknown function {name!r}{nearest(name, candidates)}", call.place)
        if count < fewest or (most is not None and count > most):
            wanted = fewest if fewest == most else f"{fewest} to {most or 'any number of'}"
            raise self.fault(f"{name}(...) takes {wanted} arguments, {count} are given", call.place)

    # Right side

    def right_definition(self, item: Def, built: dict[str, None]) -> None:
        for out in item.outs:
            if out.marks:
                raise self.fault("marks stand on the left side", out.place)
            if out.name in built:
                raise self.fault(f"%{out.name} is built twice", out.place)
            if "%" + out.name in self.analysis.perhaps and out.name not in self.analysis.defs:
                raise self.fault(f"%{out.name} is an operand of the pattern: it cannot be replaced", out.place)
            if out.name in self.analysis.defs and "%" + out.name not in self.analysis.surely:
                raise self.fault(f"%{out.name} may be absent: it cannot be replaced", out.place)
        if len(item.outs) > 1 and not isinstance(item.term, Call):
            raise self.fault("several values are built by one operator call", item.place)
        self.right_term(item.term, built, len(item.outs), False)
        built.update((out.name, None) for out in item.outs if out.name != "_")

    def right_term(self, term: Syntax, built: Mapping[str, None], outputs: int, guarded: bool) -> None:
        """`guarded`: inside an alternative, which is taken only if all its names are bound."""
        if isinstance(term, Call):
            self.call(term, outputs, left=False)
            for arg in term.args:
                self.right_term(arg, built, 1, guarded)
            for attribute in term.attributes:
                if len(attribute.choices) > 1:
                    raise self.fault("an attribute has one value", attribute.place)
                self.expression(attribute.choices[0], self.bound())
                if isinstance(attribute.choices[0], Var):
                    raise self.fault("an attribute cannot be a %value", attribute.place)
            if term.copy:
                self.copied(term)
            elif term.open:
                raise self.fault("'*' stands on the left side; *%value copies attributes", term.place)
        elif isinstance(term, Either):
            for way in term.alternatives:
                self.alternative(way, built)
        elif isinstance(term, Var):
            self.right_value(term, built, guarded)
        elif isinstance(term, Capture):
            self.expression(term, self.bound())
            if not guarded and "$" + term.name not in self.analysis.surely:
                raise self.fault(f"${term.name} may be absent here", term.place)
        elif isinstance(term, Literal):
            if isinstance(term.value, str):
                raise self.fault("an operand cannot be a string", term.place)
        else:
            self.expression(term, self.bound())

    def alternative(self, way: Alternative, built: Mapping[str, None]) -> None:
        self.right_term(way.term, built, 1, True)

    def bound(self) -> dict[str, None]:
        return {**self.analysis.surely, **self.analysis.perhaps}

    def right_value(self, var: Var, built: Mapping[str, None], guarded: bool) -> None:
        if var.marks:
            raise self.fault("marks stand on the left side", var.place)
        if var.name in built:
            return
        name = "%" + var.name
        if name not in self.bound():
            raise self.unbound(name, var.place, [*self.bound(), *("%" + b for b in built)])
        if var.variadic != (var.name in self.analysis.variadic):
            raise self.fault(f"write %{var.name}{'' if var.variadic else '...'}", var.place)
        if name not in self.analysis.surely and not var.optional and not guarded:
            raise self.fault(f"{name} may be absent; write {name}? to pass it if it is there", var.place)
        if any(out.name == var.name for item in self.rule.rewrite for out in item.outs):
            raise self.fault(f"{name} is replaced by this rule and used in its own replacement", var.place)

    def copied(self, call: Call) -> None:
        known = self.analysis.defs.get(call.copy)
        if known is None or not isinstance(known[0].term, Call):
            raise self.fault(f"%{call.copy} is not defined by an operator on the left side", call.place)
        if "%" + call.copy not in self.analysis.surely:
            raise self.fault(f"%{call.copy} may be absent", call.place)
        for name in known[0].term.ops:
            source, target = self.op(name, call), self.op(call.ops[0], call) if call.ops else None
            if target is None or source.schema is None or target.schema is None:
                continue
            odd = [a for a in source.schema.attributes if a not in target.schema.attributes]
            if odd:
                raise self.fault(f"{target.key} has no attribute {odd[0]!r}, which {name} has", call.place)

    def all_used(self, built: Mapping[str, None]) -> None:
        for root in self.analysis.roots:
            if not any(out.name in built for out in root.outs):
                name = next(o.name for o in root.outs if o.name != "_")
                raise self.fault(f"the rule does not say what replaces %{name}", root.place)
        used = {
            p.name for item in self.rule.rewrite for p in walk(item.term) if isinstance(p, Var)
        }
        for item in self.rule.rewrite:
            for out in item.outs:
                if out.name not in self.analysis.defs and out.name not in used and out.name != "_":
                    raise self.fault(f"%{plain_name(out.name)} is built and not used", out.place)


def _kind(tree: Syntax) -> str | None:
    """The attribute kind that a literal has; None where only the match will tell."""
    if isinstance(tree, Literal):
        return _KIND_OF.get(type(tree.value), "bool")
    if isinstance(tree, Name):
        return "int" if tree.name in BY_NAME else None
    if isinstance(tree, Items):
        kinds = [_kind(i) for i in tree.items]
        if not kinds:
            return "[]"
        if None in kinds:
            return None
        return "floats" if "float" in kinds else f"{kinds[0]}s"
    return None
