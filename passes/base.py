"""What a pass is, and the context it runs in.

A pass is a frozen dataclass: its fields are its options, on the command line as ``name{field=value}``.

    @dataclass(frozen=True)
    class RemoveIdentity(Pass):
        '''Identity nodes disappear.'''
        name: ClassVar[str] = "remove-identity"

        def run(self, model: Model, ctx: Context) -> bool:
            changed = False
            for graph in model.graphs():
                for node in list(graph.index.get(op("Identity"), ())):
                    if ctx.allow(self.name, "", node):
                        with ctx.rewrite(self.name, "", [node]):
                            node.output.replace_with(node.inputs[0])
                            graph.erase(node)
                        changed = True
            return changed
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..ir.core import Model, Node, Value
from ..ir.ops.cost import CostModel

if TYPE_CHECKING:
    from typing import TypeAlias

    from ..ir.tensor import Array

Arrays: TypeAlias = "dict[str, Array]"


class Observe(Protocol):
    """Runs a model on the calibration samples, and shows values of its main graph to observers."""

    def __call__(self, model: Model, observers: Mapping[Value, Observer], limit: int | None = None) -> object:
        """Run on all samples, or on `limit` of them at most. Raises UsageError where one does not run or is refused."""


class Recall(Protocol):
    """Keeps arrays that a pass measured of a model on the calibration samples, for other runs on the same ones."""

    def __call__(self, name: str, model: Model, given: object, find: Callable[[], Arrays]) -> Arrays:
        """What `find` gives, or gave before under this name for a model with the same content and an equal `given`,
        which names by its `repr` all else that the arrays depend on."""


@dataclass(frozen=True)
class Pass:
    """One transformation of a model. Subclasses give `name`, a docstring, fields with defaults and `run`."""

    name: ClassVar[str] = ""
    required: ClassVar[bool] = False  # its rewrites are never refused or counted
    settles: ClassVar[bool] = False  # a second run right after the first would find nothing to do
    lossy: ClassVar[bool] = False  # changes results beyond rounding

    def rule_names(self) -> tuple[str, ...]:
        """Names of the rules that it asks `Context.allow` for; () when the pass is one whole."""
        return ()

    def rule_origin(self, rule: str) -> str:
        """Where a rule is written, ``file:line``; "" where that is unknown."""
        return ""

    def run(self, model: Model, ctx: Context) -> bool:
        """Transform `model` in place; True if anything changed."""
        raise NotImplementedError


@dataclass(frozen=True)
class Remark:
    """What a pass did, could not do, or would not do, and why."""

    kind: str  # "applied", "missed" or "refused"
    pass_name: str
    rule: str
    message: str
    loc: tuple[str, ...] = ()
    unlock: str = ""  # the flag that would allow it


class Instrument:
    """Something that watches passes run. Every hook does nothing unless overridden.

    `wants_details` False: it listens to remarks, but none need be made for its sake that cost something.
    """

    wants_details: ClassVar[bool] = True

    def start(self, model: Model, ctx: Context) -> None:
        """Called once, before the first pass."""

    def finish(self, model: Model, ctx: Context) -> None:
        """Called once, after the last pass."""

    def before_pass(self, model: Model, step: Pass) -> None:
        """Called before each pass."""

    def after_pass(self, model: Model, step: Pass, changed: bool) -> None:
        """Called after each pass."""

    def on_allow(self, number: int, pass_name: str, rule: str, node: Node, allowed: bool) -> None:
        """Called when a rewrite gets its number (the first is 0), before it happens."""

    def before_rewrite(self, pass_name: str, rule: str, nodes: Sequence[Node]) -> Any:
        """Called before each single rewrite; what it returns is given to `after_rewrite`."""
        return None

    def after_rewrite(
        self, token: Any, pass_name: str, rule: str, created: Sequence[Node], seconds: float
    ) -> None:
        """Called after each single rewrite."""

    def on_remark(self, remark: Remark) -> None:
        """Called for each remark."""


class Observer(Protocol):
    """Something that sees a value of a model on calibration samples: a statistic that grows."""

    def add(self, array: Array) -> None:
        """The value on the next sample. Raises ValueError for numbers that it can do nothing with."""


Place = tuple[str, str, tuple[str, ...], str]
"""What names one rewrite over several runs: pass, rule, source locations and output hint of the node."""


def place_of(pass_name: str, rule: str, node: Node) -> Place:
    """The `Place` of a rewrite that starts at `node`."""
    return (pass_name, rule, node.loc, node.outputs[0].hint if node.outputs else "")


class Context:
    """What a pass may know besides the model: capabilities of the target, limits, instruments.

    `capabilities` answers questions about the target (`has_op(op, dtypes)` and the like), never its name.
    `bisect_limit`: rewrites beyond this count are refused (None: no limit). `rewrites` counts those done.
    `disabled` holds numbers or places of single rewrites that must not run; a place stays refused however
    the numbers shift. `skip` holds names of rules and passes that must not run. `source_bytes` is what the
    model's constants took before the first pass, `source_nodes` how many nodes it had, once a pipeline runs.
    `kept` are places of nodes that a lossy pass must leave as they are, and why.
    `cost` estimates what nodes cost: the target's `cost_model` where it has one; `times` is the same, or timed where
    somebody asks for that: for passes that ask about few layers. `measure` runs a model and gives the
    ranges of its values (`passes.precision.ranges`); None where nothing can be run. `observe` runs a model on the
    calibration samples and shows each value to its observer (`Observe`); None where there are no samples. `recall`
    keeps what takes long to find on them, where somebody keeps it (`Recall`).
    """

    def __init__(
        self,
        *,
        capabilities: Any = None,
        instruments: Sequence[Instrument] = (),
        bisect_limit: int | None = None,
        skip: frozenset[str] = frozenset(),
        disabled: frozenset[int | Place] = frozenset(),
        seed: int = 0,
        measure: Callable[[Model], Mapping[Value, Any] | None] | None = None,
        observe: Observe | None = None,
        kept: Mapping[Place, str] | None = None,
        times: CostModel | None = None,
        recall: Recall | None = None,
    ) -> None:
        self.capabilities = capabilities
        self.instruments = list(instruments)
        self.bisect_limit = bisect_limit
        self.skip = skip
        self.disabled = disabled
        self.seed = seed
        self.measure = measure
        self.observe = observe
        self.kept = kept or {}
        self.recall: Recall = recall or _find
        self.rewrites = 0
        self.source_bytes: int | None = None  # of the constants before the first pass
        self.source_nodes = 0
        self.current: Pass | None = None  # the pass that runs now
        self.cost: CostModel = getattr(capabilities, "cost_model", None) or CostModel()
        self.times = times or self.cost
        self._declined: set[Place] = set()
        self._changes = 0  # runs of passes that changed something
        self._settled: dict[Pass, int] = {}
        self._settled_in: Model | None = None
        self._listeners = [
            i for i in self.instruments if type(i).on_remark is not Instrument.on_remark
        ]
        self.wants_remarks = any(i.wants_details for i in self._listeners)
        self._watch = [
            i
            for i in self.instruments
            if type(i).before_rewrite is not Instrument.before_rewrite
            or type(i).after_rewrite is not Instrument.after_rewrite
        ]
        self._counting = [
            i for i in self.instruments if type(i).on_allow is not Instrument.on_allow
        ]

    def is_settled(self, step: Pass, model: Model) -> bool:
        """True if nothing has changed since the last run of a pass that then leaves nothing to do."""
        return step.settles and self._settled_in is model and self._settled.get(step) == self._changes

    def has_run(self, step: Pass, model: Model, changed: bool) -> None:
        """Note a run of a pass."""
        self._changes += changed
        if self._settled_in is not model:
            self._settled_in, self._settled = model, {}
        if step.settles:
            self._settled[step] = self._changes

    def allow(self, pass_name: str, rule: str, node: Node) -> bool:
        """Ask before each optional rewrite: numbers it for bisection and says whether it may happen."""
        if self.current is not None and self.current.required:
            return True
        if self.skip and (rule in self.skip or pass_name in self.skip):
            return False
        number = self.rewrites
        if self.bisect_limit is not None and number >= self.bisect_limit:
            return False
        self.rewrites = number + 1
        allowed = not self.disabled or (
            number not in self.disabled
            and place_of(pass_name, rule, node) not in self.disabled
        )
        for instrument in self._counting:
            instrument.on_allow(number, pass_name, rule, node, allowed)
        return allowed

    @property
    def watched(self) -> bool:
        """True if somebody wants to see single rewrites."""
        return bool(self._watch)

    @contextmanager
    def rewrite(
        self, pass_name: str, rule: str, nodes: Sequence[Node], created: Sequence[Node] = ()
    ) -> Iterator[None]:
        """Around one allowed rewrite of `nodes`: tells the instruments. Append to `created` inside."""
        if not self._watch:
            yield
            return
        tokens = [i.before_rewrite(pass_name, rule, nodes) for i in self._watch]
        start = perf_counter()
        yield
        seconds = perf_counter() - start
        for instrument, token in zip(self._watch, tokens):
            instrument.after_rewrite(token, pass_name, rule, created, seconds)

    def rewritten(
        self,
        pass_name: str,
        rule: str,
        nodes: Sequence[Node],
        created: Sequence[Node],
        seconds: float,
    ) -> None:
        """Tell the instruments of a rewrite that was timed elsewhere; `nodes` still have their operands."""
        for instrument in self._watch:
            token = instrument.before_rewrite(pass_name, rule, nodes)
            instrument.after_rewrite(token, pass_name, rule, created, seconds)

    def decline(
        self, kind: str, pass_name: str, rule: str, node: Node, message: str, unlock: str = ""
    ) -> None:
        """Report a match that did not take effect, once for its place however often it is tried."""
        place = place_of(pass_name, rule, node)
        if self._listeners and place not in self._declined:
            self._declined.add(place)
            self.remark(kind, pass_name, message, rule=rule, node=node, unlock=unlock)

    def remark(
        self, kind: str, pass_name: str, message: str, *, rule: str = "", node: Node | None = None,
        unlock: str = "",
    ) -> None:  # fmt: skip
        """Report what was applied, missed or refused. Cheap when nobody listens; build texts after
        asking `wants_remarks` where that costs something."""
        if self._listeners:
            remark = Remark(kind, pass_name, rule, message, node.loc if node else (), unlock)
            for instrument in self._listeners:
                instrument.on_remark(remark)


def _find(name: str, model: Model, given: object, find: Callable[[], Arrays]) -> Arrays:
    """A `Recall` that keeps nothing."""
    return find()
