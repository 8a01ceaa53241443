"""lark's parse of a .rules text, made into `syntax` objects. Imported only when a text is not cached."""

from __future__ import annotations

import ast
import os
from typing import Any

import lark

from .syntax import (
    ANY,
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
    Reason,
    Rest,
    RuleDecl,
    Syntax,
    Unary,
    Var,
    problem,
)

_GRAMMAR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "rules.lark")
_READABLE = {
    "VAL": "a %value", "CAP": "a $capture", "NAME": "a name", "NUMBER": "a number", "STRING": "a string",
    "DOC": 'a """docstring"""', "COMPARE": "a comparison", "SIGN": "+ or -", "TIMES": "* or /",
    "LPAR": "(", "RPAR": ")", "LBRACE": "{", "RBRACE": "}", "LSQB": "[", "RSQB": "]", "EQUAL": "=",
    "COMMA": ",", "COLON": ":", "VBAR": "|", "QMARK": "?", "__ANON_0": "|>", "__ANON_1": "...",
    "UNDERSCORE": "_", "$END": "the end",
}  # fmt: skip


class _Marks(tuple[str, ...]):
    """Marks of one value, told apart from other tuples of strings."""


def _place(meta: Any) -> Place:
    return (meta.line, meta.column) if not meta.empty else (0, 0)


def _unquote(text: str) -> str:
    return str(ast.literal_eval(text))


def _number(text: str) -> int | float:
    return int(text) if text.isdigit() else float(text)


@lark.v_args(inline=True, meta=True)
class _Builder(lark.Transformer[Any, Any]):
    """One method per production of rules.lark; the names are the productions'."""

    def start(self, meta: Any, *items: Any) -> tuple[Any, ...]:
        return items

    def rule(self, meta: Any, name: str, *parts: Any) -> RuleDecl:
        headers = tuple((p[1], p[2]) for p in parts if isinstance(p, tuple) and p[:1] == ("header",))
        docs = [p for p in parts if isinstance(p, lark.Token) and p.type == "DOC"]
        doc = " ".join(docs[0][3:-3].split()) if docs else None
        sections = {p[0]: p[1] for p in parts if isinstance(p, tuple) and p[0] != "header"}
        return RuleDecl(
            _place(meta), str(name), doc, headers,
            sections["match"], sections.get("guards", ()), sections.get("rewrite", ()), sections.get("refuse"),
        )  # fmt: skip

    def match(self, meta: Any, *defs: Def) -> tuple[Any, ...]:
        return ("match", defs)

    def rewrite(self, meta: Any, *defs: Def) -> tuple[Any, ...]:
        return ("rewrite", defs)

    def refuse(self, meta: Any, text: Any) -> tuple[Any, ...]:
        place = (text.line, text.column)
        try:
            return ("refuse", Reason.of(place, _unquote(text)))
        except ValueError as error:
            raise _Misplaced(place, f"a reason names what it tells in braces, {{{{ is a brace: {error}") from None

    def header(self, meta: Any, name: str, number: str | None = None) -> tuple[Any, ...]:
        return ("header", str(name), None if number is None else _number(number))

    def pattern(self, meta: Any, name: str, *rest: Any) -> PatternDecl:
        params = rest[0] if rest and isinstance(rest[0], _Marks) else _Marks()
        body = tuple(p for p in rest if isinstance(p, Alternative))
        return PatternDecl(_place(meta), str(name), tuple(params), Either(_place(meta), body))

    def params(self, meta: Any, *names: str) -> _Marks:
        return _Marks(names)

    def param(self, meta: Any, name: str) -> str:
        return str(name)

    def alternative(self, meta: Any, term: Syntax) -> Alternative:
        return Alternative(_place(meta), term)

    def block(self, meta: Any, *parts: Any) -> Alternative:
        defs = tuple(p for p in parts if isinstance(p, Def))
        guards = parts[-1][1] if isinstance(parts[-1], tuple) else ()
        result = defs[-1].outs[0]
        return Alternative(_place(meta), Var(result.place, result.name), guards, defs)

    def definition(self, meta: Any, outs: tuple[Var, ...], term: Syntax) -> Def:
        return Def(_place(meta), outs, term)

    def outs(self, meta: Any, *outs: Var) -> tuple[Var, ...]:
        return outs

    def out(self, meta: Any, name: str, *marks: str) -> Var:
        return Var(_place(meta), name[1:], tuple(marks))

    def skip(self, meta: Any) -> Var:
        return Var(_place(meta), "_")

    def mark(self, meta: Any, name: str) -> str:
        return str(name)

    def guards(self, meta: Any, *guards: Syntax) -> tuple[Any, ...]:
        return ("guards", guards)

    def bind(self, meta: Any, target: Syntax, value: Syntax) -> Bind:
        return Bind(_place(meta), target, value)

    def chain(self, meta: Any, head: Syntax, stage: tuple[Call, bool]) -> Chain:
        call, optional = stage
        if isinstance(head, Chain):
            return Chain(head.place, head.head, (*head.stages, call), (*head.optional, optional))
        return Chain(_place(meta), head, (call,), (optional,))

    def stage(self, meta: Any, call: Syntax, optional: Any = None) -> tuple[Any, bool]:
        return call, optional is not None

    def either(self, meta: Any, left: Syntax, right: Syntax) -> Binary:
        return Binary(_place(meta), "or", left, right)

    def both(self, meta: Any, left: Syntax, right: Syntax) -> Binary:
        return Binary(_place(meta), "and", left, right)

    def negate(self, meta: Any, operand: Syntax) -> Unary:
        return Unary(_place(meta), "not", operand)

    def compare(self, meta: Any, left: Syntax, op: str, right: Syntax) -> Binary:
        return Binary(_place(meta), str(op), left, right)

    binary = compare

    def member(self, meta: Any, item: Syntax, choices: tuple[Syntax, ...]) -> Member:
        return Member(_place(meta), item, choices)

    def signed(self, meta: Any, sign: str, operand: Syntax) -> Syntax:
        if isinstance(operand, Literal) and isinstance(operand.value, (int, float)):
            return Literal(_place(meta), -operand.value if sign == "-" else operand.value)
        return Unary(_place(meta), "-", operand) if sign == "-" else operand

    def value(self, meta: Any, name: str, *marks: str) -> Var:
        return Var(_place(meta), name[1:], tuple(marks))

    def maybe(self, meta: Any, name: str) -> Var:
        return Var(_place(meta), name[1:], optional=True)

    def variadic(self, meta: Any, name: str) -> Var:
        return Var(_place(meta), name[1:], variadic=True)

    def capture(self, meta: Any, name: str) -> Capture:
        return Capture(_place(meta), name[1:])

    def number(self, meta: Any, text: str) -> Literal:
        return Literal(_place(meta), _number(text))

    def string(self, meta: Any, text: str) -> Literal:
        return Literal(_place(meta), _unquote(text))

    def name(self, meta: Any, name: str) -> Syntax:
        return Literal(_place(meta), float(name)) if name in ("inf", "nan") else Name(_place(meta), str(name))

    def hole(self, meta: Any) -> Hole:
        return Hole(_place(meta))

    def absent(self, meta: Any) -> Literal:
        return Literal(_place(meta), None)

    def true(self, meta: Any) -> Literal:
        return Literal(_place(meta), True)

    def false(self, meta: Any) -> Literal:
        return Literal(_place(meta), False)

    def sequence(self, meta: Any, items: tuple[Syntax, ...] = ()) -> Items:
        return Items(_place(meta), items)

    def group(self, meta: Any, *terms: Syntax) -> Syntax:
        if len(terms) == 1:
            return terms[0]
        return Either(_place(meta), tuple(Alternative(t.place, t) for t in terms))

    def items(self, meta: Any, *items: Syntax) -> tuple[Syntax, ...]:
        return items

    def rest(self, meta: Any, name: str = "") -> Rest:
        return Rest(_place(meta), str(name))

    def callee(self, meta: Any, *names: Any) -> tuple[Any, ...]:
        ops = tuple(str(n) for n in names if isinstance(n, lark.Token))
        capture = next((str(n[1]) for n in names if isinstance(n, tuple) and n[0] == "named"), "")
        return ops, capture, any(n == ("optional",) for n in names)

    def optional(self, meta: Any) -> tuple[str]:
        return ("optional",)

    def named(self, meta: Any, capture: str) -> tuple[str, str]:
        return ("named", capture[1:])

    def applied(self, meta: Any, capture: str) -> tuple[Any, ...]:
        return (), capture[1:], False

    def anything(self, meta: Any, named: tuple[str, str] = ("named", "")) -> tuple[Any, ...]:
        return (ANY,), named[1], False

    def args(self, meta: Any, *args: Syntax) -> tuple[Syntax, ...]:
        return args

    def call(self, meta: Any, callee: tuple[Any, ...], *parts: Any) -> Syntax:
        ops, capture, optional = callee
        args: tuple[Syntax, ...] = ()
        attributes: list[Any] | None = None
        for part in parts:
            if isinstance(part, tuple):
                args = part
            else:
                attributes = part
        if len(ops) == 1 and not capture and _is_function(ops[0]):
            if attributes is not None or optional:
                raise _Misplaced(_place(meta), f"{ops[0]}(...) is no op: it takes no attributes and no '?'")
            return Invoke(_place(meta), ops[0], args)
        given = attributes or []
        return Call(
            _place(meta), ops, capture, args,
            tuple(a for a in given if isinstance(a, Attribute)),
            any(a == ("open", "") for a in given),
            next((a[1] for a in given if isinstance(a, tuple) and a[1]), ""),
            optional,
        )  # fmt: skip

    def attributes(self, meta: Any, *attributes: Any) -> list[Any]:
        return list(attributes)

    def attribute(self, meta: Any, name: str, value: Syntax) -> Attribute:
        return Attribute(_place(meta), str(name), (value,))

    def attribute_in(self, meta: Any, name: str, choices: tuple[Syntax, ...]) -> Attribute:
        return Attribute(_place(meta), str(name), choices)

    def open(self, meta: Any, sign: str, name: str = "%") -> tuple[str, str]:
        if sign != "*":
            raise _Misplaced(_place(meta), "expected an attribute, *, or *%value")
        return ("open", name[1:])


class _Misplaced(Exception):
    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


def _is_function(name: str) -> bool:
    """Lower-case names without a domain are functions and patterns, all others operators."""
    return "::" not in name and name != ANY and (name[0].islower() or name[0] == "_")


_parser: Any = None


def parse_surface(text: str, source: str) -> tuple[Any, ...]:
    """The declarations of a text, in order. Raises TextError with line and column."""
    global _parser
    if _parser is None:
        with open(_GRAMMAR, encoding="utf-8") as file:
            grammar = file.read()
        _parser = lark.Lark(
            grammar, parser="lalr", propagate_positions=True, maybe_placeholders=False
        )
    try:
        declarations: tuple[Any, ...] = _Builder().transform(_parser.parse(text))
    except lark.exceptions.VisitError as error:
        if isinstance(error.orig_exc, _Misplaced):
            raise problem(error.orig_exc.message, source, error.orig_exc.place) from None
        raise
    except lark.exceptions.UnexpectedCharacters as unexpected:
        found = text.split("\n")[unexpected.line - 1][unexpected.column - 1]
        message = f"unexpected {found!r}{_expected(unexpected.allowed or ())}"
        raise problem(message, source, (unexpected.line, unexpected.column)) from None
    except lark.exceptions.UnexpectedToken as wrong:
        if wrong.token.type == "$END":
            place = (text.count("\n") + 1, len(text) - text.rfind("\n"))
            raise problem(f"unexpected end of the text{_expected(wrong.expected)}", source, place) from None
        message = f"unexpected {str(wrong.token)!r}{_expected(wrong.expected)}"
        raise problem(message, source, (wrong.line, wrong.column)) from None
    return declarations


def _expected(names: Any) -> str:
    readable = sorted(_READABLE.get(n, n.lower().replace("_", " ")) for n in names)
    if not readable or len(readable) > 8:
        return ""
    return ", expected " + (" or ".join(readable) if len(readable) < 3 else "one of " + " ".join(readable))
