"""What follows from the two sides of one rule: its roots, and which names are bound, perhaps or surely."""

from __future__ import annotations

from collections.abc import Container, Iterator

from .syntax import (
    Alternative,
    Bind,
    Call,
    Capture,
    Def,
    Either,
    Invoke,
    Name,
    Rest,
    RuleDecl,
    Syntax,
    Var,
    children,
    problem,
    walk,
)


class Analysis:
    """Facts about one rule in core form.

    `defs` maps each value the left side defines to its definition and output index, `roots` are the
    definitions that no other one refers to, in textual order. `surely` holds the names (``%x``,
    ``$c``, ``D`` with their sigils) that every match binds, `perhaps` those that some match binds.
    `references` counts how often one match can refer to a value.
    """

    __slots__ = (
        "rule", "source", "defs", "roots", "surely", "perhaps", "variadic", "references", "ops_of",
        "guards", "_names_of",
    )  # fmt: skip

    def __init__(self, rule: RuleDecl, source: str, checked: bool = False) -> None:
        """Raises TextError for circular or double definitions, unless the rule was `checked` before."""
        self.rule = rule
        self.source = source
        self.defs: dict[str, tuple[Def, int]] = {}
        self.references: dict[str, int] = {}
        self.variadic: set[str] = set()
        self.guards: list[GuardStep] = []
        self._names_of: dict[int, dict[str, None]] = {}  # of definitions, which many others may refer to
        self.ops_of: dict[str, tuple[str, ...]] = {}
        for item in rule.match:
            for index, out in enumerate(item.outs):
                if out.name in self.defs:
                    raise problem(f"%{out.name} is defined twice", source, out.place)
                if out.name != "_":
                    self.defs[out.name] = (item, index)
        for item in rule.match:
            for name, count in _references(item.term).items():
                self.references[name] = self.references.get(name, 0) + count
            for part in walk(item.term):
                self._note(part)
        self.roots = tuple(
            d for d in rule.match if not any(self.references.get(o.name) for o in d.outs)
        )
        if not checked:
            self._check_cycles()
        self.surely, self.perhaps = self._bound()

    def _note(self, part: Syntax) -> None:
        if isinstance(part, Var):
            if part.variadic:
                self.variadic.add(part.name)
        elif isinstance(part, Call) and part.capture:
            self.ops_of[part.capture] = (*self.ops_of.get(part.capture, ()), *part.ops)

    def _check_cycles(self) -> None:
        done: set[int] = set()
        for start in self.rule.match:
            trail: list[tuple[Def, Iterator[Def]]] = [(start, self._referred(start))]
            active = [id(start)]
            while trail:
                following = next(trail[-1][1], None)
                if following is None:
                    trail.pop()
                    done.add(active.pop())
                elif id(following) in active:
                    name = following.outs[0].name
                    raise problem(f"%{name} is defined by itself", self.source, following.place)
                elif id(following) not in done:
                    trail.append((following, self._referred(following)))
                    active.append(id(following))

    def _referred(self, item: Def) -> Iterator[Def]:
        for part in walk(item.term):
            if isinstance(part, Var) and part.name in self.defs:
                yield self.defs[part.name][0]

    def _bound(self) -> tuple[dict[str, None], dict[str, None]]:
        surely: dict[str, None] = {}
        for root in self.roots:
            surely.update(self.names_of(root))
        perhaps: dict[str, None] = {}
        ways: list[Alternative] = []
        for item in self.rule.match:
            perhaps.update(("%" + out.name, None) for out in item.outs)
            for part in walk(item.term, guards=False):
                perhaps.update(_own_names(part))
                if isinstance(part, Alternative) and part.guards:
                    ways.append(part)
        for tree in self.rule.where:
            step = GuardStep(tree, None, perhaps)
            self.guards.append(step)
            asked = (*mentioned(tree, optional=False), *dims_in(tree))
            absent = any(n in perhaps and n not in surely for n in asked)
            perhaps.update(step.names)
            if not absent:
                surely.update(step.names)
        for way in ways:
            for tree in way.guards:
                step = GuardStep(tree, way, perhaps)
                self.guards.append(step)
                perhaps.update(step.names)
        return surely, perhaps

    def names_of(self, item: Def) -> dict[str, None]:
        """The names that matching a definition's pattern surely binds, guards left out."""
        known = self._names_of.get(id(item))
        if known is None:
            known = {"%" + out.name: None for out in item.outs}
            known.update(self._names(item.term))
            self._names_of[id(item)] = known
        return known

    def _names(self, term: Syntax) -> dict[str, None]:
        """The names that matching `term` binds whatever way it goes."""
        if isinstance(term, Var):
            if term.optional:
                return {}
            names = {"%" + term.name: None}
            if term.name in self.defs:
                names.update(self.names_of(self.defs[term.name][0]))
            return names
        if isinstance(term, Capture):
            return {"$" + term.name: None}
        if isinstance(term, Call):
            names = {"$" + term.capture: None} if term.capture else {}
            for attribute in term.attributes:
                for choice in attribute.choices:
                    names.update(self._names(choice))
            for arg in term.args:
                names.update(self._names(arg))
            return names
        if isinstance(term, Either):
            found = [self._names(way.term) for way in term.alternatives]
            return {name: None for name in found[0] if all(name in names for names in found)}
        return {}


def _references(term: Syntax) -> dict[str, int]:
    """How often matching `term` refers to each value: of alternatives, the one that does so most."""
    if isinstance(term, Var):
        return {term.name: 1}
    found: dict[str, int] = {}
    if isinstance(term, Either):
        for way in term.alternatives:
            for name, count in _references(way.term).items():
                found[name] = max(found.get(name, 0), count)
    elif isinstance(term, Call):
        for arg in term.args:
            for name, count in _references(arg).items():
                found[name] = found.get(name, 0) + count
    return found


class GuardStep:
    """A guard in the order of evaluation: those of the where clause, then those of alternatives.

    `way` is the alternative that it belongs to (it counts only if that was taken), `known` the names bound
    before it, `names` those that it binds.
    """

    __slots__ = ("tree", "way", "known", "names")

    def __init__(self, tree: Syntax, way: Alternative | None, known: dict[str, None]) -> None:
        self.tree = tree
        self.way = way
        self.known = dict(known)
        self.names = {n: None for n in bound_by_guard(tree, known) if n not in known}


def _own_names(part: Syntax) -> dict[str, None]:
    """The names that one part binds by itself."""
    if isinstance(part, Var):
        return {"%" + part.name: None}
    if isinstance(part, Capture):
        return {"$" + part.name: None}
    if isinstance(part, Call) and part.capture:
        return {"$" + part.capture: None}
    return {}


def mentioned(tree: Syntax, optional: bool = True) -> dict[str, None]:
    """The values and captures, with sigils, that an expression names; `has(...)` does not count.

    `optional` False: nor do those that may be left out by what it says, as ``native(%b?)`` does.
    """
    names: dict[str, None] = {}
    stack = [tree]
    while stack:
        part = stack.pop()
        if isinstance(part, Invoke) and part.name == "has":
            continue
        if isinstance(part, Var) and (optional or not part.optional):
            names["%" + part.name] = None
        elif isinstance(part, Capture):
            names["$" + part.name] = None
        stack.extend(reversed(children(part)))
    return names


def dims_in(tree: Syntax) -> dict[str, None]:
    """The bare names in an expression, element types left out."""
    from .guards import CONSTANTS

    return {p.name: None for p in walk(tree) if isinstance(p, Name) and p.name not in CONSTANTS}


def bound_by_guard(guard: Syntax, known: Container[str]) -> dict[str, None]:
    """The names that a guard binds, given those that are known: by ``=``, or by solving ``==``."""
    from .guards import solvable

    if isinstance(guard, Bind):
        target, value = guard.target, guard.value
        if isinstance(target, Var):
            return {"%" + target.name: None}
        if isinstance(target, Capture):
            return {"$" + target.name: None}
        if isinstance(target, Name):
            return {target.name: None}
        names = dims_in(value)
        names.update({p.name: None for p in walk(value) if isinstance(p, Rest) and p.name})
        return names
    name = solvable(guard, known)
    return {name: None} if name else {}
