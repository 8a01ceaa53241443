"""Watching passes run: verification, times, dumps, traces, remarks, bisection numbers.

Each is an `Instrument`; a `Context` is given those that are wanted, and what is not wanted costs nothing.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from time import perf_counter
from typing import Any, ClassVar, Protocol

from ..ir.core import Model, Node
from ..ir.errors import InvalidModel
from ..ir.lines import split_lines
from .base import Context, Instrument, Pass, Remark
from .manager import BrokenPass, Repeat


class Sink(Protocol):
    """What text is written to: a file, or something like it."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


class Verify(Instrument):
    """Proves the rules of the IR after each pass that changed something."""

    def after_pass(self, model: Model, step: Pass, changed: bool) -> None:
        """Raises BrokenPass with the offending statement."""
        if not changed or isinstance(step, Repeat):
            return
        from ..ir.verify import verify

        try:
            verify(model)
        except InvalidModel as error:
            raise BrokenPass(step.name, f"leaves an invalid model: {error}") from error


@dataclass
class Timed:
    """One line of the timing tree: all runs of one pass at one place of the pipeline."""

    name: str
    calls: int = 0
    seconds: float = 0.0
    nodes_before: int = 0  # at the first call
    nodes_after: int = 0  # at the last
    rewrites: int = 0
    parts: dict[int, Timed] = field(default_factory=dict)  # by identity of the step

    def to_json(self) -> dict[str, Any]:
        """The tree as plain data; times in milliseconds."""
        found: dict[str, Any] = {
            "name": self.name,
            "calls": self.calls,
            "ms": round(self.seconds * 1e3, 3),
            "nodes_before": self.nodes_before,
            "nodes_after": self.nodes_after,
            "rewrites": self.rewrites,
        }
        if self.parts:
            found["parts"] = [part.to_json() for part in self.parts.values()]
        return found


class Timing(Instrument):
    """A tree of calls, times, node counts and rewrites. `root` holds the result; `text` prints it."""

    def __init__(self) -> None:
        self.root = Timed("all passes", calls=1)
        self._stack: list[tuple[Timed, float, int]] = []
        self._rewrites = 0

    def start(self, model: Model, ctx: Context) -> None:
        self.root.nodes_before = model.node_count
        self._stack = [(self.root, perf_counter(), 0)]

    def on_allow(self, number: int, pass_name: str, rule: str, node: Node, allowed: bool) -> None:
        self._rewrites += allowed

    def before_pass(self, model: Model, step: Pass) -> None:
        parts = self._stack[-1][0].parts
        line = parts.get(id(step))
        if line is None:
            line = parts[id(step)] = Timed(step.name, nodes_before=model.node_count)
        self._stack.append((line, perf_counter(), self._rewrites))

    def after_pass(self, model: Model, step: Pass, changed: bool) -> None:
        line, begun, rewrites = self._stack.pop()
        line.seconds += perf_counter() - begun
        line.calls += 1
        line.rewrites += self._rewrites - rewrites
        line.nodes_after = model.node_count

    def finish(self, model: Model, ctx: Context) -> None:
        line, begun, _ = self._stack.pop()
        line.seconds += perf_counter() - begun
        line.rewrites = self._rewrites
        line.nodes_after = model.node_count

    def text(self) -> str:
        """A table, one line per pass, parts of a group indented. Other instruments' time is in the sums."""
        rows = [("pass", "calls", "ms", "nodes", "rewrites")]
        stack = [(self.root, 0)]
        while stack:
            line, depth = stack.pop()
            nodes = f"{line.nodes_before} -> {line.nodes_after}"
            ms = f"{line.seconds * 1e3:.1f}"
            rows.append(("  " * depth + line.name, str(line.calls), ms, nodes, str(line.rewrites)))
            stack.extend((part, depth + 1) for part in reversed(line.parts.values()))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return "\n".join(
            f"{row[0]:<{widths[0]}}  "
            + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:]))
            for row in rows
        )


class Dump(Instrument):
    """Writes ``000_input.gir`` and ``NNN_pass.gir`` after each changing pass into a folder.

    Weights print as spans of their files where they have one, so dumps stay small and parse back.
    """

    def __init__(self, folder: str, print_model: Callable[[Model], str]) -> None:
        self.folder = folder
        self._print = print_model
        self._count = 0

    def start(self, model: Model, ctx: Context) -> None:
        self._write(model, "input")

    def after_pass(self, model: Model, step: Pass, changed: bool) -> None:
        if changed and not isinstance(step, Repeat):
            self._write(model, step.name)

    def _write(self, model: Model, name: str) -> None:
        path = os.path.join(self.folder, f"{self._count:03d}_{name}.gir")
        self._count += 1
        with open(path, "w", encoding="utf-8") as file:
            file.write(self._print(model))


class PrintAfter(Instrument):
    """Prints the model after each pass whose name fits one of `patterns` and that changed something."""

    def __init__(
        self, patterns: Sequence[str], out: Sink, print_model: Callable[[Model], str]
    ) -> None:
        self.patterns = patterns
        self.out = out
        self._print = print_model

    def after_pass(self, model: Model, step: Pass, changed: bool) -> None:
        if not any(fnmatchcase(step.name, pattern) for pattern in self.patterns):
            return
        self.out.write(f"# after {step.name}{'' if changed else ': nothing changed'}\n")
        if changed:
            self.out.write(self._print(model))


class Trace(Instrument):
    """One JSON line per rewrite: pass, rule, where it is written, what stood there, what came, how long.

    `dump` is the number of the dump that shows the result (see `Dump`), if the pass changed something in the end.
    """

    def __init__(self, out: Sink, print_node: Callable[[Node], str]) -> None:
        self.out = out
        self._print = print_node
        self._steps: list[Pass] = []
        self._number = 0
        self._dump = 1

    def before_pass(self, model: Model, step: Pass) -> None:
        self._steps.append(step)

    def after_pass(self, model: Model, step: Pass, changed: bool) -> None:
        self._steps.pop()
        self._dump += changed and not isinstance(step, Repeat)
        self.out.flush()

    def on_allow(self, number: int, pass_name: str, rule: str, node: Node, allowed: bool) -> None:
        self._number = number + 1

    def before_rewrite(self, pass_name: str, rule: str, nodes: Sequence[Node]) -> Any:
        return [{"op": n.op.key, "loc": list(n.loc)} for n in nodes]

    def after_rewrite(
        self, token: Any, pass_name: str, rule: str, created: Sequence[Node], seconds: float
    ) -> None:
        line = {
            "number": self._number,
            "dump": self._dump,
            "pass": pass_name,
            "rule": rule,
            "at": self._steps[-1].rule_origin(rule) if rule and self._steps else "",
            "before": token,
            "after": [self._print(n) for n in created if n.graph is not None],
            "us": round(seconds * 1e6, 1),
        }
        self.out.write(json.dumps(line) + "\n")


def remark_json(remark: Remark) -> dict[str, Any]:
    """A remark as plain data."""
    return {
        "kind": remark.kind,
        "pass": remark.pass_name,
        "rule": remark.rule,
        "message": remark.message,
        "loc": list(remark.loc),
        "unlock": remark.unlock,
    }


class RemarkLines(Instrument):
    """Every remark as a line of JSON; what was applied comes from the rewrites themselves.

    A pass that runs in a group meets the same miss in every round; it is told once.
    """

    def __init__(self, out: Sink) -> None:
        self.out = out
        self._told: set[Remark] = set()

    def on_remark(self, remark: Remark) -> None:
        if remark not in self._told:
            self._told.add(remark)
            self.out.write(json.dumps(remark_json(remark)) + "\n")

    def on_allow(self, number: int, pass_name: str, rule: str, node: Node, allowed: bool) -> None:
        if allowed:
            message = f"rewrite {number + 1} at {node.op.key}"
            self.on_remark(Remark("applied", pass_name, rule, message, node.loc))


class Refusals(Instrument):
    """Collects what was refused, for the summary."""

    wants_details: ClassVar[bool] = False

    def __init__(self) -> None:
        self.found: list[Remark] = []

    def on_remark(self, remark: Remark) -> None:
        if remark.kind == "refused":
            self.found.append(remark)


class Tally(Instrument):
    """Counts rewrites by pass and rule."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def on_allow(self, number: int, pass_name: str, rule: str, node: Node, allowed: bool) -> None:
        if allowed:
            self.counts[pass_name, rule] += 1


class Numbers(Instrument):
    """Prints the number of every rewrite, for ``--bisect-limit``."""

    def __init__(self, out: Sink) -> None:
        self.out = out

    def on_allow(self, number: int, pass_name: str, rule: str, node: Node, allowed: bool) -> None:
        verb = "run" if allowed else "NOT run"
        self.out.write(f"BISECT: {number + 1} {verb} {pass_name} {rule or '-'} @ {where(node)}\n")


def where(node: Node) -> str:
    """The place of a node in words: its source location, else its operator and output."""
    if node.loc:
        return node.loc[0]
    return f"{node.op.key} %{node.outputs[0].hint}" if node.outputs else node.op.key


def where_and_line(node: Node) -> str:
    """The same with the line of the program that the node comes from, where that is known."""
    lines = split_lines(node.loc)[1]
    return f"{where(node)} ({lines[0]})" if lines else where(node)
