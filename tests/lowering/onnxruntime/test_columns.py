"""nbits-columns: products whose minima are columns of theirs, and tables filled up to whole fours of blocks, in onnxruntime."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from geoc.ir.builder import Builder
from geoc.ir.core import Graph, Model, Node
from geoc.ir.dims import symbol
from geoc.ir.tensor import Tensor
from geoc.ir.types import F32, I64, U4, U8, tensor_type
from geoc.ir.verify import verify
from geoc.lowering.targets import get_target
from geoc.passes.base import Context
from geoc.passes.manager import run_pipeline
from geoc.passes.pipelines import parse
from geoc.passes.registry import Registry

from .test_blocks import session

OUTPUTS = 24
TYPES = {4: U4, 8: U8}
ROWS = "nbits-rows,"
SHARED = "share-weights{transposed=false},cse,dce,"


class Layer:
    """y = x W, W [outputs, inputs] in blocks of 32 of random codes, with a minimum for each block or without; the numbers of
    W in `floats`. Minima are of the size of a step of the codes, as those of real weights are."""

    def __init__(self, inputs: int, bits: int, minimum: bool, table: bool = False, scale: float = 0.02) -> None:
        random = np.random.default_rng(inputs + bits)
        blocks = inputs // 32
        codes = random.integers(0, 1 << bits, (OUTPUTS, inputs)).astype(np.uint8)
        stored = np.float16 if scale == 0.02 else np.float32  # half precision holds neither of the others
        steps = (random.uniform(0.5, 1, (OUTPUTS, blocks)) * scale).astype(stored).astype(np.float32)
        least = (-(1 << bits - 1) * steps + random.normal(0, scale, steps.shape)).astype(stored).astype(np.float32)
        zero = least if minimum else -(1 << bits - 1) * steps
        self.floats = (
            codes.reshape(OUTPUTS, blocks, 32) * steps[..., None].astype(np.float64) + zero[..., None]
        ).reshape(OUTPUTS, inputs)
        graph = Graph("g")
        b = Builder(graph)
        x = graph.add_input("x", tensor_type(F32, (symbol("B"), symbol("S"), inputs)))
        given = None if minimum else b.const(np.full(steps.shape, 1 << bits - 1), TYPES[bits])
        matrix = b.op(
            "DequantizeLinear",
            b.const(Tensor.from_array(codes, TYPES[bits])),
            b.const(steps),
            given,
            axis=1,
            block_size=32,
        )
        if minimum:
            apart = b.op("Reshape", matrix, b.ints([OUTPUTS, blocks, 32]))
            matrix = b.op("Reshape", b.op("Add", apart, b.const(least[..., None])), b.ints([OUTPUTS, inputs]))
        outputs = [b.op("MatMul", x, b.op("Transpose", matrix, perm=(1, 0)))]
        if table:
            outputs.append(b.op("Gather", matrix, graph.add_input("i", tensor_type(I64, (symbol("B"), symbol("S"))))))
        graph.set_outputs(outputs, ["y", "rows"][: len(outputs)])
        self.model = Model(graph)

    def after(self, passes: str) -> Model:
        target = get_target("cpu-avx512")
        items = parse(f"ort-blocks,fold,cse,dce,{passes}dce")
        run_pipeline(self.model, Registry(target.rule_sets).resolve(items), Context(capabilities=target.capabilities))
        verify(self.model)
        return self.model


def products(model: Model) -> list[Node]:
    return [node for node in model.walk() if node.op.name == "MatMulNBits"]


def kinds(model: Model) -> Counter[str]:
    return Counter(node.op.name for node in model.walk())


def error(got: Any, wanted: Any) -> float:
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize(
    ("inputs", "bits", "columns"), [(576, 4, 640), (1536, 4, 1664), (576, 8, 640), (2048, 8, 2176)]
)
def test_minima_become_columns(inputs: int, bits: int, columns: int) -> None:
    layer = Layer(inputs, bits, minimum=True)
    model = layer.after(ROWS + "nbits-columns,")
    (product,) = products(model)
    assert (product.attr("K"), product.attr("N"), product.attr("accuracy_level")) == (columns, OUTPUTS, 4)
    assert not kinds(model).keys() & {"MatMul", "Add", "Transpose"}
    run = session(model)
    apart = session(Layer(inputs, bits, minimum=True).after(ROWS))
    random = np.random.default_rng(0)
    for batch, length in ((1, 1), (2, 7), (1, 40)):
        x = random.normal(0.2, 1, (batch, length, inputs)).astype(np.float32)
        wanted = x.astype(np.float64) @ layer.floats.T
        got, before = run.run(None, {"x": x})[0], apart.run(None, {"x": x})[0]
        # Rows in 8 bits are what is inexact: with the sums among them the error is of the same size.
        assert error(got, wanted) < 2 * error(before, wanted) < 0.02


@pytest.mark.parametrize("scale", [0.02, 1e-6, 3e4])
def test_digits_hold_minima_of_any_size(scale: float) -> None:
    """With rows that codes of 8 bits hold exactly, what is left is the error of the digits."""
    layer = Layer(576, 4, minimum=True, scale=scale)
    model = layer.after(ROWS + "nbits-columns,")
    x = np.zeros((1, 18, 576), np.float32)
    for row in range(18):
        x[0, row, row * 32] = 127.0  # one block's sum is 127, the others 0
    wanted = x.astype(np.float64) @ layer.floats.T
    (got,) = session(model).run(None, {"x": x})
    steps = layer.floats.reshape(OUTPUTS, 18, 32).max(-1) - layer.floats.reshape(OUTPUTS, 18, 32).min(-1)
    assert np.abs(got - wanted).max() <= 127 * 4 * scale / 190 + 1e-5 * np.abs(wanted).max()
    assert steps.max() > 5 * scale  # the weights are not of the size of that error


def test_a_table_is_shared_with_the_product_that_is_filled_up() -> None:
    layer = Layer(576, 8, minimum=False, table=True)
    model = layer.after(ROWS + SHARED + "nbits-columns,")
    (product,) = products(model)
    (table,) = [node for node in model.walk() if node.op.name == "GatherBlockQuantized"]
    assert product.attr("K") == 640 and table.inputs[0] is product.inputs[1]
    random = np.random.default_rng(0)
    x, ids = random.normal(size=(2, 3, 576)).astype(np.float32), random.integers(0, OUTPUTS, (2, 3))
    got, rows = session(model).run(None, {"x": x, "i": ids})
    np.testing.assert_allclose(rows, layer.floats[ids], rtol=1e-6, atol=1e-9)
    plain = session(Layer(576, 8, minimum=False).after(ROWS)).run(None, {"x": x})[0]
    np.testing.assert_allclose(got, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "passes"),
    [
        (Layer(576, 4, minimum=True), ""),  # rows in floats
        (Layer(256, 4, minimum=True), ROWS),  # eight sums are not worth a block of columns
        (Layer(576, 4, minimum=False), ROWS),  # 4 bits gain nothing by whole fours
        (Layer(512, 8, minimum=False), ROWS),  # whole fours already
        (Layer(64, 8, minimum=False), ROWS),  # twice as much to read
    ],
    ids=["floats", "few", "narrow", "whole", "small"],
)
def test_it_leaves_what_gains_nothing(layer: Layer, passes: str) -> None:
    model = layer.after(passes)
    before = kinds(model), [node.attr("K") for node in products(model)]
    layer.after("nbits-columns,")
    assert (kinds(model), [node.attr("K") for node in products(model)]) == before


def test_codes_that_another_product_reads_stay() -> None:
    layer = Layer(576, 8, minimum=False)
    model = layer.after(ROWS)
    (product,) = products(model)
    b = Builder(model.graph)
    other = b.node(
        product.op, [*product.inputs[:3], None, None, b.const(np.ones(OUTPUTS, np.float32))], dict(product.attrs)
    ).output
    model.graph.set_outputs([product.output, other], ["y", "z"])
    layer.after("nbits-columns,")
    assert [node.attr("K") for node in products(model)] == [576, 576]


def test_sums_of_something_else_stay_apart() -> None:
    layer = Layer(576, 4, minimum=True)
    model = layer.after(ROWS)
    (reshape,) = [node for node in model.walk() if node.op.name == "Reshape"]
    other = Builder(model.graph, reshape).op("Neg", model.graph.inputs[0])
    reshape.set_input(0, other)
    layer.after("nbits-columns,")
    assert [node.attr("K") for node in products(model)] == [576] and kinds(model)["MatMul"] == 1
