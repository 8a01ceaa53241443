"""Rules and sets of rules, indexed by the op of the root and by what its operands must be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from ..core import Node
from ..errors import UsageError
from ..ops import Op
from ..ops import op as op_of
from .analyse import Analysis
from .build import Replacement, computed_of
from .match import Matcher
from .named import ops_named
from .native import NATIVES
from .syntax import ANY, Call, Capture, Def, Either, Literal, RuleDecl, Syntax, Var, from_plain, to_plain, walk
from .terms import Recorder

CONSTANT: Final = "constant"
_WIDE: Final = "wide"  # heads the signature of many operands: each producer once, positions dropped
Producer = Any  # an Op, CONSTANT, or None for inputs and absent operands
Signature = tuple[Producer, ...]
# One way a root can look: ops, then per operand that is not free (position or -1 for any, ops or None
# for a constant).
Way = tuple[frozenset[Op], tuple[tuple[int, "frozenset[Op] | None"], ...]]

SHARED_USES = 64  # how widely a value may be used that a rule with shared values looks through


class Entry:
    """One rule, entered at one of its roots. `everywhere`: that may be any operator; else it is one of `ops`."""

    __slots__ = ("rule", "root", "ways", "ops", "everywhere", "_compiled")

    def __init__(self, rule: Rule, root: int, ways: list[Any]) -> None:
        self.rule = rule
        self.root = root
        self.ways: list[Way] = [
            (ops_named(keys), tuple((at, None if of is None else ops_named(of)) for at, of in needs))
            for keys, needs in ways
        ]
        self.ops: tuple[Op, ...] = tuple(
            dict.fromkeys(op_of(key) for keys, _ in ways for key in keys if key != ANY)
        )
        self.everywhere = any(ANY in keys for keys, _ in ways)
        self._compiled: tuple[Matcher, Replacement] | None = None

    def begins_at(self, op: Op) -> bool:
        """Whether a node of that operator can be the root."""
        return self.everywhere or op in self.ops

    def may_match(self, op: Op, operands: Signature) -> bool:
        """False when the ops that produce the operands rule a match out."""
        for ops, needs in self.ways:
            if op in ops and all(_has(op, operands, at, wanted) for at, wanted in needs):
                return True
        return False

    def may_nearly_match(self, op: Op, operands: Signature) -> bool:
        """As `may_match`, where some of the operands that must be there may be missing."""
        for ops, needs in self.ways:
            if op in ops and (not needs or any(_has(op, operands, at, wanted) for at, wanted in needs)):
                return True
        return False

    def compiled(self) -> tuple[Matcher, Replacement]:
        """The matcher and the builder, compiled when first needed."""
        if self._compiled is None:
            self._compiled = self.compile(None)
        return self._compiled

    def compile(self, recorder: Recorder | None) -> tuple[Matcher, Replacement]:
        """Compile for matching, or with a recorder for explaining."""
        rule = self.rule
        computed = computed_of(rule.decl)
        analysis = rule.analysis
        rewritten = [o.name for d in rule.decl.rewrite for o in d.outs if o.name in analysis.defs]
        matcher = Matcher(
            analysis, self.root, rule.shared, rule.natives, computed, rewritten, recorder
        )
        return matcher, Replacement(analysis, matcher.layout, computed)


class Rule:
    """A rewrite rule; both sides are data.

    `match`, `where` and `rewrite` are the sides in the core form of `syntax`, decoded when asked for.
    `expands` says that the right side may cost more than the left, `refuses` that there is none: what matches is
    refused.
    """

    __slots__ = (
        "name", "doc", "benefit", "shared", "expands", "source", "place", "depth", "uses", "inner", "needs",
        "natives", "entries", "refuses", "_plain", "_decl", "_analysis",
    )  # fmt: skip

    def __init__(self, row: list[Any], plain: Any, source: str, natives: Mapping[str, Any]) -> None:
        """From a row of `row_of` and the plain form of its declaration, as JSON text or as a tree."""
        (
            self.name, self.doc, place, self.benefit, self.shared, self.expands, self.depth, self.uses,
            self.inner, _, ways, needs, self.refuses,
        ) = row  # fmt: skip
        # A match has an op of each of these sets.
        self.needs: tuple[frozenset[Op], ...] = tuple(ops_named(keys) for keys in needs)
        self.place: tuple[int, int] = (place[0], place[1])
        self.source = source
        self.natives: Mapping[str, Callable[..., Any]] = natives
        self._plain = plain
        self._decl: RuleDecl | None = plain if isinstance(plain, RuleDecl) else None
        self._analysis: Analysis | None = None
        self.entries = tuple(Entry(self, root, of) for root, of in enumerate(ways))

    @property
    def decl(self) -> RuleDecl:
        """The declaration in core form."""
        if self._decl is None:
            self._decl = from_plain(json.loads(self._plain))
        return self._decl

    @property
    def match(self) -> tuple[Def, ...]:
        return self.decl.match

    @property
    def where(self) -> tuple[Syntax, ...]:
        return self.decl.where

    @property
    def rewrite(self) -> tuple[Def, ...]:
        return self.decl.rewrite

    @property
    def analysis(self) -> Analysis:
        """Roots and bound names."""
        if self._analysis is None:
            self._analysis = Analysis(self.decl, self.source, checked=True)
        return self._analysis

    @property
    def left_ops(self) -> tuple[str, ...]:
        """Keys of all ops that the left side names."""
        return _named_ops(self.match)

    @property
    def right_ops(self) -> tuple[str, ...]:
        """Keys of all ops that the right side names."""
        return _named_ops(self.rewrite)

    @property
    def location(self) -> str:
        """Where the rule stands: ``file:line``."""
        return f"{self.source}:{self.place[0]}"

    def __repr__(self) -> str:
        return f"<rule {self.name} at {self.location}>"


class RuleSet:
    """Rules in the order in which they are tried: benefit from high to low, then as given."""

    __slots__ = ("rules", "by_name", "root_ops", "everywhere", "ranks", "inner_ops", "depth", "uses", "_candidates")

    def __init__(self, rules: Iterable[Rule]) -> None:
        """Raises UsageError when two rules have one name."""
        self.rules = tuple(rules)
        self.by_name: dict[str, Rule] = {}
        for rule in self.rules:
            other = self.by_name.setdefault(rule.name, rule)
            if other is not rule:
                raise UsageError(
                    f"rule {rule.name!r} is defined twice: {other.location} and {rule.location}"
                )
        order = sorted(self.rules, key=lambda rule: -rule.benefit)
        self.root_ops: dict[Op, list[Entry]] = {}
        self.everywhere: list[Entry] = []  # entries that begin at any operator
        self.ranks: dict[Entry, int] = {}  # the order in which all are tried
        for rule in order:
            for entry in rule.entries:
                self.ranks[entry] = len(self.ranks)
                if entry.everywhere:
                    self.everywhere.append(entry)
                for op in () if entry.everywhere else entry.ops:
                    self.root_ops.setdefault(op, []).append(entry)
        self.inner_ops = ops_named({key for rule in self.rules for key in rule.inner})
        self.depth = max((r.depth for r in self.rules), default=0)
        self.uses = max((r.uses for r in self.rules), default=0)
        self._candidates: dict[tuple[Op, Signature], tuple[Entry, ...]] = {}

    def candidates(self, node: Node) -> tuple[Entry, ...]:
        """The entries worth trying at a node, best first; those that begin at any operator are not among them."""
        return self.candidates_at(node.op, signature_of(node))

    def candidates_at(self, op: Op, operands: Signature) -> tuple[Entry, ...]:
        """The entries worth trying at a node with this op and operands, best first."""
        key = (op, operands)
        found = self._candidates.get(key)
        if found is None:
            found = self._candidates[key] = tuple(
                entry for entry in self.root_ops.get(op, ()) if entry.may_match(op, operands)
            )
        return found

    def rewriting(self) -> RuleSet:
        """Those of the rules that rewrite."""
        return RuleSet([r for r in self.rules if not r.refuses]) if any(r.refuses for r in self.rules) else self

    def refusing(self) -> RuleSet:
        """Those of the rules that refuse."""
        return self if all(r.refuses for r in self.rules) else RuleSet([r for r in self.rules if r.refuses])

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules)

    def __len__(self) -> int:
        return len(self.rules)

    def __add__(self, other: RuleSet) -> RuleSet:
        return RuleSet((*self.rules, *other.rules))


def signature_of(node: Node) -> Signature:
    """What a node's operands come from."""
    operands: list[Producer] = []
    for value in node.inputs:
        if value is None:
            operands.append(None)
        elif value.producer is not None:
            operands.append(value.producer.op)
        else:
            operands.append(None if value.const is None else CONSTANT)
    if len(operands) > 4:
        operands = [_WIDE, *dict.fromkeys(operands)]
    return tuple(operands)


def _has(op: Op, operands: Signature, at: int, wanted: frozenset[Op] | None) -> bool:
    anywhere = at < 0 or op.commutative or operands[:1] == (_WIDE,)
    found = operands if anywhere else operands[at : at + 1]
    if wanted is None:
        return CONSTANT in found
    return any(producer in wanted for producer in found)


def _named_ops(side: tuple[Def, ...]) -> tuple[str, ...]:
    calls = [p for item in side for p in walk(item.term) if isinstance(p, Call)]
    return tuple(dict.fromkeys(name for call in calls for name in call.ops if name != ANY))


# What the cache keeps per rule beside its tree

NATIVES_OF_ROW: Final = 9  # index of the names of the natives that a rule calls


def row_of(analysis: Analysis, natives: Iterable[str]) -> list[Any]:
    """The facts about a rule that are needed before its tree is: JSON-compatible."""
    rule = analysis.rule
    headers = dict(rule.headers)
    shared = "shared" in headers
    marks = [o.marks for d in rule.match for o in d.outs]
    uses = max([analysis.references.get(name, 0) for name in analysis.defs], default=1)
    if shared or any("shared" in m for m in marks):
        uses = max(uses, SHARED_USES)
    known: dict[str, int] = {}
    depth = max(_depth(root.term, analysis, known) for root in analysis.roots)
    ways = [_ways(root.term, analysis) for root in analysis.roots]
    return [
        rule.name, rule.doc, list(rule.place), headers.get("benefit") or 0, shared,
        "expands" in headers, depth, max(uses, 1), _named_ops(rule.match), list(natives), ways, _needs(analysis),
        rule.refuse is not None,
    ]  # fmt: skip


def tree_of(rule: RuleDecl) -> str:
    """The declaration as one line of JSON."""
    return json.dumps(to_plain(rule), separators=(",", ":"))


def rule_of(analysis: Analysis, natives: Mapping[str, Any] = NATIVES) -> Rule:
    """The rule for an analysed and checked declaration."""
    made = Rule(row_of(analysis, ()), analysis.rule, analysis.source, natives)
    made._analysis = analysis
    return made


def _depth(term: Syntax, analysis: Analysis, known: dict[str, int]) -> int:
    """How many calls lie on the longest way from a root to an operand; `known` of values that are defined."""
    if isinstance(term, Call):
        return 1 + max([_depth(a, analysis, known) for a in term.args], default=0)
    if isinstance(term, Either):
        return max(_depth(a.term, analysis, known) for a in term.alternatives)
    if isinstance(term, Var) and term.name in analysis.defs:
        if term.name not in known:
            known[term.name] = _depth(analysis.defs[term.name][0].term, analysis, known)
        return known[term.name]
    return 0


def _needs(analysis: Analysis) -> list[list[str]]:
    """Sets of ops such that every match has one of each."""
    known: dict[str, dict[tuple[str, ...], None]] = {}

    def of(term: Syntax) -> dict[tuple[str, ...], None]:
        found: dict[tuple[str, ...], None] = {}
        if isinstance(term, Call):
            if ANY not in term.ops:
                found[term.ops] = None
            for arg in term.args:
                found.update(of(arg))
        elif isinstance(term, Either):
            ways = [of(way.term) for way in term.alternatives]
            common = {ops: None for ops in ways[0] if all(ops in way for way in ways)}
            found.update(common)
            rest = [[ops for ops in way if ops not in common] for way in ways]
            if all(rest):
                found[tuple(dict.fromkeys(name for way in rest for name in min(way, key=_usual)))] = None
        elif isinstance(term, Var) and not term.optional and term.name in analysis.defs:
            if term.name not in known:
                known[term.name] = of(analysis.defs[term.name][0].term)
            found.update(known[term.name])
        return found

    total: dict[tuple[str, ...], None] = {}
    for root in analysis.roots:
        total.update(of(root.term))
    return [list(ops) for ops in total]


_USUAL = ("Add", "Mul", "Sub", "Div", "MatMul", "Reshape", "Transpose", "Concat", "Slice", "Cast", "Unsqueeze")


def _usual(ops: tuple[str, ...]) -> int:
    """How likely a graph has one of these ops anyway."""
    return sum(name in _USUAL for name in ops)


def _ways(term: Syntax, analysis: Analysis) -> list[Any]:
    if isinstance(term, Var):
        return _ways(analysis.defs[term.name][0].term, analysis)
    if isinstance(term, Either):
        return [way for a in term.alternatives for way in _ways(a.term, analysis)]
    assert isinstance(term, Call)
    needs: list[Any] = []
    positional = True
    for position, arg in enumerate(term.args):
        if isinstance(arg, Var) and arg.variadic:
            positional = False
            continue
        found, wanted = _need(arg, analysis)
        if found:
            needs.append([position if positional else -1, wanted])
    return [[list(term.ops), needs]]


def _need(arg: Syntax, analysis: Analysis) -> tuple[bool, list[str] | None]:
    """Whether an operand is surely of some ops (the list) or surely constant (None)."""
    if isinstance(arg, Var):
        if arg.optional:
            return False, None
        if arg.name in analysis.defs:
            return _need(analysis.defs[arg.name][0].term, analysis)
        return bool({"const", "scalar", "weight"} & set(arg.marks)), None
    if isinstance(arg, Call):
        return ANY not in arg.ops, list(arg.ops)
    if isinstance(arg, Literal):
        return arg.value is not None, None
    if isinstance(arg, Either):
        return _need_of_any([_need(a.term, analysis) for a in arg.alternatives])
    return isinstance(arg, Capture), None


def _need_of_any(needs: list[tuple[bool, list[str] | None]]) -> tuple[bool, list[str] | None]:
    """What all alternatives need: one of some ops, or a constant; nothing where they disagree."""
    if not all(found for found, _ in needs):
        return False, None
    ops = [wanted for _, wanted in needs if wanted is not None]
    if not ops:
        return True, None
    return len(ops) == len(needs), list(dict.fromkeys(name for wanted in ops for name in wanted))
