"""Where nodes belong: what exporters say, and what follows where they say nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoc.ir.core import Graph, Node
from geoc.ir.text import parse_model
from geoc.tools.files import load_any
from geoc.tools.view.scopes import Scopes, common, scope_in_dots, scope_in_meta, scope_in_name

from .conftest import Make


@pytest.mark.parametrize(
    ("name", "scope"),
    [("/m/layer.0/MatMul", ("m", "layer.0")), ("model/dense/MatMul", ("model", "dense")), ("/Add", ()), ("MatMul_3", None), ("", None)],
)
def test_scopes_in_names(name: str, scope: tuple[str, ...] | None) -> None:
    assert scope_in_name(name) == scope


@pytest.mark.parametrize(
    ("name", "scope"),
    [("encoder.layer.0.query.bias", ("encoder", "layer.0", "query")), ("a.1.2.w", ("a.1.2",)), ("bias", None), ("onnx::MatMul_1.2", None), ("/m/Constant.1", None)],
)
def test_scopes_in_weights(name: str, scope: tuple[str, ...] | None) -> None:
    assert scope_in_dots(name) == scope


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("['', 'm', 'm.encoder', 'm.encoder.layer.0', 'permute']", ("m", "encoder", "layer.0")),
        ("['_empty_nn_module_stack_from_metadata_hook', 'sym_size']", None),
        ("['a', 'other.thing', 'x']", None),
        ("no list", None),
        ("[1, 2]", None),
    ],
)
def test_scopes_in_metadata(text: str, scope: tuple[str, ...] | None) -> None:
    assert scope_in_meta({"pkg.torch.onnx.name_scopes": text}) == scope


def test_common() -> None:
    assert common([("a", "b"), ("a", "c"), ("a",)]) == ("a",)
    assert common([]) == ()


def graph_of(*lines: str) -> Graph:
    weights = "".join(f"  weight %{w}: f32[4] = [1.0, 2.0, 3.0, 4.0]\n" for w in ("m.l.0.w", "m.l.0.b", "m.l.1.w", "m.l.1.b", "const"))
    body = "".join(f"  {line}\n" for line in lines)
    return parse_model(f"geoc 1\nir_version 8\nopset \"\" 17\n\ngraph @g(%x: f32[4]) -> (%y: f32[4]) {{\n{weights}{body}}}\n").graph


def by_output(found: dict[Node, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {node.output.hint: path for node, path in found.items()}


def test_names_are_shortened_to_what_tells_apart() -> None:
    graph = graph_of(
        '%a: f32[4] = Relu(%x)  !"/m/only/first/Relu"',
        '%b: f32[4] = Abs(%a)  !"/m/only/first/Abs"',
        '%c: f32[4] = Neg(%b)  !"/m/second/deep/Neg"',
        '%d: f32[4] = Exp(%c)  !"/m/second/deep/Exp"',
        '%y: f32[4] = Erf(%d)  !"/m/alone/Erf"',
    )
    # m is around all; only/first and second/deep hold nothing else; alone is of one node.
    assert by_output(Scopes().of(graph)) == {
        "a": ("only/first",), "b": ("only/first",), "c": ("second/deep",), "d": ("second/deep",), "y": (),
    }  # fmt: skip


def test_weights_say_it_where_names_do_not() -> None:
    graph = graph_of(
        "%a: f32[4] = Mul(%x, %m.l.0.w)",
        "%b: f32[4] = Neg(%a)",  # between two of one layer
        "%c: f32[4] = Add(%b, %m.l.0.b)",
        "%r: f32[4] = Add(%c, %x)",  # a residual sum, read twice: with the layer before
        "%s: f32[4] = Abs(%r)",  # what feeds one node of the next layer alone is of that
        "%d: f32[4] = Mul(%s, %m.l.1.w)",
        "%e: f32[4] = Add(%d, %m.l.1.b)",
        "%y: f32[4] = Add(%e, %r)",  # nothing that is known follows: outside
    )
    assert by_output(Scopes().of(graph)) == {
        "a": ("l.0",), "b": ("l.0",), "c": ("l.0",), "r": ("l.0",), "s": ("l.1",), "d": ("l.1",), "e": ("l.1",), "y": (),
    }  # fmt: skip


def test_what_was_found_stays_for_later_graphs() -> None:
    scopes = Scopes()
    first = graph_of('%a: f32[4] = Neg(%x)  !"/p/q/Neg"', '%b: f32[4] = Abs(%a)  !"/p/q/Abs"', '%c: f32[4] = Exp(%b)  !"/p/r/Exp"', '%y: f32[4] = Erf(%c)  !"/p/r/Erf"')
    assert by_output(scopes.of(first)) == {"a": ("q",), "b": ("q",), "c": ("r",), "y": ("r",)}
    # A fused node is where all that it came from is; r has one node left, and is still there.
    fused = graph_of('%b: f32[4] = Gelu(%x)  !"/p/q/Neg"  !"/p/q/Abs"', '%n: f32[4] = Sin(%b)', '%y: f32[4] = Erf(%n)  !"/p/r/Erf"')
    assert by_output(scopes.of(fused)) == {"b": ("q",), "n": ("r",), "y": ("r",)}
    renamed = graph_of('%a: f32[4] = Neg(%x)  !"/p/q/Neg"', '%b: f32[4] = Abs(%a)  !"/p/r/Abs_made_of_it"', '%y: f32[4] = Erf(%b)  !"/p/r/Erf"')
    assert by_output(scopes.of(renamed)) == {"a": ("q",), "b": ("r",), "y": ("r",)}
    across = graph_of('%y: f32[4] = Erf(%x)  !"/p/q/Abs"  !"/p/r/Erf"')
    assert by_output(scopes.of(across)) == {"y": ()}


def test_a_graph_without_any_name_has_one_scope() -> None:
    assert set(by_output(Scopes().of(graph_of("%a: f32[4] = Neg(%x)", "%y: f32[4] = Abs(%a)"))).values()) == {()}


@pytest.mark.parametrize("name", ["bert-ts", "bert-dynamo"])
def test_both_exporters_give_the_same_layers(name: str, model_file: Make) -> None:
    paths = set(Scopes().of(load_any(Path(model_file(name))).graph).values())
    tops = {path[:2] for path in paths if len(path) > 1}
    assert {("encoder", "layer.0"), ("encoder", "layer.1")} <= tops
