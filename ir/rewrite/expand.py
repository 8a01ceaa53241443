"""From the surface form to the core form: chains unrolled, named patterns put in place.

Names that this makes start with ``~``, which no author can write: ``~3`` for a value that needed a
name, ``~3.t`` for the ``%t`` of the third use of a pattern.
"""

from __future__ import annotations

from collections.abc import Mapping

from .syntax import (
    Alternative,
    Attribute,
    Binary,
    Bind,
    Call,
    Capture,
    Chain,
    Def,
    Either,
    Hole,
    Invoke,
    Items,
    Literal,
    Member,
    Name,
    PatternDecl,
    Place,
    Rest,
    RuleDecl,
    Syntax,
    Unary,
    Var,
    nearest,
    problem,
)

Names = Mapping[str, Syntax]
_SIGILS = {"%": "a value", "$": "a capture"}


def expand(rule: RuleDecl, patterns: Mapping[str, PatternDecl], source: str) -> RuleDecl:
    """The rule in core form. Raises TextError for faults in chains and in uses of patterns."""
    left = _Left(patterns, source)
    for item in rule.match:
        left.definition(item, _Scope())
    right = _Right(source, left)
    for item in rule.rewrite:
        right.definition(item, _Scope())
    # Contents that only name dimensions are known before the where clause, others need its names.
    where = (*left.early, *rule.where, *left.late)
    return RuleDecl(
        rule.place, rule.name, rule.doc, rule.headers, tuple(left.defs), where, tuple(right.defs), rule.refuse
    )


class _Scope:
    """How names read in one body: arguments for parameters, and a prefix for all other names."""

    def __init__(self, arguments: Names | None = None, prefix: str = "") -> None:
        self.arguments: Names = arguments or {}
        self.prefix = prefix
        self.hole: Syntax | None = None
        self.guards: list[Syntax] | None = None

    def piped(self, hole: Syntax) -> _Scope:
        """The same scope inside a stage whose ``_`` is `hole`."""
        inner = _Scope(self.arguments, self.prefix)
        inner.hole = hole
        inner.guards = self.guards
        return inner


class _Side:
    """What both sides share: definitions collected so far, and fresh names."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.defs: list[Def] = []
        self.count = 0

    def fresh(self) -> str:
        self.count += 1
        return f"~{self.count}"

    def definition(self, item: Def, scope: _Scope) -> None:
        outs = tuple(Var(o.place, self.local(o.name, scope), o.marks) for o in item.outs)
        self.defs.append(Def(item.place, outs, self.term(item.term, scope)))

    def local(self, name: str, scope: _Scope) -> str:
        return name if name == "_" else scope.prefix + name

    def named(self, term: Syntax) -> Var:
        """`term` as a variable, defined if it is not one already."""
        if isinstance(term, Var):
            return term
        name = self.fresh()
        if not isinstance(term, Hole):
            self.defs.append(Def(term.place, (Var(term.place, name),), term))
        return Var(term.place, name)

    def term(self, term: Syntax, scope: _Scope) -> Syntax:
        if isinstance(term, Chain):
            return self.chain(term, scope)
        if isinstance(term, Call):
            return self.call(term, scope)
        if isinstance(term, Hole):
            return term if scope.hole is None else scope.hole
        if isinstance(term, Either):
            return self.either(term, scope)
        return self.other(term, scope)

    def other(self, term: Syntax, scope: _Scope) -> Syntax:
        raise NotImplementedError

    def either(self, term: Either, scope: _Scope) -> Syntax:
        return Either(
            term.place,
            tuple(Alternative(a.place, self.term(a.term, scope)) for a in term.alternatives),
        )

    def chain(self, chain: Chain, scope: _Scope) -> Syntax:
        current = self.term(chain.head, scope)
        for stage, optional in zip(chain.stages, chain.optional):
            holes = _holes(stage)
            if not holes:
                raise problem("a stage of a chain needs '_', the piped value", self.source, stage.place)
            if optional or holes > 1:
                current = self.named(current)
            taken = self.term(stage, scope.piped(current))
            if optional:
                taken = _maybe(stage.place, taken, current)
            current = taken
        return current

    def call(self, call: Call, scope: _Scope) -> Syntax:
        args = [self.term(arg, scope) for arg in call.args]
        inner: Var | None = None
        if call.optional:
            if not args:
                raise problem("Op?(...) needs an operand to stand for it", self.source, call.place)
            inner = self.named(args[0])
            args[0] = inner
        capture = ""
        if call.capture:
            given = scope.arguments.get("$" + call.capture)
            capture = given.name if isinstance(given, Capture) else scope.prefix + call.capture
        made = Call(
            call.place, call.ops, capture, tuple(args),
            tuple(self.attribute(a, scope) for a in call.attributes), call.open, call.copy,
        )  # fmt: skip
        return made if inner is None else _maybe(call.place, made, inner)

    def attribute(self, attribute: Attribute, scope: _Scope) -> Attribute:
        choices = tuple(_expression(c, scope) for c in attribute.choices)
        return Attribute(attribute.place, attribute.name, choices)


class _Left(_Side):
    """The match side: knows named patterns, and turns contents of integer operands into guards."""

    def __init__(self, patterns: Mapping[str, PatternDecl], source: str) -> None:
        super().__init__(source)
        self.patterns = patterns
        self.early: list[Syntax] = []
        self.late: list[Syntax] = []
        self.active: list[str] = []

    def other(self, term: Syntax, scope: _Scope) -> Syntax:
        if isinstance(term, Invoke):
            return self.use(term, scope)
        made = _expression(term, scope)
        if isinstance(made, (Name, Items)):
            return self.content(made)
        return made

    def content(self, term: Syntax) -> Var:
        """An integer operand given by its elements: a fresh value, and a guard on its content."""
        items = term.items if isinstance(term, Items) else (term,)
        value = Var(term.place, self.fresh())
        guard = Bind(term.place, Invoke(term.place, "content", (value,)), Items(term.place, items))
        plain = all(isinstance(i, (Name, Literal, Hole, Rest)) for i in items)
        (self.early if plain else self.late).append(guard)
        return value

    def use(self, use: Invoke, scope: _Scope) -> Syntax:
        pattern = self.patterns.get(use.name)
        if pattern is None:
            hint = nearest(use.name, self.patterns)
            if not hint and use.name.capitalize() != use.name:
                hint = "; operators begin with a capital letter or have a domain"
            raise problem(f"unknown pattern {use.name!r}{hint}", self.source, use.place)
        if use.name in self.active:
            raise problem(f"pattern {use.name!r} uses itself", self.source, use.place)
        if len(use.args) != len(pattern.params):
            raise problem(
                f"pattern {use.name!r} has {len(pattern.params)} parameters, {len(use.args)} are given",
                self.source, use.place,
            )  # fmt: skip
        arguments = {p: self.argument(p, a, scope) for p, a in zip(pattern.params, use.args)}
        inner = _Scope(arguments, self.fresh() + ".")
        self.active.append(use.name)
        body = self.alternatives(pattern.body, inner, use.place)
        self.active.pop()
        return body

    def alternatives(self, body: Either, scope: _Scope, place: Place) -> Syntax:
        found: list[Alternative] = []
        for alternative in body.alternatives:
            for item in alternative.defs:
                self.definition(item, scope)
            guards = tuple(_expression(g, scope) for g in alternative.guards)
            found.append(Alternative(alternative.place, self.term(alternative.term, scope), guards))
        if len(found) == 1 and not found[0].guards:
            return found[0].term
        return Either(place, tuple(found))

    def argument(self, parameter: str, given: Syntax, scope: _Scope) -> Syntax:
        if parameter[0] == "%":
            return self.named(self.term(given, scope))
        made = _expression(given, scope)
        kinds: tuple[type[Syntax], ...] = (Capture, Literal) if parameter[0] == "$" else (Name, Literal)
        if not isinstance(made, kinds):
            kind = _SIGILS.get(parameter[0], "a dimension")
            raise problem(f"parameter {parameter} is {kind}", self.source, given.place)
        return made


class _Right(_Side):
    """The rewrite side: calls are built, everything else is an expression."""

    def __init__(self, source: str, left: _Left) -> None:
        super().__init__(source)
        self.count = left.count

    def other(self, term: Syntax, scope: _Scope) -> Syntax:
        return term


def _maybe(place: Place, taken: Syntax, skipped: Syntax) -> Either:
    return Either(place, (Alternative(place, taken), Alternative(place, skipped)))


def _holes(term: Syntax) -> int:
    """How often a stage names the piped value; the stages of chains inside have their own."""
    if isinstance(term, Hole):
        return 1
    if isinstance(term, Chain):
        return _holes(term.head)
    if isinstance(term, (Call, Invoke)):
        return sum(_holes(arg) for arg in term.args)
    if isinstance(term, Either):
        return sum(_holes(a.term) for a in term.alternatives)
    return 0


def _expression(tree: Syntax, scope: _Scope) -> Syntax:
    """An expression with parameters replaced and local names prefixed."""
    if not scope.prefix:
        return tree
    if isinstance(tree, Var):
        given = scope.arguments.get("%" + tree.name)
        if isinstance(given, Var):
            marks = given.marks + tuple(m for m in tree.marks if m not in given.marks)
            optional = given.optional or tree.optional
            return Var(tree.place, given.name, marks, optional, given.variadic or tree.variadic)
        return Var(tree.place, scope.prefix + tree.name, tree.marks, tree.optional, tree.variadic)
    if isinstance(tree, Capture):
        return scope.arguments.get("$" + tree.name) or Capture(tree.place, scope.prefix + tree.name)
    if isinstance(tree, Name):
        return scope.arguments.get(tree.name) or _local_name(tree, scope)
    if isinstance(tree, Rest):
        return Rest(tree.place, scope.prefix + tree.name if tree.name else "")
    if isinstance(tree, Items):
        return Items(tree.place, tuple(_expression(i, scope) for i in tree.items))
    if isinstance(tree, Binary):
        left, right = _expression(tree.left, scope), _expression(tree.right, scope)
        return Binary(tree.place, tree.op, left, right)
    if isinstance(tree, Unary):
        return Unary(tree.place, tree.op, _expression(tree.operand, scope))
    if isinstance(tree, Member):
        choices = tuple(_expression(c, scope) for c in tree.choices)
        return Member(tree.place, _expression(tree.item, scope), choices)
    if isinstance(tree, Bind):
        return Bind(tree.place, _expression(tree.target, scope), _expression(tree.value, scope))
    if isinstance(tree, Invoke):
        return Invoke(tree.place, tree.name, tuple(_expression(a, scope) for a in tree.args))
    return tree


def _local_name(tree: Name, scope: _Scope) -> Name:
    from ..types import BY_NAME

    return tree if tree.name in BY_NAME else Name(tree.place, scope.prefix + tree.name)
