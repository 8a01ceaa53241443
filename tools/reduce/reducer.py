"""The search for a small model: a part around the rewrite to blame, then fewer nodes, then less in each.

Every candidate is verified, compiled with the options that were given, and tested; it counts where it fails in the same
way (the same kind of `Outcome`) and is right without the rule, or pass, that is to blame in the source: a part may well
fail for another reason. Delta debugging after Zeller and Hildebrandt, "Simplifying and isolating
failure-inducing input" (2002), on the nodes of the main graph.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from ...ir.clone import clone_model, frontier
from ...ir.core import Node
from ...ir.errors import GeocError
from ...ir.verify import verify
from ..bisect.case import Case, prepare
from ..bisect.names import shorten
from ..bisect.outcome import Outcome
from ..bisect.tests import CannotCheck, test_called
from ..comparing.kept_inputs import Recorded
from ..inputs.shapes import Shapes
from . import plainer
from .candidate import Candidate, Make
from .guilty import guilty
from .sizes import smaller, total
from .unnest import open_around, opened

if TYPE_CHECKING:
    from ..compiler import Compilation

DISTANCES = (0, 1, 2, 4, 8)  # of nodes around the rewrite that are tried with it
ROUNDS = 6


class TimeUp(Exception):
    """The time that was given is over."""


class Reducer:
    """`best` fails like the source and is the smallest so far; `tests` counts compilations."""

    def __init__(
        self, run: Compilation, test: str, wanted: Outcome, seconds: float | None = None,
        left_out: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        """`left_out`: lossy passes without which the source fails, see `Case.without_lossy`."""
        self.run = run
        self.test = test
        self.wanted = wanted
        self.left_out = left_out
        self.deadline = None if seconds is None else perf_counter() + seconds
        self.tests = 0
        self.best: Candidate | None = None
        self.outcome = wanted
        self.place = ""  # the rewrite that is to blame, in words
        self.because = ""  # its rule or pass, without which every candidate must be right
        self._what = ""
        self._fixed: bool | None = None
        run.shapes = Shapes()  # --shape was about the source: parts have sizes of their own

    # Testing

    def failure_of(self, candidate: Candidate, made_up: bool = False) -> Outcome | None:
        """What the test says of one that fails in the wanted way; None for any other, and for what is no model.

        `made_up`: on inputs made up for it, not on its own.
        """
        if self.deadline is not None and perf_counter() > self.deadline:
            raise TimeUp
        self.tests += 1
        nodes = candidate.size if self.best is None else self.best.size
        self.run.progress.stage(f"{nodes} nodes, {self.tests} tests: {self._what}", 0.5, 0.5)
        try:
            verify(candidate.model)
            with tempfile.TemporaryDirectory(prefix="geoc-reduce-") as folder:
                case = self._case(candidate, folder, made_up)
                outcome = case.outcome()
                if outcome.kind != self.wanted.kind:
                    return None
                is_same = not self.because or case.outcome(skip=frozenset([self.because])).good
        except (GeocError, CannotCheck):
            return None
        return outcome if is_same else None

    def _case(self, candidate: Candidate, folder: str, made_up: bool = False) -> Case:
        model = candidate.model
        path = os.path.join(folder, "reference.onnx")

        def reference() -> str:
            self.run.export(clone_model(model)[0], path)
            return path

        samples = None if made_up or candidate.feeds is None else Recorded([candidate.feeds])
        case = Case(self.run, test_called(self.test), lambda: clone_model(model)[0])
        case.left_out = self.left_out
        if self.run.is_lossy and not self.left_out:
            self.run.calibrate(clone_model(model)[0], samples)
        prepare(case, clone_model(model)[0], reference, samples)
        if self.left_out and case.test.judge is not None:
            case.test.judge.max_error = None
        return case

    def fails(self, candidate: Candidate) -> bool:
        """True for one that fails in the wanted way; it is the best then."""
        outcome = self.failure_of(candidate)
        if outcome is None:
            return False
        self.best, self.outcome = candidate, outcome
        return True

    def _any(self, what: str, proposals: Iterable[Make]) -> bool:
        """Whether one of them fails; the first that does is the best."""
        self._what = what
        return any(self.fails(candidate) for candidate in _made(proposals))

    # Searching

    def began(self, source: Candidate) -> Candidate:
        """The best to begin with, where it was tested already."""
        self.best = source
        return source

    def reduce(self, source: Candidate) -> None:
        """Make it small; `best` is there from the start on, and when TimeUp or Ctrl-C ends it."""
        self.best = source
        self._around_the_rewrite(source)
        for _ in range(ROUNDS):
            before = self._measure()
            self._fewer_nodes()
            for what, proposals in (
                ("outputs", self._one_output), ("branches", opened), ("bypassing", plainer.bypassed),
                ("sizes", smaller), ("attributes", plainer.without_attributes),
                ("operands", plainer.without_operands),
            ):  # fmt: skip
                self._repeat(what, proposals)
            if self._measure() >= before:
                break
        for what, proposals in (("constants", plainer.plain_constants), ("inputs", plainer.plain_inputs)):
            self._repeat(what, proposals)

    def rename(self) -> None:
        """Short names, where it fails with those as well (made-up inputs go by names, and rules may)."""
        assert self.best is not None
        result, _ = self.best.copy()
        old = shorten(result.model)
        if result.feeds is not None:
            result.feeds = {new: result.feeds[name] for new, name in old.items() if name in result.feeds}
        self._any("names", [lambda: result])

    def _measure(self) -> tuple[int, int, int, int]:
        assert self.best is not None
        model = self.best.model
        details = sum(len(node.attrs) + len(node.inputs) for node in model.walk())
        return model.node_count, len(model.graph.outputs), total(model), details

    def _repeat(self, what: str, proposals: Callable[[Candidate], Iterator[Make]]) -> None:
        """Take what is offered while it fails as well and is smaller; start over from each success."""
        for _ in range(200):
            assert self.best is not None
            before = self._measure()
            if not self._any(what, proposals(self.best)) or (self._measure() >= before and what != "constants"):
                return

    def _around_the_rewrite(self, source: Candidate) -> None:
        """A part of the graph around what the rewrite to blame replaces, as small as fails."""
        self._what = "bisecting"
        with tempfile.TemporaryDirectory(prefix="geoc-reduce-") as folder:
            case = self._case(source, folder)
            found = guilty(case, self.wanted, self._tell_bisecting)
            is_only = bool(found.name) and case.outcome(skip=frozenset([found.name])).good
            self.tests += case.tests
        self.place, self.because = found.place, found.name if is_only else ""
        locations = set(found.locations)
        if not locations:
            return
        inside = next((at for at in found.locations if not self._at({at})), None)
        while inside is not None and self.best is not None and not self._at({inside}):
            there = open_around(self.best, inside)
            if there is None or not self._any("branches", [there]):
                break
        self.because = found.name  # where more is wrong with the source, this may be all that is with a part
        if not self._near(locations) and not is_only and found.name:
            self.because = ""
            self._near(locations)

    def _near(self, locations: set[str]) -> bool:
        """Whether a part around the nodes from these locations fails."""
        assert self.best is not None
        near, best = self._at(locations), self.best
        for distance in range(DISTANCES[-1] + 1):
            if distance:
                near |= {each for node in near for each in _neighbours(node)}
            if distance in DISTANCES and near and self._part(best, near, f"what is around {self.place}"):
                return True
        return False

    def _tell_bisecting(self, left: int) -> None:
        if self.deadline is not None and perf_counter() > self.deadline:
            raise TimeUp
        self.run.progress.stage(f"bisecting, {left} rewrites left", 0.2, 0.2)

    def _at(self, locations: set[str]) -> set[Node]:
        """The nodes of the best's main graph from these locations."""
        assert self.best is not None
        return {node for node in self.best.model.graph if locations.intersection(node.loc)}

    def _part(self, of: Candidate, nodes: set[Node], what: str) -> bool:
        """Whether a part fails: with fixed sizes, else with those that the types name."""
        if of.feeds is None:
            return self._any(what, [partial(of.part, self.run.export, nodes, fixed=False)])
        for fixed in (True, False) if self._fixed is None else (self._fixed,):
            if self._any(what, [partial(of.part, self.run.export, nodes, fixed=fixed)]):
                self._fixed = fixed
                return True
        return False

    def _fewer_nodes(self) -> None:
        """ddmin: parts of ever smaller size are left out."""
        assert self.best is not None
        chunk = max(1, self.best.model.graph.size // 2)
        while True:
            start = 0
            while start < self.best.model.graph.size and self.best.model.graph.size > 1:
                nodes = list(self.best.model.graph)
                kept = {*nodes[:start], *nodes[start + chunk :]}
                if not kept or not self._part(self.best, kept, f"without {chunk} nodes"):
                    start += chunk
            if chunk == 1:
                return
            chunk = max(1, chunk // 2)

    def _one_output(self, best: Candidate) -> Iterator[Make]:
        """Each output alone, with what it needs."""
        outputs = list(best.model.graph.outputs)
        if len(outputs) > 1:
            for value in outputs:
                yield partial(best.part, self.run.export, _needed(value), [value], fixed=bool(self._fixed))


def _made(proposals: Iterable[Make]) -> Iterator[Candidate]:
    """Those that can be made: what does not fit together, or does not run, raises while it is built."""
    for make in proposals:
        try:
            yield make()
        except (GeocError, CannotCheck):
            continue


def _neighbours(node: Node) -> set[Node]:
    """Nodes of the same graph that make what it reads or read what it makes."""
    graph = node.graph
    assert graph is not None
    found = {value.producer for value in frontier([node]) if value.producer is not None}
    found |= {user for value in node.outputs for user, _ in value.uses if user.graph is not None}
    near = {graph.enclosing_node(each) for each in found if each.op.name != "Return" or each.graph is not graph}
    return {each for each in near if each is not None}


def _needed(value: object) -> set[Node]:
    """The nodes that a value depends on."""
    found: dict[Node, None] = {}
    waiting = [value.producer]  # type: ignore[attr-defined]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found[node] = None
            waiting += [read.producer for read in frontier([node])]
    return set(found)
