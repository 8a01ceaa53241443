"""What follows from the text of a left side: its parts by number, what each needs, and the ways to match."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ...ir.rewrite import Rule
from ...ir.rewrite.functions import FUNCTIONS
from ...ir.rewrite.show import show
from ...ir.rewrite.syntax import Call, Def, Either, Invoke, Syntax, Var, plain_name, walk


def numbering(rule: Rule) -> dict[int, int]:
    """A number for each part of the left side, by id, the same each time."""
    found: dict[int, int] = {}
    for item in rule.match:
        for part in walk(item.term):
            found.setdefault(id(part), len(found))
    return found


@lru_cache(maxsize=4)
def structure(rule: Rule) -> Structure:
    """The structure of a rule's left side."""
    return Structure(rule)


class Structure:
    """What is asked of a left side again and again: a number for each part, and the operands below each term."""

    def __init__(self, rule: Rule) -> None:
        self.numbers = numbering(rule)
        self._defs = rule.analysis.defs
        self._below: dict[int, frozenset[str]] = {}
        # Operands that natives are asked about: what each is to them, by name.
        self.asked: dict[str, list[tuple[str, int]]] = {}
        for call in (p for guard in rule.where for p in walk(guard)):
            if isinstance(call, Invoke) and call.name not in FUNCTIONS:
                for index, arg in enumerate(call.args):
                    if isinstance(arg, Var):
                        self.asked.setdefault(arg.name, []).append((call.name, index))

    def below(self, tree: Syntax) -> frozenset[str]:
        """The names of all values that a term needs, through definitions."""
        found = self._below.get(id(tree))
        if found is None:
            names: set[str] = set()
            for part in walk(tree):
                if isinstance(part, Var) and part.name != "_" and part.name not in names:
                    names.add(part.name)
                    known = self._defs.get(part.name)
                    if known is not None:
                        names |= self.below(known[0].term)
            found = self._below[id(tree)] = frozenset(names)
        return found


@dataclass(frozen=True)
class Option:
    """One of several ways to write a part of the left side; `requires` are the decisions it takes, its own last."""

    text: str
    requires: tuple[tuple[str, int], ...]


def options_of(rule: Rule) -> list[Option]:
    """Every alternative, operator, attribute value and optional operand of the left side."""
    numbers = numbering(rule)
    found: dict[tuple[tuple[str, int], ...], Option] = {}
    seen: set[int] = set()

    def note(path: tuple[tuple[str, int], ...], text: str) -> None:
        found.setdefault(path, Option(" ".join(text.split())[:70], path))

    def visit(tree: Syntax, path: tuple[tuple[str, int], ...]) -> None:
        if isinstance(tree, Either):
            for index, way in enumerate(tree.alternatives):
                taken = (*path, (f"way{numbers[id(tree)]}", index))
                note(taken, show(way.term))
                visit(way.term, taken)
        elif isinstance(tree, Call):
            if len(tree.ops) > 1:
                for index, key in enumerate(tree.ops):
                    note((*path, (f"op{numbers[id(tree)]}", index)), key)
            for attribute in tree.attributes:
                if len(attribute.choices) > 1:
                    for index, choice in enumerate(attribute.choices):
                        label = f"attr{numbers[id(tree)]}.{attribute.name}"
                        note((*path, (label, index)), f"{attribute.name} = {show(choice)}")
            for arg in tree.args:
                visit(arg, path)
        elif isinstance(tree, Var):
            known = rule.analysis.defs.get(tree.name)
            if known is not None:
                define(known[0], path)
            elif tree.optional and f"%{tree.name}" not in named:
                named.add(f"%{tree.name}")
                note((*path, (f"has.{tree.name}", 0)), f"without %{plain_name(tree.name)}")
                note((*path, (f"has.{tree.name}", 1)), f"with %{plain_name(tree.name)}")

    def define(item: Def, path: tuple[tuple[str, int], ...]) -> None:
        if id(item) not in seen:
            seen.add(id(item))
            visit(item.term, path)

    named: set[str] = set()
    for root in rule.analysis.roots:
        define(root, ())
    return list(found.values())
