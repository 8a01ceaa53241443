"""What can be wrong with a rule, and what is wrong with the graph that it leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...ir.core import Model, Node
from ...ir.errors import GeocError
from ...ir.rewrite import Hooks, RewriteDriver, RewriteLoop, Rule, RuleSet
from ...ir.types import TensorType
from ...ir.verify import verify
from .values import Feeds


@dataclass
class Fault:
    """What is wrong, in words, and a graph that shows it.

    `kind`: "values", "types", "cost", "loop", "refused graph" or "crash".
    """

    kind: str
    text: str
    before: Model
    after: Model | None = None
    feeds: Feeds = field(default_factory=dict)
    wanted: list[Any] = field(default_factory=list)
    found: list[Any] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    excused: Callable[[Fault], bool] = lambda fault: False  # whether the same with other inputs says nothing


@dataclass
class Verdict:
    """Of one instance. Without `fired`, `reason` says what kept the rule from it."""

    fired: bool = False
    reason: str = ""
    fault: Fault | None = None
    runs: int = 0  # comparisons of values
    judge: str = ""
    dtype: str = ""  # of the first result
    dear: str = ""  # how much more the right side costs
    dynamic: set[str] = field(default_factory=set)  # variants with unknown dimensions in which it fired


def apply(rule: Rule, before: Model, after: Model, once: bool = True) -> tuple[Fault | None, str]:
    """Run the rule on `after`, once or until it finds nothing more; what broke, or why it did not fire."""
    refused: list[str] = []
    allowed: list[Node] = []

    def allow(kind: str, name: str, node: Node) -> bool:
        allowed.append(node)
        return len(allowed) == 1 or not once

    hooks = Hooks(allow=allow, refused=lambda rule, node, reason, dear: refused.append(reason))
    try:
        count = RewriteDriver(RuleSet([rule])).run(after, hooks)
    except RewriteLoop as error:
        return Fault("loop", error.message, before, after), ""
    except Exception as error:  # a native may raise anything
        return Fault("crash", f"{type(error).__name__}: {error}", before), ""
    return None, "" if count else (refused[0] if refused else "it does not match")


def wrong_graph(rule: Rule, before: Model, after: Model) -> Fault | None:
    """A graph that is refused, results of another type, or a right side that costs more."""
    try:
        verify(after)
    except GeocError as error:
        return Fault("refused graph", error.message, before, after)
    for name, old, new in zip(before.graph.output_names, before.graph.outputs, after.graph.outputs):
        reason = _other_type(old.type, new.type)
        if reason:
            return Fault("types", f"%{name}: {old.type} became {new.type}: {reason}", before, after)
    return None


def _other_type(old: Any, new: Any) -> str:
    if not isinstance(old, TensorType) or not isinstance(new, TensorType):
        return "" if type(old) is type(new) else "another kind of type"
    if old.dtype is not new.dtype:
        return "another element type"
    if old.shape is None or new.shape is None:
        return ""
    if len(old.shape) != len(new.shape):
        return "another rank"
    numbers = ((a, b) for a, b in zip(old.shape, new.shape) if isinstance(a, int) and isinstance(b, int))
    return "another shape" if any(a != b for a, b in numbers) else ""
