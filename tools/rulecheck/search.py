"""Instances of one rule: attempts until it fires in all the ways it is written, the nearest misses varied."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from ...ir.core import Node
from ...ir.rewrite import Rule
from ...ir.rewrite.explain import Explainer
from .build import build, given_for
from .choices import Choices, Infeasible, seed_of
from .fault import Fault, Verdict
from .instance import DTYPES
from .judge import VARIANTS, judge
from .structure import Option, options_of
from .trial import plainer

GIVEN = 12  # instances of each graph that is given for a rule
MADE_UP = 50  # attempts without them, where there are some
FIRST = 1500  # attempts for a first instance
QUICK = 25  # attempts for each further goal at first
MORE = 400  # attempts for one that needs more
ALL = 3000  # attempts for all further ways of writing it together
LEAST = 15  # attempts for an element type
_LATER = ("loop", "cost")  # faults that are shown where no wrong value is found
_RATES = (0.05, 0.15, 0.35, 0.7)

Made = dict[str, int]
Score = tuple[int, ...]


@dataclass
class Result:
    """What is known of one rule."""

    rule: Rule
    owner: str
    options: list[Option] = field(default_factory=list)
    covered: set[Option] = field(default_factory=set)
    dtypes: Counter[str] = field(default_factory=Counter)
    dynamic: Counter[str] = field(default_factory=Counter)
    judges: Counter[str] = field(default_factory=Counter)
    instances: int = 0
    attempts: int = 0
    runs: int = 0
    nearest: str = ""
    fault: Fault | None = None

    @property
    def ok(self) -> bool:
        return self.fault is None and self.instances > 0 and (self.runs > 0 or self.rule.refuses)


class Search:
    """Looks for instances of one rule."""

    def __init__(self, rule: Rule, owner: str, seed: int) -> None:
        self.rule = rule
        self.seed = seed
        self.result = Result(rule, owner, options_of(rule))
        self._explainer = Explainer()
        self._guards = [guard.tree.place for guard in rule.analysis.guards]
        self._best: Score = ()
        self._later: Fault | None = None
        self._later_made: Made = {}
        self._cheap = False
        self._wins: list[Made] = []
        self._seen: set[tuple[tuple[str, int], ...]] = set()

    def run(self, count: int, effort: float = 1.0) -> Result:
        """Judge up to `count` instances of the plainest kind and one for every option and element type.

        `effort` is the part of all attempts that is spent on the latter.
        """
        result = self.result
        given = len(given_for(self.rule))
        if given:
            return self._with_graphs(given, count)
        self._goal({"dtype": 0}, 1, FIRST) or self._goal({}, 1, FIRST // 3)
        if not result.instances or result.fault is not None:
            return self._finished()
        most = result.attempts + int(ALL * effort)
        few = max(LEAST, int(MORE // 8 * effort))
        for limit in (QUICK, MORE):  # what is hard to reach comes last
            for option in result.options:
                if option not in result.covered and result.fault is None and result.attempts < most:
                    self._goal(dict(option.requires), min(2, 1 + count // 8), limit)
        for index, dtype in enumerate(DTYPES[:-1]):
            if not result.dtypes[dtype.name] and result.fault is None:
                self._goal({"dtype": index}, 1, few)
        for variant in ("loose", "unranked"):
            if result.fault is None and not self.rule.refuses:
                self._goal({"wide": 1, "variant": VARIANTS.index(variant)}, 1 + count // 4, few, 0.7)
        rest = count - result.instances
        if rest > 0 and result.fault is None:
            self._goal({}, rest, MORE, 0.5)
        return self._finished()

    def _with_graphs(self, given: int, count: int) -> Result:
        """Judge the graphs that are given for the rule, and a few that are made up, if any fits."""
        self.result.options.clear()  # the parts of whole graphs cannot be chosen
        for index in range(given + 1):
            if self.result.fault is None:
                limit = GIVEN * 10 if index < given else MADE_UP
                self._goal({"given": index}, GIVEN + count, limit, 1.0 if index < given else 0.2)
        return self._finished()

    def _goal(self, forced: Made, count: int, limit: int, fresh: float = 0.2) -> bool:
        """Up to `count` new instances with some decisions forced; whether one was found.

        `fresh` is the part of attempts that begin from nothing once there is something to begin from.
        """
        source = random.Random(seed_of(self.seed, self.rule.name, sorted(forced.items())))
        best: tuple[Score, Made] | None = None
        found = 0
        for _ in range(limit):
            given = self._start(source, best[1] if best is not None else None, fresh)
            choices = Choices(source, forced, given)
            self.result.attempts += 1
            score, reason = self._attempt(choices)
            if score is None:
                if "variant" in forced:  # the judge picks it
                    choices.made["variant"] = forced["variant"]
                if any(choices.made.get(label) != index for label, index in forced.items()):
                    continue
                key = tuple(sorted(choices.made.items()))
                if key in self._seen:
                    continue
                self._seen.add(key)
                verdict = self._judge(choices)
                score, reason = (3,), verdict.reason
                if verdict.fired:
                    found += 1
                    if self.result.fault is not None or found >= count:
                        return True
            elif best is None or score >= best[0]:
                best = (score, dict(choices.made))
            if not self.result.instances and score > self._best and reason:
                self._best, self.result.nearest = score, reason
        return found > 0

    def _start(self, source: random.Random, best: Made | None, fresh: float) -> Made:
        """Decisions to begin with: most of those of the nearest miss, or of an instance that is there already."""
        if source.random() < fresh:
            return {}
        if best is not None and (not self._wins or source.random() < 0.6):
            base = best
        elif self._wins:
            base = source.choice(self._wins)
        else:
            return {}
        rate = source.choice(_RATES)
        return {k: v for k, v in base.items() if source.random() > rate}

    def _attempt(self, choices: Choices) -> tuple[Score | None, str]:
        """None where the rule matches what was made, else how near it came and what was missing."""
        try:
            instance = build(self.rule, choices)
        except Infeasible as error:
            return (0, len(choices.made)), str(error)
        best: Score = (1, 0)
        said = "nothing that the rule begins with"
        for node in instance.roots:
            for entry in self.rule.entries:
                if entry.begins_at(node.op):
                    matcher, _ = entry.compiled()
                    try:
                        if matcher.start(matcher.begin(node)):
                            return None, ""
                    except Exception:  # a native that breaks on these operands: the judge says so
                        return None, ""
                    score, reason = self._near(entry, node)
                    if score > best:
                        best, said = score, reason
        return best, said

    def _near(self, entry: object, node: Node) -> tuple[Score, str]:
        near = self._explainer.explain(entry, node)  # type: ignore[arg-type]
        if near is None:
            return (1, 0), ""
        at = self._guards.index(near.place) if near.place in self._guards else -1
        if near.needed == "a value to build with":
            at = len(self._guards)
        return (1, near.matched, at), f"{near.matched} of {near.total} operators; needs {near.needed}, but {near.had}"

    def _judge(self, choices: Choices) -> Verdict:
        result = self.result
        again = Choices(random.Random(seed_of(self.seed, len(self._seen))), None, choices.made)
        verdict = judge(self.rule, again)
        choices.made.update(again.made)
        if not verdict.fired:
            return verdict
        self._wins.append(dict(choices.made))
        result.instances += 1
        result.runs += verdict.runs
        result.dynamic.update(verdict.dynamic)
        result.judges[verdict.judge] += 1
        result.dtypes[verdict.dtype] += 1
        made = choices.made
        result.covered.update(o for o in result.options if all(made.get(k) == v for k, v in o.requires))
        if verdict.fault is not None and verdict.fault.kind not in _LATER:
            result.fault = plainer(simplest(self.rule, made, verdict.fault))
        elif verdict.fault is not None and (self._later is None or verdict.fault.kind != "cost"):
            self._later = verdict.fault
            self._later_made = dict(made)
        self._cheap = self._cheap or not verdict.dear
        return verdict

    def _finished(self) -> Result:
        """The result; what is not as bad as a wrong value counts now, a high cost only where it is high everywhere."""
        later = self._later
        if self.result.fault is None and later is not None and not (later.kind == "cost" and self._cheap):
            self.result.fault = simplest(self.rule, self._later_made, later)
        return self.result


def simplest(rule: Rule, made: Made, fault: Fault, limit: int = 400) -> Fault:
    """The fault with every decision as simple as it can be while the fault stays of its kind."""
    tried = 0
    current = dict(made)
    changed = True
    while changed and tried < limit:
        changed = False
        for label in sorted(current, key=lambda k: -current[k]):
            for lower in dict.fromkeys((0, current.get(label, 0) // 2, current.get(label, 0) - 1)):
                if label not in current or not 0 <= lower < current[label] or tried >= limit:
                    continue
                tried += 1
                found = _still(rule, {**current, label: lower}, fault.kind)
                if found is not None:
                    fault, current = found
                    changed = True
                    break
    return fault


def _still(rule: Rule, given: Made, kind: str) -> tuple[Fault, Made] | None:
    choices = Choices(None, None, given)
    try:
        verdict = judge(rule, choices)
    except Infeasible:
        return None
    if verdict.fault is None or verdict.fault.kind != kind:
        return None
    return verdict.fault, choices.made
