"""Cutting scopes with too many members, at narrow places."""

from __future__ import annotations

from geoc.ir.core import Node
from geoc.ir.text import parse_model
from geoc.tools.view.parts import MOST, crossings, cut, parts_of


def nodes_of(lines: list[str]) -> list[Node]:
    body = "".join(f"  {line}\n" for line in lines)
    text = f'geoc 1\nir_version 8\nopset "" 17\n\ngraph @g(%n0: f32[4]) -> (%y: f32[4]) {{\n{body}}}\n'
    return list(parse_model(text).graph)


def blocks(count: int) -> list[Node]:
    """Residual blocks of ten nodes: nine in a row, then the sum with what the block began with."""
    lines, last = [], "n0"
    for block in range(count):
        first = last
        for step in range(9):
            lines.append(f"%b{block}_{step}: f32[4] = Neg(%{last})")
            last = f"b{block}_{step}"
        lines.append(f"%s{block}: f32[4] = Add(%{last}, %{first})")
        last = f"s{block}"
    lines.append(f"%y: f32[4] = Abs(%{last})")
    return nodes_of(lines)


def test_crossings_count_values_that_are_still_read() -> None:
    nodes = nodes_of(["%a: f32[4] = Neg(%n0)", "%b: f32[4] = Abs(%a)", "%c: f32[4] = Exp(%b)", "%y: f32[4] = Add(%c, %a)"])
    assert crossings([[node] for node in nodes]) == [1, 2, 2, 0]
    assert crossings([nodes[:2], nodes[2:]]) == [2, 0]


def test_parts_are_whole_blocks() -> None:
    nodes = blocks(12)
    parts = parts_of([[node] for node in nodes])
    assert [node for part in parts for member in part for node in member] == nodes
    assert len(parts) > 5
    for part in parts[1:]:  # the first value that each reads is the sum that ends a block
        assert part[0][0].inputs[0].producer.op.name == "Add"  # type: ignore[union-attr]


def test_small_scopes_are_left_alone() -> None:
    nodes = blocks(6)
    assert len(nodes) > MOST
    scopes = dict.fromkeys(nodes, ("all",))
    paths = set(cut(nodes, scopes).values())
    assert paths == {("all", f"part {i}") for i in range(1, len(paths) + 1)} and len(paths) > 3
    few = nodes[:MOST]
    assert cut(few, dict.fromkeys(few, ("all",))) == dict.fromkeys(few, ("all",))


def test_inner_scopes_stay_whole() -> None:
    nodes = blocks(30)
    scopes = {node: ("block " + node.output.hint.partition("_")[0],) if "_" in node.output.hint else () for node in nodes}
    found = cut(nodes, scopes)
    inner = {path[-1] for path in found.values() if path[-1].startswith("block")}
    assert len(inner) == 30
    for name in inner:
        assert len({path for path in found.values() if path[-1] == name}) == 1
