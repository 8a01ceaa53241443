"""Parts of rules as text, for messages."""

from __future__ import annotations

from typing import Any

from ..core import Value
from .functions import ABSENT, UNKNOWN
from .guards import Env, Expressions, compare
from .syntax import (
    Attribute,
    Binary,
    Bind,
    Call,
    Capture,
    Either,
    Hole,
    Invoke,
    Items,
    Literal,
    Member,
    Name,
    Rest,
    Syntax,
    Unary,
    Var,
    plain_name,
    walk,
)

_BINDING = {"or": 1, "and": 2, "==": 4, "!=": 4, "<": 4, "<=": 4, ">": 4, ">=": 4, "+": 5, "-": 5}


def show(tree: Syntax) -> str:
    """A term or expression as its author could have written it."""
    if isinstance(tree, Var):
        marks = "".join(f": {m}" for m in tree.marks)
        return "%" + plain_name(tree.name) + marks + "?" * tree.optional + "..." * tree.variadic
    if isinstance(tree, Capture):
        return "$" + plain_name(tree.name)
    if isinstance(tree, Literal):
        return _literal(tree.value)
    if isinstance(tree, Name):
        return plain_name(tree.name)
    if isinstance(tree, Rest):
        return plain_name(tree.name) + "..."
    if isinstance(tree, Hole):
        return "_"
    if isinstance(tree, Items):
        return f"[{_list(tree.items)}]"
    if isinstance(tree, Binary):
        return f"{_inner(tree.left, tree.op)} {tree.op} {_inner(tree.right, tree.op)}"
    if isinstance(tree, Unary):
        return f"not {show(tree.operand)}" if tree.op == "not" else f"-{show(tree.operand)}"
    if isinstance(tree, Member):
        return f"{show(tree.item)} in {{{_list(tree.choices)}}}"
    if isinstance(tree, Bind):
        return f"{show(tree.target)} = {show(tree.value)}"
    if isinstance(tree, Invoke):
        return f"{tree.name}({_list(tree.args)})"
    if isinstance(tree, Attribute):
        if len(tree.choices) == 1:
            return f"{tree.name} = {show(tree.choices[0])}"
        return f"{tree.name} in {{{_list(tree.choices)}}}"
    if isinstance(tree, Either):
        return "(" + " | ".join(show(a.term) for a in tree.alternatives) + ")"
    assert isinstance(tree, Call)
    return _call(tree)


def facts(tree: Syntax, expressions: Expressions, env: Env) -> str:
    """What the parts of a guard are in a match: ``rank(%b) = 3, S = 128``, or the element that differs."""
    if isinstance(tree, Bind) and isinstance(tree.value, Items):
        odd = _odd_element(tree.target, tree.value, expressions, env)
        if odd:
            return odd
    found: dict[str, str] = {}
    for part in walk(tree):
        if isinstance(part, Invoke) and part.name not in _TOLD:
            for value in part.args:
                if isinstance(value, Var) and not value.variadic:
                    bound = expressions.expression(value)(env)
                    if isinstance(bound, Value):
                        found.setdefault(f"%{plain_name(value.name)}", f"{bound.type}")
        if isinstance(part, (Invoke, Capture, Name, Bind)):
            told = part.target if isinstance(part, Bind) else part
            if isinstance(told, Invoke) and told.name == "has":
                continue
            if not isinstance(told, (Invoke, Capture, Name)) or (isinstance(told, Name) and _is_constant(told)):
                continue
            value = expressions.expression(told)(env)
            if value is not ABSENT:
                found.setdefault(show(told), fact(value))
    return ", ".join(f"{k} = {v}" for k, v in found.items()) or "that it does not hold"


_TOLD = frozenset({"rank", "shape", "dim", "dtype", "has", "const", "scalar", "content", "values", "numel", "uses"})
"""Functions whose result says enough of the value."""


def _odd_element(target: Syntax, wanted: Items, expressions: Expressions, env: Env) -> str:
    """Of a list that does not fit ``shape(%m) = [B, S]``: its length, or the first element that is not proven equal."""
    found = expressions.expression(target)(env)
    if not isinstance(found, tuple):
        return ""
    rest = next((n for n, item in enumerate(wanted.items) if isinstance(item, Rest)), None)
    fixed = len(wanted.items) - (rest is not None)
    if len(found) < fixed or (rest is None and len(found) > fixed):
        return f"{show(target)} = {fact(found)}, {len(found)} elements"
    before = len(wanted.items) if rest is None else rest
    places = [*range(before), *(range(len(found) - (fixed - before), len(found)))]
    items = [item for item in wanted.items if not isinstance(item, Rest)]
    for place, item in zip(places, items):
        if isinstance(item, Hole):
            continue
        needed = expressions.expression(item)(env)
        outcome = compare("==", needed, found[place])
        if outcome is not True and outcome is not ABSENT:
            shown = fact(needed) if show(item) == fact(needed) else f"{show(item)} = {fact(needed)}"
            proof = "must be" if outcome is False else "must provably be"
            return f"{show(target)} = {fact(found)}: element {place} is {fact(found[place])}, {proof} {shown}"
    return ""


def _is_constant(name: Name) -> bool:
    from .guards import CONSTANTS

    return name.name in CONSTANTS


def fact(value: Any) -> str:
    """What a name stands for in a match, in a message."""
    if value is UNKNOWN:
        return "unknown"
    if isinstance(value, Value):
        return f"%{value.hint}: {value.type}"
    if isinstance(value, tuple):
        return "[" + ", ".join(str(v) for v in value) + "]"
    return str(value)


def _literal(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if isinstance(value, str) else repr(value)


def _list(items: tuple[Syntax, ...]) -> str:
    return ", ".join(show(i) for i in items)


def _inner(tree: Syntax, op: str) -> str:
    shown = show(tree)
    if isinstance(tree, Binary) and _BINDING.get(tree.op, 6) <= _BINDING.get(op, 6):
        return f"({shown})"
    return shown


def _call(call: Call) -> str:
    parts = [show(a) for a in call.attributes]
    if call.copy or call.open:
        parts.append(f"*%{call.copy}" if call.copy else "*")
    head = "|".join(call.ops) or "$" + plain_name(call.capture)
    if call.ops and call.capture:
        head += ":$" + plain_name(call.capture)
    return f"{head}({_list(call.args)})" + (f" {{{', '.join(parts)}}}" if parts else "")
