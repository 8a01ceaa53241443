"""Golden texts: each parses, prints as itself, and means what the API builds by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geoc.ir.core import Graph, Model, Node, Value, constant
from geoc.ir.dims import symbol
from geoc.ir.equal import difference, structural_hash
from geoc.ir.ops import op
from geoc.ir.tensor import Tensor
from geoc.ir.text import load_model, parse_model, print_model
from geoc.ir.types import BOOL, F32, tensor_type
from geoc.ir.verify import verify

FILES = sorted(Path(__file__).parent.glob("*.gir"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_prints_as_it_was_read(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert print_model(load_model(path), full=path.stem == "full") == text


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_both_ways_of_reading_agree(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    common, grammar = parse_model(text), parse_model(text, fast=False)
    assert difference(common, grammar, strict=True) is None
    assert structural_hash(common) == structural_hash(grammar)


@pytest.mark.parametrize("name", ["block", "loop"])
def test_valid_ones_verify(name: str) -> None:
    verify(load_model(Path(__file__).with_name(f"{name}.gir")))


def built_block() -> Model:
    """The model of block.gir, made without the parser."""
    b, s = symbol("B"), symbol("S")
    wide = tensor_type(F32, (b, s, 4))
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F32, (b, s, 2)))
    flag = graph.add_input("flag", tensor_type(BOOL, ()))
    elements = [0.1, -0.2, 1e-7, np.finfo(np.float32).max, 1e-45, -0.0, 2.0**24, 1 / 3]
    weight = constant(Tensor.from_array(np.array(elements, np.float32).reshape(2, 4)), "fc1.w")
    half = constant(Tensor.of(0.5, F32), "half")
    product, act, y = Value(wide, "mm"), Value(wide, "act"), Value(wide, "y")
    graph.append(Node(op("MatMul"), [x, weight], [product], loc=("/fc1/MatMul",)))
    gelu = Node(op("Gelu"), [product], [act], {"approximate": "tanh"}, loc=("/fc1/Gelu", "/fc1/Gelu_1"))
    graph.append(gelu)
    then, otherwise = Graph(), Graph("otherwise")
    t = Value(wide, "t")
    then.append(Node(op("Mul"), [act, half], [t]))
    then.set_outputs([t])
    otherwise.set_outputs([act], ["same"])
    graph.append(Node(op("If"), [flag], [y], {}, {"then_branch": then, "else_branch": otherwise}))
    graph.set_outputs([y])
    model = Model(graph)
    model.ir_version = 10
    model.opsets = {"": 20}
    return model


def test_text_of_a_model_built_by_hand() -> None:
    model = built_block()
    verify(model)
    assert print_model(model) == Path(__file__).with_name("block.gir").read_text(encoding="utf-8")
