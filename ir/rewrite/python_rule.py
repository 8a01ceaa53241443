"""Rules written as Python classes; they become the same `Rule` objects as text.

    @rule(benefit=40)
    class MatMulBiasGelu:
        \"\"\"MatMul + bias + Gelu.\"\"\"

        def match(p, x, w: const, b: const):
            return p.Gelu(p.Add(p.MatMul(x, w), b))

        def where(b):
            return rank(b) == 1

        def rewrite(g, x, w, b):
            return g.op("geoc::MatMulBias", x, w, b, act="gelu")

Each function is called once, with symbolic values; parameter names are the captures. `where` and `rewrite`
receive only what they name. In `match`, `p.Op(...)` is a pattern, attributes are keywords, `any_of(a, b)` is
alternatives, `maybe(call)` an operator that may be missing, `attr("ax")` captures an attribute (any
name that is no parameter of match), `others=True` leaves other attributes free. Parameters annotated with
`const`, `scalar`, `weight` or an element type are marked so; `number` makes a ``$capture``, `many` a ``%v...``,
`optional` a ``%v?``. A tuple from `match` gives several roots. `where` returns a condition, or a list of them,
made of built-in functions, natives and operators, with & | ~ for and, or, not. Anything else belongs in a `@native`.
A text `refuse = "no {$mode} interpolation"` in place of `rewrite` makes a rule that refuses.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import UsageError
from ..types import BY_NAME, DType
from .analyse import Analysis
from .functions import FUNCTIONS
from .native import NATIVES, Traced
from .rule import Rule, rule_of
from .syntax import (
    Alternative,
    Attribute,
    Binary,
    Call,
    Capture,
    Def,
    Either,
    Invoke,
    Items,
    Literal,
    Member,
    Name,
    Place,
    Reason,
    RuleDecl,
    Syntax,
    Unary,
    Var,
    problem,
)

_place: Place = (0, 0)


class Term(Traced):
    """A symbolic part of a rule: operators on it give larger parts."""

    __slots__ = ("tree", "outputs")

    def __init__(self, tree: Syntax, outputs: int = 1) -> None:
        self.tree = tree
        self.outputs = outputs

    def __bool__(self) -> bool:
        raise UsageError(
            "a rule's functions are called once with symbolic values, which are neither true nor false: "
            "use & | ~ in where, or move the decision into a @native"
        )

    __hash__ = None  # type: ignore[assignment]

    def isin(self, *choices: Any) -> Term:
        """``self in {choices}``."""
        return Term(Member(_place, self.tree, tuple(_tree(c) for c in choices)))

    def __invert__(self) -> Term:
        return Term(Unary(_place, "not", self.tree))

    def __neg__(self) -> Term:
        return Term(Unary(_place, "-", self.tree))

    def __iter__(self) -> Any:
        if not isinstance(self.tree, Call):
            raise UsageError("only an operator has several outputs")
        raise UsageError("write p.Op(..., outputs=2) for an operator with two outputs")


def _binary(op: str) -> Callable[[Term, Any], Term]:
    return lambda self, other: Term(Binary(_place, op, self.tree, _tree(other)))


def _reflected(op: str) -> Callable[[Term, Any], Term]:
    return lambda self, other: Term(Binary(_place, op, _tree(other), self.tree))


for _method, _op in {
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "add": "+", "sub": "-",
    "mul": "*", "truediv": "/", "and": "and", "or": "or",
}.items():  # fmt: skip
    setattr(Term, f"__{_method}__", _binary(_op))
    if _method in ("add", "sub", "mul", "truediv"):
        setattr(Term, f"__r{_method}__", _reflected(_op))


class Kind:
    """An annotation of a parameter of `match`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


const, scalar_const, weight = Kind("const"), Kind("scalar"), Kind("weight")
number, many, optional = Kind("$"), Kind("..."), Kind("?")


def any_of(*ways: Any) -> Term:
    """Alternatives, tried in order; on the right side the first whose values are all present."""
    return Term(Either(_place, tuple(Alternative(_place, _tree(w)) for w in ways)))


def maybe(call: Term) -> Term:
    """An operator that may be missing: its first operand then stands for it."""
    if not isinstance(call.tree, Call) or not call.tree.args:
        raise UsageError("maybe(...) takes an operator with operands")
    return any_of(call, Term(call.tree.args[0]))


def attr(name: str) -> Term:
    """A capture of an attribute's value, read by parameters of that name in where and rewrite."""
    return Term(Capture(_place, name))


def has(value: Term) -> Term:
    """Whether a value or capture is bound."""
    return Term(Invoke(_place, "has", (value.tree,)))


def invoke(name: str, args: tuple[Any, ...]) -> Term:
    """A call of a native or built-in function in a rule."""
    return Term(Invoke(_place, name, tuple(_tree(a) for a in args)))


def function(name: str) -> Callable[..., Term]:
    """A built-in function of guards (`rank`, `shape`, ...), for use in where and rewrite."""
    if name not in FUNCTIONS:
        raise UsageError(f"no built-in function {name!r}")
    return lambda *args: invoke(name, args)


rank, dim, dtype, shape = function("rank"), function("dim"), function("dtype"), function("shape")
scalar, same, broadcasts = function("scalar"), function("same"), function("broadcasts")
content, numel, is_const = function("content"), function("numel"), function("const")


class _Namespace:
    """`p` in match, `g` in rewrite: attribute access and `op` make calls, and remember outputs."""

    __slots__ = ("defs", "sides")

    def __init__(self) -> None:
        self.defs: list[Def] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **options: self.op(name, *args, **options)

    def op(self, key: str, *args: Any, outputs: int = 1, others: bool = False, **attrs: Any) -> Any:
        """A call of an operator: operands, then attributes as keywords.

        `key` may be ``"Mul|Div"`` in match. With `outputs` it gives a tuple of values.
        """
        attributes = tuple(Attribute(_place, n, _choices(v)) for n, v in attrs.items())
        ops = tuple(part.strip() for part in key.split("|"))
        call = Call(_place, ops, "", tuple(_tree(a) for a in args), attributes, others)
        if outputs == 1:
            return Term(call)
        names = [f"~o{len(self.defs)}_{i}" for i in range(outputs)]
        self.defs.append(Def(_place, tuple(Var(_place, n) for n in names), call))
        return tuple(Term(Var(_place, n)) for n in names)


def _choices(value: Any) -> tuple[Syntax, ...]:
    if isinstance(value, (set, frozenset)):
        return tuple(_tree(v) for v in sorted(value, key=repr))
    return (_tree(value),)


def _tree(value: Any) -> Syntax:
    """A Python value as part of a rule."""
    if isinstance(value, Term):
        return value.tree
    if isinstance(value, (list, tuple)):
        return Items(_place, tuple(_tree(v) for v in value))
    if isinstance(value, DType):
        return Name(_place, value.name)
    if value is None or isinstance(value, (bool, int, float, str)):
        return Literal(_place, value)
    raise UsageError(f"{value!r} cannot be part of a rule")


def rule(
    benefit: int = 0, *, shared: bool = False, expands: bool = False, name: str = ""
) -> Callable[[type], Rule]:
    """Make a class with `match`, `rewrite` and perhaps `where` into a `Rule`; see the module.

    Raises TextError, naming file and line of the class, for what the text form would refuse as well.
    """

    def decorate(cls: type) -> Rule:
        global _place
        match = vars(cls).get("match")
        rewrite, refuse = vars(cls).get("rewrite"), vars(cls).get("refuse")
        if match is None or (rewrite is None) is (refuse is None):
            raise UsageError(f"rule {cls.__name__!r} needs the functions match and rewrite, or match and a text refuse")
        source = sys.modules[cls.__module__].__file__ or "<python>"
        _place = (match.__code__.co_firstlineno, 1)
        headers = [("benefit", benefit), *(("shared", None) for _ in [0] if shared)]
        headers += [("expands", None) for _ in [0] if expands]
        doc = " ".join((cls.__doc__ or "").split()) or None
        parts = _trace(cls, match, rewrite)
        try:
            reason = None if refuse is None else Reason.of(_place, refuse)
        except ValueError as error:
            raise problem(str(error), source, _place) from None
        declared = RuleDecl(_place, name or _snake(cls.__name__), doc, tuple(headers), *parts, reason)
        return _finished(declared, source)

    return decorate


def _finished(declared: RuleDecl, source: str) -> Rule:
    from .check import check
    from .expand import expand

    analysis = Analysis(expand(declared, {}, source), source)
    check(analysis, NATIVES)
    return rule_of(analysis)


def _trace(cls: type, match: Any, rewrite: Any) -> tuple[Any, Any, Any]:
    """Call the functions with symbolic values: definitions, guards, definitions."""
    captures = _captures(match)
    left = _Namespace()
    roots = match(left, *captures.values())
    found = roots if isinstance(roots, tuple) else (roots,)
    named = [_root(term, index, left) for index, term in enumerate(found)]
    known = _passed(captures)
    where = vars(cls).get("where")
    guards: tuple[Syntax, ...] = ()
    if where is not None:
        result = where(*_arguments(where, known, 0))
        listed = result if isinstance(result, (list, tuple)) else (result,)
        guards = tuple(_tree(g) for g in listed)
    if rewrite is None:
        return tuple(left.defs), guards, ()
    right = _Namespace()
    values = rewrite(right, *_arguments(rewrite, known, 1))
    made = values if isinstance(values, tuple) else (values,)
    if len(made) != len(named):
        raise UsageError(f"match gives {len(named)} values, rewrite {len(made)}")
    defs = [*right.defs]
    for name, term in zip(named, made):
        defs.append(Def(_place, (Var(_place, name),), _tree(term)))
    defs = [Def(d.place, d.outs, _required(d.term, False)) for d in defs]
    return tuple(left.defs), guards, tuple(_merged(defs))


def _merged(defs: list[Def]) -> list[Def]:
    """Let a definition of several outputs assign the roots itself, where it only passes them on."""
    renamed = {
        d.term.name: d.outs[0].name
        for d in defs
        if isinstance(d.term, Var) and d.term.name.startswith("~o")
    }
    kept = [d for d in defs if not (isinstance(d.term, Var) and d.term.name in renamed)]
    return [
        Def(d.place, tuple(Var(o.place, renamed.get(o.name, o.name)) for o in d.outs), d.term)
        for d in kept
    ]


def _required(term: Syntax, inside: bool) -> Syntax:
    """Inside alternatives of the right side every value must be there for one to be taken."""
    if isinstance(term, Either):
        ways = tuple(Alternative(w.place, _required(w.term, True)) for w in term.alternatives)
        return Either(term.place, ways)
    if isinstance(term, Call):
        return term.replace(tuple(_required(a, inside) for a in term.args), term.optional)
    if isinstance(term, Var) and inside and term.optional:
        return Var(term.place, term.name)
    return term


def _root(term: Any, index: int, namespace: _Namespace) -> str:
    if not isinstance(term, Term):
        raise UsageError("match gives an operator's value, or a tuple of them")
    if isinstance(term.tree, Var):
        return term.tree.name
    name = f"~y{index}"
    namespace.defs.append(Def(_place, (Var(_place, name),), term.tree))
    return name


def _captures(match: Any) -> dict[str, Term]:
    code = match.__code__
    names = code.co_varnames[1 : code.co_argcount]
    notes = {n: _kind(a, match) for n, a in match.__annotations__.items()}
    made: dict[str, Term] = {}
    for name in names:
        kind = notes.get(name, "")
        if kind == "$":
            made[name] = Term(Capture(_place, name))
        else:
            marks = (kind,) if kind not in ("", "...", "?") else ()
            made[name] = Term(Var(_place, name, marks, kind == "?", kind == "..."))
    return made


def _kind(note: Any, match: Any) -> str:
    # With postponed evaluation the annotation is its own text.
    if isinstance(note, str):
        note = BY_NAME.get(note) or match.__globals__.get(note, note)
    if isinstance(note, DType):
        return note.name
    if isinstance(note, Kind):
        return note.name
    raise UsageError(f"{note!r} is no kind of parameter: const, weight, number, many, optional, f32, ...")


def _passed(captures: Mapping[str, Term]) -> dict[str, Term]:
    """The captures as guards and the right side name them: without marks."""
    made: dict[str, Term] = {}
    for name, term in captures.items():
        tree = term.tree
        if isinstance(tree, Var):
            term = Term(Var(_place, tree.name, (), tree.optional, tree.variadic))
        made[name] = term
    return made


def _arguments(function: Any, known: Mapping[str, Term], skip: int) -> list[Term]:
    code = function.__code__
    names = code.co_varnames[skip : code.co_argcount]
    return [known[n] if n in known else Term(Capture(_place, n)) for n in names]


def _snake(name: str) -> str:
    made = "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")
    return made
