"""Scopes that read from each other in a circle."""

from __future__ import annotations

from itertools import pairwise

from geoc.ir.core import Node
from geoc.ir.text import parse_model
from geoc.tools.view.cycles import circles, edges_of, in_order, members_of, without_circles

from .conftest import HEAD


def nodes_of(*lines: str) -> list[Node]:
    body = "".join(f"  {line}\n" for line in lines)
    return list(parse_model(HEAD + f"graph @g(%x: f32[4]) -> (%y: f32[4]) {{\n{body}}}\n").graph)


def named(nodes: list[Node], **scopes: str) -> dict[Node, tuple[str, ...]]:
    return {node: tuple(scopes.get(node.output.hint, "").split("/")) if scopes.get(node.output.hint) else () for node in nodes}


def chain(count: int) -> list[Node]:
    names = ["x", *(f"n{i}" for i in range(count - 1)), "y"]
    return nodes_of(*(f"%{b}: f32[4] = Neg(%{a})" for a, b in pairwise(names)))


def test_an_activation_used_twice_is_given_up() -> None:
    nodes = nodes_of("%a: f32[4] = Neg(%x)", "%s: f32[4] = Relu(%a)", "%b: f32[4] = Abs(%s)", "%t: f32[4] = Relu(%b)", "%y: f32[4] = Exp(%t)")
    scopes = named(nodes, a="block", s="block/act", b="block", t="block/act", y="block")
    assert set(without_circles(nodes, scopes).values()) == {("block",)}


def test_what_is_in_no_circle_stays() -> None:
    nodes = chain(6)
    scopes = {node: ("a",) if at < 3 else ("b", "c") for at, node in enumerate(nodes)}
    assert without_circles(nodes, scopes) == scopes


def test_large_scopes_in_a_circle_stay_and_scattered_ones_go() -> None:
    nodes = chain(40)
    blocks = {node: ("a",) if at // 10 % 2 else ("b",) for at, node in enumerate(nodes)}  # two places each
    assert without_circles(nodes, blocks) == blocks
    assert circles(edges_of(members_of(nodes, blocks, ()))) == [{"a", "b"}]
    turns = {node: ("odd",) if at % 2 else ("even",) for at, node in enumerate(nodes)}
    assert set(without_circles(nodes, turns).values()) == {()}


def test_members_stand_behind_what_they_read() -> None:
    nodes = nodes_of("%a: f32[4] = Neg(%x)", "%b: f32[4] = Abs(%x)", "%c: f32[4] = Exp(%b)", "%d: f32[4] = Add(%a, %c)", "%y: f32[4] = Sin(%d)")
    scopes = named(nodes, a="s", d="s")  # s begins first and reads from c
    found = in_order(members_of(nodes, scopes, ()))
    assert [[node.output.hint for node in member] for member in found] == [["b"], ["c"], ["a", "d"], ["y"]]


def test_regions_count_as_readers() -> None:
    text = HEAD + "graph @g(%x: f32[4], %f: bool[]) -> (%y: f32[4]) {\n  %a: f32[4] = Neg(%x)\n  %y: f32[4] = If(%f)\n    with then_branch = () -> (%t) {\n      %t: f32[4] = Abs(%a)\n    }\n    with else_branch = () -> (%e) {\n      %e: f32[4] = Exp(%x)\n    }\n}\n"
    first, branch = list(parse_model(text).graph)
    assert edges_of({first: [first], branch: [branch]}) == {first: {branch}, branch: set()}
