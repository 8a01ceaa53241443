"""IF, WHILE and composites: regions that do what LiteRT does, and files whose subgraphs never end."""

from __future__ import annotations

import numpy as np
import pytest

from geoc.frontends.tflite import load_tflite
from geoc.ir.errors import FormatError, UnsupportedModel

from .building import File
from .running import run, run_model


def _choice() -> bytes:
    """x + 10 where the condition holds, else 3 x; and x."""
    f = File()
    inputs = [f.input("bool", ()), f.input("float32", (3,))]
    results = [f.tensor("float32", (3,)), f.tensor("float32", (3,))]
    f.op("IF", inputs, results, "IfOptions", ThenSubgraphIndex=1, ElseSubgraphIndex=2)
    for name, number in (("ADD", 10), ("MUL", 3)):
        f.graph()
        x = f.input("float32", (3,))
        f.results(f.op(name, [x, f.const(np.float32(number), ())], [f.tensor("float32", (3,))], name.title() + "Options"), x)
    return f.data(*results)


@pytest.mark.parametrize("condition", [True, False])
def test_a_choice(condition: bool) -> None:
    x = np.float32([1, 2, 3])
    found = run(_choice(), np.array(condition), x)
    np.testing.assert_array_equal(found[0], x + 10 if condition else 3 * x)
    np.testing.assert_array_equal(found[1], x)


def _doubling(limit: int = 100, inner: int = 0) -> bytes:
    """Doubles x and counts while the sum of x is below a limit; `inner` is the subgraph that the body calls as a loop."""
    f = File()
    count, x = f.input("int32", ()), f.input("float32", (2,))
    results = [f.tensor("int32", ()), f.tensor("float32", (2,))]
    f.op("WHILE", [count, x], results, "WhileOptions", CondSubgraphIndex=1, BodySubgraphIndex=2)
    f.graph()
    f.input("int32", ())
    x = f.input("float32", (2,))
    total = f.op("SUM", [x, f.const(np.array([0]))], [f.tensor("float32", ())], "ReducerOptions")
    f.results(f.op("LESS", [total, f.const(np.float32(limit), ())], [f.tensor("bool", ())], "LessOptions"))
    f.graph()
    count, x = f.input("int32", ()), f.input("float32", (2,))
    if inner:
        nested = [f.tensor("int32", ()), f.tensor("float32", (2,))]
        f.op("WHILE", [count, x], nested, "WhileOptions", CondSubgraphIndex=1, BodySubgraphIndex=inner)
        count, x = nested
    more = f.op("ADD", [count, f.const(np.array(1), ())], [f.tensor("int32", ())], "AddOptions")
    f.results(more, f.op("ADD", [x, x], [f.tensor("float32", (2,))], "AddOptions"))
    return f.data(*results)


@pytest.mark.parametrize(("first", "rounds"), [(1.0, 6), (60.0, 0)])
def test_a_loop_asks_before_each_round(first: float, rounds: int) -> None:
    x = np.float32([first, first])
    found = run(_doubling(), np.array(0, np.int32), x)
    assert found[0] == rounds
    np.testing.assert_array_equal(found[1], x * 2**rounds)


def test_subgraphs_that_call_themselves_are_refused() -> None:
    with pytest.raises(UnsupportedModel, match="subgraphs call others 16 deep"):
        load_tflite(_doubling(inner=2))


def test_subgraphs_that_are_repeated_without_end_are_refused() -> None:
    """Each of 15 subgraphs calls the next one four times: a file of kilobytes, a graph of gigabytes."""
    f = File()
    x = f.input("float32", (2,))
    for depth in range(15):
        if depth:
            f.graph()
            x = f.input("float32", (2,))
        for _ in range(4):
            results = [f.tensor("float32", (2,))]
            f.op("IF", [f.const(np.array(True), ()), x], results, "IfOptions", ThenSubgraphIndex=depth + 1, ElseSubgraphIndex=15)
        f.results(*results)
    f.graph()
    f.results(f.input("float32", (2,)))
    with pytest.raises(UnsupportedModel, match="its subgraphs call each other too often"):
        load_tflite(f.data(*results))


def test_a_condition_that_is_none_is_refused() -> None:
    f = File()
    x = f.input("float32", (2,))
    y = f.op("WHILE", [x], [f.tensor("float32", (2,))], "WhileOptions", CondSubgraphIndex=1, BodySubgraphIndex=1)
    f.graph()
    f.results(f.input("float32", (2,)))
    with pytest.raises(FormatError, match="operator 0 WHILE: subgraph 1 is no condition"):
        load_tflite(f.data(y))


def test_variables_in_regions_are_refused() -> None:
    f = File()
    x = f.input("float32", (2,))
    y = f.op("IF", [f.const(np.array(True), ()), x], [f.tensor("float32", (2,))], "IfOptions", ThenSubgraphIndex=1, ElseSubgraphIndex=1)
    f.graph()
    f.input("float32", (2,))
    handle = f.op("VAR_HANDLE", [], [f.tensor(13, ())], "VarHandleOptions", SharedName="total")
    f.results(f.op("READ_VARIABLE", [handle], [f.tensor("float32", (2,))]))
    with pytest.raises(UnsupportedModel, match="VAR_HANDLE of subgraph 1: keeps numbers inside IF or WHILE"):
        load_tflite(f.data(y))


def test_a_composite_is_what_it_is_made_of() -> None:
    f = File()
    x = f.input("float32", (3,))
    y = f.composite([x], [f.tensor("float32", (3,))], "odml.twice", 1)
    f.graph()
    x = f.input("float32", (3,))
    f.results(f.op("ADD", [x, x], [f.tensor("float32", (3,))], "AddOptions"))
    model = load_tflite(f.data(y))
    assert [node.op.name for node in model.walk()] == ["Add"]
    np.testing.assert_array_equal(run_model(model, np.float32([1, 2, 3]))[0], [2, 4, 6])
