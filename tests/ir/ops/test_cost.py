"""Estimates, against counts made by hand or by another way of counting."""

from __future__ import annotations

import json
from math import prod
from typing import Any

import numpy as np
import pytest

from geoc.ir.builder import Builder
from geoc.ir.core import Graph, Node
from geoc.ir.dims import fresh, symbol
from geoc.ir.ops import op
from geoc.ir.ops.cost import TYPICAL, CostModel, Machine
from geoc.ir.ops.cost_table import ALIASES, CONVOLUTIONS, PER_INPUT, PER_OUTPUT, POOLS, PRODUCTS, RECURRENT, SELECTIONS
from geoc.ir.types import F16, F32, I64, tensor_type

B, S = symbol("batch"), symbol("S")


def node(name: str, shapes: list[tuple[Any, ...]], attrs: dict[str, Any] | None = None, dtype: Any = F32) -> Node:
    """One application of an operator to graph inputs of these shapes."""
    graph = Graph("main")
    values = [graph.add_input(f"i{n}", tensor_type(dtype, shape)) for n, shape in enumerate(shapes)]
    made = Builder(graph).node(name, values, attrs)
    graph.set_outputs([made.output], ["y"])
    return made


def test_every_key_is_an_operator() -> None:
    for key in (*PER_OUTPUT, *PER_INPUT, *PRODUCTS, *CONVOLUTIONS, *POOLS, *RECURRENT, *ALIASES, *SELECTIONS):
        assert not op(key).is_opaque, key


def test_every_key_stands_once() -> None:
    tables = [PER_OUTPUT, PER_INPUT, PRODUCTS, CONVOLUTIONS, dict.fromkeys(POOLS), RECURRENT]
    keys = [key for table in tables for key in table]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("name", "shapes", "attrs", "flops"),
    [
        ("Add", [(2, 3), (3,)], {}, 6),
        ("Erf", [(2, 3)], {}, 60),
        ("MatMul", [(5, 2, 3), (3, 4)], {}, 5 * 2 * 3 * 4 * 2),
        ("Gemm", [(3, 2), (3, 4)], {"transA": 1}, 2 * 3 * 4 * 2),
        ("Conv", [(1, 6, 8, 8), (4, 3, 3, 3)], {"group": 2, "pads": (1, 1, 1, 1)}, 4 * 64 * 27 * 2),
        ("ConvTranspose", [(1, 6, 8, 8), (6, 5, 2, 2)], {"strides": (2, 2)}, 6 * 64 * 5 * 4 * 2),
        ("MaxPool", [(1, 3, 8, 8)], {"kernel_shape": (2, 2), "strides": (2, 2)}, 3 * 16 * 4),
        ("ReduceSum", [(4, 5)], {}, 20),
        ("Einsum", [(2, 3, 4), (4, 5)], {"equation": "...ij, jk -> ...ik"}, 2 * 3 * 4 * 5 * 2),
        ("LSTM", [(7, 2, 3), (1, 20, 3), (1, 20, 5)], {"hidden_size": 5}, 7 * 2 * 20 * 8 * 2),
        ("Reshape", [(2, 3)], {}, 0),
        # 2 heads: scores 2*3*5, products with width 4 and width 6, softmax
        ("Attention", [(1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 6)], {}, 30 * (8 + 12 + 14)),
        ("Attention", [(1, 3, 8), (1, 5, 8), (1, 5, 8)], {"q_num_heads": 2, "kv_num_heads": 2}, 30 * (8 + 8 + 14)),
    ],
)
def test_arithmetic(name: str, shapes: list[tuple[int, ...]], attrs: dict[str, Any], flops: int) -> None:
    if name == "Reshape":
        graph = Graph("main")
        made = Builder(graph).node(name, [graph.add_input("x", tensor_type(F32, (2, 3))), Builder(graph).ints([6])])
    else:
        made = node(name, shapes, attrs)
    assert CostModel().flops(made) == flops


@pytest.mark.parametrize("equation", ["ij,jk->ik", "bhsd,bhtd->bhst", "i,i->", "ab,bc,cd->ad"])
def test_einsum_counts_as_numpy_does(equation: str) -> None:
    """numpy reports the operations of the plain loop over all indices."""
    sizes = dict(zip("abcdhijkst", range(2, 12)))
    shapes = [tuple(sizes[c] for c in term) for term in equation.split("->")[0].split(",")]
    made = node("Einsum", shapes, {"equation": equation})
    counted = prod(sizes[c] for c in set(equation) & set(sizes))
    report = np.einsum_path(equation, *[np.zeros(s) for s in shapes], optimize=False)[1]
    naive = float(next(line for line in report.splitlines() if "Naive FLOP" in line).split(":")[1])
    assert CostModel().flops(made) == 2 * counted
    assert naive == pytest.approx(counted * max(len(shapes), 2), rel=1e-2)


def test_attention_does_the_work_of_its_parts_and_moves_less() -> None:
    model = CostModel()
    fused = node("Attention", [(2, 4, 64, 32), (2, 4, 128, 32), (2, 4, 128, 32)])
    first = node("MatMul", [(2, 4, 64, 32), (2, 4, 32, 128)])
    second = node("MatMul", [(2, 4, 64, 128), (2, 4, 128, 32)])
    softmax = node("Softmax", [(2, 4, 64, 128)])
    parts = [first, softmax, second]
    assert model.flops(fused) == sum(model.flops(part) or 0 for part in parts)
    moved = sum(model.bytes(part) or 0 for part in parts)
    scores = 2 * 4 * 64 * 128 * 4
    assert moved - (model.bytes(fused) or 0) == 4 * scores  # written and read, twice


def test_bytes() -> None:
    model = CostModel()
    assert model.bytes(node("Add", [(2, 3), (3,)])) == 4 * (6 + 3 + 6)
    assert model.bytes(node("Add", [(2, 3), (3,)], dtype=F16)) == 2 * (6 + 3 + 6)
    graph = Graph("main")
    table = graph.add_input("t", tensor_type(F32, (1000, 8)))
    rows = graph.add_input("r", tensor_type(I64, (5,)))
    assert model.bytes(Builder(graph).node("Gather", [table, rows])) == 4 * 40 + 8 * 5 + 4 * 40  # not all rows
    x = graph.add_input("x", tensor_type(F32, (4,)))
    assert model.bytes(Builder(graph).node("Mul", [x, x])) == 4 * (4 + 4)  # read once
    assert model.bytes(Builder(graph).node("Concat", [x, x], {"axis": 0})) == 4 * (8 + 8)


def test_symbols_are_typical_and_batches_are_one() -> None:
    model = CostModel()
    assert model.flops(node("Neg", [(B, S, 3)])) == TYPICAL * 3
    assert model.flops(node("Neg", [(symbol("batch_size"), S * 2 + 1)])) == 2 * TYPICAL + 1


def test_nobody_knows() -> None:
    model = CostModel()
    assert model.seconds(node("Neg", [(fresh(), 3)])) is None
    assert model.seconds(node("my.domain::Odd", [(2, 3)])) is None
    graph = Graph("main")
    assert model.seconds(Builder(graph).node("Neg", [graph.add_input("x", tensor_type(F32, None))])) is None


def test_seconds_follow_the_machine() -> None:
    made = node("MatMul", [(256, 256), (256, 256)])
    flops, moved = 2.0 * 256**3, 3 * 4 * 256**2
    assert CostModel(Machine(1e9, 1e12, 1e-3)).seconds(made) == pytest.approx(1e-3 + flops / 1e9)
    assert CostModel(Machine(1e15, 1e6, 0)).seconds(made) == pytest.approx(moved / 1e6)
    assert CostModel().seconds(node("Flatten", [(2, 3)])) == 0


def test_types_in_place_of_those_of_the_values() -> None:
    made = node("Neg", [(fresh(), 3)])
    types = {made.inputs[0]: tensor_type(F32, (7, 3)), made.output: tensor_type(F32, (7, 3))}
    machine = Machine(1e9, 1e9, 0)
    assert CostModel(machine).seconds(made, types) == pytest.approx(2 * 4 * 21 / 1e9)  # type: ignore[arg-type]


def test_every_operator_with_a_formula_is_counted(tmp_path: Any) -> None:
    """No operator of the snapshot makes a formula fail where all shapes are known."""
    from geoc.ir.ops import known_keys

    model = CostModel()
    seen = 0
    for key in known_keys():
        schema = op(key).schema
        if schema is None or op(key).has_regions or schema.min_inputs == 0:
            continue
        graph = Graph("main")
        values = [graph.add_input(f"i{n}", tensor_type(F32, (2, 4, 8, 8))) for n in range(max(schema.min_inputs, 1))]
        from geoc.ir.core import Value

        made = Node(op(key), values, [Value(tensor_type(F32, (2, 4, 8, 8)), "y")], {"num_heads": 2, "K": 8})
        if key.rpartition("::")[2] == "Einsum":
            continue  # needs its equation
        found = model.seconds(made)
        assert found is None or found >= 0, key
        seen += 1
    assert seen > 200, json.dumps(seen)
