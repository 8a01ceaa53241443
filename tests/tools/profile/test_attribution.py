"""Nodes that a runtime made are led back to those of the file."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto, helper

from geoc.tools.profile.attribution import Origin, attribute, spread, view_of


def graph(*nodes: Any, inputs: tuple[str, ...] = ("x",), weights: tuple[str, ...] = ()) -> Any:
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in inputs]
    held = [helper.make_tensor(name, TensorProto.FLOAT, [1], [1.0]) for name in weights]
    return view_of(helper.make_graph(list(nodes), "g", given, [], held))


def node(op: str, name: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return helper.make_node(op, inputs.split(), outputs.split(), name=name, **attributes)


SOURCE = (node("MatMul", "/a/MatMul", "x w", "m"), node("Add", "/a/Add", "m b", "n"), node("Relu", "/a/Relu", "n", "y"))


def test_what_is_fused_into_one_node() -> None:
    found = attribute(graph(*SOURCE, weights=("w", "b")), graph(node("FusedGemm", "fused", "x w b", "y"), weights=("w", "b")))
    assert sorted(found["", "fused"].owned) == ["/a/Add", "/a/MatMul", "/a/Relu"]


def test_a_value_that_is_still_there_ends_it() -> None:
    run = graph(node("MatMul", "/a/MatMul", "x w", "m"), node("Fused", "f", "m b", "y"), weights=("w", "b"))
    found = attribute(graph(*SOURCE, weights=("w", "b")), run)
    assert found["", "/a/MatMul"].owned == ("/a/MatMul",) and sorted(found["", "f"].owned) == ["/a/Add", "/a/Relu"]


def test_a_node_is_counted_once() -> None:
    """A product between two changes of shape: the name says whose it is, and the changes go with it."""
    run = graph(
        node("Reshape", "r1", "x s", "t"), node("Gemm", "/a/MatMul/MatMulAddFusion", "t w b", "u"), node("Reshape", "r2", "u s", "n"),
        node("Relu", "/a/Relu", "n", "y"), weights=("w", "b", "s"),
    )  # fmt: skip
    found = attribute(graph(*SOURCE, weights=("w", "b")), run)
    assert found["", "/a/MatMul/MatMulAddFusion"].owned == ("/a/MatMul",)
    assert found["", "r2"].owned == ("/a/Add",) and found["", "r1"] == Origin(("/a/MatMul",))
    owned = [name for origin in found.values() for name in origin.owned]
    assert len(owned) == len(set(owned)) == 3


def test_layouts_that_change() -> None:
    source = graph(node("Conv", "c1", "x k", "p"), node("Clip", "k1", "p", "q"), node("Conv", "c2", "q k", "y"), weights=("k",))
    run = graph(
        node("Conv", "q_nchwc", "x k2", "r1"), node("Conv", "y_nchwc", "r1 k2", "r2"), node("ReorderOutput", "out", "r2", "y"),
        weights=("k2",),
    )  # fmt: skip
    found = attribute(source, run)
    assert sorted(found["", "q_nchwc"].owned) == ["c1", "k1"] and found["", "y_nchwc"].owned == ("c2",)
    assert found["", "out"] == Origin(("c2",))


def test_what_is_computed_at_load_time_is_nobodys() -> None:
    source = graph(node("Neg", "n", "w", "v"), node("Mul", "m", "x v", "y"), weights=("w",))
    found = attribute(source, graph(node("Mul", "m", "x v", "y"), weights=("v",)))
    assert found["", "m"].owned == ("m",)


def test_bodies() -> None:
    def holder(body: Any) -> Any:
        return node("If", "if", "c", "y", then_branch=body, else_branch=body)

    inner = helper.make_graph([node("Neg", "n", "x", "a"), node("Relu", "r", "a", "b")], "t", [], [])
    fused = helper.make_graph([node("Both", "f", "x", "b")], "t", [], [])
    found = attribute(graph(holder(inner), inputs=("c", "x")), graph(holder(fused), inputs=("c", "x")))
    assert sorted(found["if", "f"].owned) == ["n", "r"] and found["", "if"].owned == ("if",)


def test_neighbours_readers_first() -> None:
    origins = {"a": Origin(("left",)), "b": Origin(), "c": Origin(("right",)), "d": Origin()}
    neighbours = {"a": [["b"], []], "b": [["c"], ["a"]], "c": [["d"], ["b"]], "d": [[], ["c"]]}
    spread(origins, neighbours, list("abcd"))
    assert origins["b"].sources == ("right",) and origins["d"].sources == ("right",)
