"""Running passes: order, fixed points, skipping, numbering, and what goes wrong."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from geoc.ir.builder import Builder
from geoc.ir.core import Graph, Model, Value
from geoc.ir.equal import difference
from geoc.ir.ops import op
from geoc.ir.text import parse_model, print_model, print_node
from geoc.ir.types import F32, tensor_type
from geoc.passes.base import Context, Instrument, Pass, Remark, place_of
from geoc.passes.instruments import Dump, Numbers, PrintAfter, Refusals, RemarkLines, Tally, Timing, Trace, Verify
from geoc.passes.manager import BrokenPass, Repeat, run_pipeline


def chain(length: int = 3) -> Model:
    """x -> Relu -> ... -> Relu -> y, located at /0, /1, ..."""
    graph = Graph("main")
    value = graph.add_input("x", tensor_type(F32, (2, 3)))
    for i in range(length):
        value = Builder(graph, loc=(f"/{i}",)).op("Relu", value)
        value.hint = f"r{i}"
    graph.set_outputs([value], ["y"])
    return Model(graph)


def drop(model: Model, ctx: Context, name: str, rule: str, most: int) -> bool:
    """Take away up to `most` Relu nodes."""
    done = 0
    for node in list(model.graph.index.get(op("Relu"), ())):
        if done < most and ctx.allow(name, rule, node):
            with ctx.rewrite(name, rule, [node]):
                source = node.inputs[0]
                assert source is not None
                node.output.replace_with(source)
                model.graph.erase(node)
            done += 1
    return done > 0


@dataclass(frozen=True)
class DropOne(Pass):
    """Takes away one Relu."""

    name: ClassVar[str] = "drop-one"

    def run(self, model: Model, ctx: Context) -> bool:
        return drop(model, ctx, self.name, "one", 1)


@dataclass(frozen=True)
class DropAll(Pass):
    """Takes away every Relu."""

    name: ClassVar[str] = "drop-all"

    def run(self, model: Model, ctx: Context) -> bool:
        return drop(model, ctx, self.name, "", 1000)


@dataclass(frozen=True)
class MustDrop(DropAll):
    """Takes away every Relu, whatever the limit."""

    name: ClassVar[str] = "must-drop"
    required: ClassVar[bool] = True


@dataclass(frozen=True)
class Nothing(Pass):
    """Changes nothing."""

    name: ClassVar[str] = "nothing"

    def run(self, model: Model, ctx: Context) -> bool:
        return False


@dataclass(frozen=True)
class Flip(Pass):
    """Says that it changed something, for ever."""

    name: ClassVar[str] = "flip"

    def run(self, model: Model, ctx: Context) -> bool:
        return True


@dataclass(frozen=True)
class Fail(Pass):
    """Raises."""

    name: ClassVar[str] = "fail"

    def run(self, model: Model, ctx: Context) -> bool:
        raise ZeroDivisionError("by zero")


@dataclass(frozen=True)
class Break(Pass):
    """Leaves a graph that uses a value nothing defines."""

    name: ClassVar[str] = "break"

    def run(self, model: Model, ctx: Context) -> bool:
        node = model.graph.first
        assert node is not None
        node.set_input(0, Value(tensor_type(F32, (2, 3)), "ghost"))
        return True


class Calls(Instrument):
    """Lists the passes that ran."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def before_pass(self, model: Model, step: Pass) -> None:
        self.names.append(step.name)


def run(model: Model, *steps: Pass, **options: object) -> Context:
    ctx = Context(**options)  # type: ignore[arg-type]
    run_pipeline(model, steps, ctx)
    return ctx


def test_steps_run_in_order_and_report_change() -> None:
    model, calls = chain(), Calls()
    ctx = Context(instruments=[calls])
    assert run_pipeline(model, [Nothing(), DropOne()], ctx)
    assert calls.names == ["nothing", "drop-one"]
    assert model.node_count == 2
    assert not run_pipeline(model, [Nothing()], ctx)


def test_repeat_stops_when_nothing_changed() -> None:
    model, calls = chain(3), Calls()
    run(model, Repeat((DropOne(), Nothing()), 10), instruments=[calls])
    assert model.node_count == 0
    # Three rounds change something; after the last change one quiet pass of each is enough.
    assert calls.names == ["repeat", *["drop-one", "nothing"] * 3, "drop-one"]


def test_repeat_says_when_it_found_no_fixed_point() -> None:
    out = io.StringIO()
    run(chain(), Repeat((Flip(),), 3), instruments=[RemarkLines(out)])
    (line,) = [json.loads(text) for text in out.getvalue().splitlines()]
    assert line["kind"] == "missed" and line["pass"] == "repeat" and "after 3 rounds of flip" in line["message"]


@pytest.mark.parametrize("limit", range(5))
def test_bisect_limit_allows_exactly_so_many(limit: int) -> None:
    model = chain(4)
    ctx = run(model, DropAll(), bisect_limit=limit)
    assert model.node_count == 4 - limit
    assert ctx.rewrites == limit


def test_required_passes_are_neither_limited_nor_counted() -> None:
    model = chain(4)
    ctx = run(model, MustDrop(), bisect_limit=0, skip=frozenset({"must-drop"}))
    assert model.node_count == 0 and ctx.rewrites == 0


def test_skip_by_pass_and_by_rule() -> None:
    for name, left in (("drop-one", 3), ("one", 3), ("other", 2)):
        model = chain(3)
        run(model, DropOne(), skip=frozenset({name}))
        assert model.node_count == left


def test_disabled_by_number_and_by_place() -> None:
    model = chain(3)
    run(model, DropAll(), disabled=frozenset({1}))
    assert [n.loc for n in model.graph] == [("/1",)]
    model = chain(3)
    node = model.graph.last
    assert node is not None
    place = place_of("drop-all", "", node)
    # A place stays refused even when the same node is asked about again under another number.
    run(model, Repeat((DropAll(),), 4), disabled=frozenset({place}))
    assert [n.loc for n in model.graph] == [("/2",)]


def test_numbers_are_what_bisect_limit_counts() -> None:
    out = io.StringIO()
    run(chain(2), DropOne(), DropAll(), instruments=[Numbers(out)], disabled=frozenset({1}))
    assert out.getvalue().splitlines() == [
        "BISECT: 1 run drop-one one @ /0",
        "BISECT: 2 NOT run drop-all - @ /1",
    ]


def test_a_failing_pass_is_named() -> None:
    with pytest.raises(BrokenPass, match="pass fail: ZeroDivisionError: by zero") as caught:
        run(chain(), Fail())
    assert caught.value.pass_name == "fail"
    with pytest.raises(BrokenPass, match="pass fail"):
        run(chain(), Repeat((Fail(),), 2))


def test_verify_names_the_pass_and_the_statement() -> None:
    with pytest.raises(BrokenPass, match=r"pass break: leaves an invalid model.*Relu"):
        run(chain(), Break(), instruments=[Verify()])


def test_timing_is_a_tree() -> None:
    timing = Timing()
    run(chain(3), Repeat((DropOne(), Nothing()), 10), DropAll(), instruments=[timing])
    tree = timing.root.to_json()
    assert (tree["nodes_before"], tree["nodes_after"], tree["rewrites"]) == (3, 0, 3)
    repeat, drop_all = tree["parts"]
    assert [p["name"] for p in repeat["parts"]] == ["drop-one", "nothing"]
    assert [p["calls"] for p in repeat["parts"]] == [4, 3]
    assert repeat["parts"][0]["rewrites"] == repeat["rewrites"] == 3
    assert drop_all["rewrites"] == 0
    assert tree["ms"] >= repeat["ms"] >= repeat["parts"][0]["ms"] >= 0
    lines = timing.text().splitlines()
    assert lines[0].split() == ["pass", "calls", "ms", "nodes", "rewrites"]
    assert [line.split()[0] for line in lines[1:]] == ["all", "repeat", "drop-one", "nothing", "drop-all"]
    assert "3 -> 0" in lines[1]


def test_dumps_parse_back(tmp_path: Path) -> None:
    model = chain(3)
    run(model, Nothing(), DropOne(), Repeat((DropOne(),), 4), instruments=[Dump(str(tmp_path), print_model)])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["000_input.gir", "001_drop-one.gir", "002_drop-one.gir", "003_drop-one.gir"]
    counts = [parse_model((tmp_path / name).read_text()).node_count for name in names]
    assert counts == [3, 2, 1, 0]
    assert difference(parse_model((tmp_path / names[0]).read_text()), chain(3)) is None


def test_print_after_takes_globs() -> None:
    out = io.StringIO()
    run(chain(), DropOne(), Nothing(), instruments=[PrintAfter(["drop-*"], out, print_model)])
    assert out.getvalue().startswith("# after drop-one\n")
    assert "nothing" not in out.getvalue()


@dataclass(frozen=True)
class Swap(Pass):
    """Every Relu becomes an Abs."""

    name: ClassVar[str] = "swap"

    def rule_names(self) -> tuple[str, ...]:
        return ("relu_abs",)

    def rule_origin(self, rule: str) -> str:
        return "swap.rules:7"

    def run(self, model: Model, ctx: Context) -> bool:
        for node in list(model.graph.index.get(op("Relu"), ())):
            if ctx.allow(self.name, "relu_abs", node):
                builder = Builder(model.graph, node, node.loc)
                with ctx.rewrite(self.name, "relu_abs", [node], builder.created):
                    node.output.replace_with(builder.op("Abs", node.inputs[0]))
                    model.graph.erase(node)
        return True


def test_trace_has_a_line_per_rewrite() -> None:
    out = io.StringIO()
    run(chain(2), Swap(), instruments=[Trace(out, print_node)])
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert (first["number"], first["pass"], first["rule"]) == (1, "swap", "relu_abs")
    assert first["at"] == "swap.rules:7"
    assert first["before"] == [{"op": "Relu", "loc": ["/0"]}]
    assert len(first["after"]) == 1 and "Abs(" in first["after"][0]
    assert first["us"] > 0
    assert second["number"] == 2


def test_remarks_and_tally() -> None:
    out, refusals, tally = io.StringIO(), Refusals(), Tally()
    ctx = Context(instruments=[RemarkLines(out), refusals, tally])
    model = chain(2)
    run_pipeline(model, [DropOne()], ctx)
    ctx.remark("refused", "low-rank", "needs data", rule="r", node=model.graph.first, unlock="--calib")
    ctx.remark("missed", "fold", "too large")
    kinds = [json.loads(line)["kind"] for line in out.getvalue().splitlines()]
    assert kinds == ["applied", "refused", "missed"]
    assert refusals.found == [Remark("refused", "low-rank", "r", "needs data", ("/1",), "--calib")]
    assert tally.counts == {("drop-one", "one"): 1}


def test_details_are_made_only_for_those_who_want_them() -> None:
    assert not Context(instruments=[Refusals()]).wants_remarks
    assert Context(instruments=[Refusals(), RemarkLines(io.StringIO())]).wants_remarks
    assert not Context().watched
    assert Context(instruments=[Trace(io.StringIO(), print_node)]).watched
