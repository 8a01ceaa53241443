from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoc.ir.builder import Builder
from geoc.ir.core import Graph, Model, constant
from geoc.ir.dims import symbol
from geoc.ir.evaluate import DeferredTensor
from geoc.ir.tensor import MappedFile, Tensor
from geoc.ir.types import F32, I64, tensor_type
from geoc.passes.base import Context
from geoc.passes.clean.fold import Fold

X = np.arange(12, dtype=np.float32).reshape(3, 4)
Apply = Callable[..., bool]


def test_constant_arithmetic_becomes_one_constant(gir: Any, ops: Any, apply: Apply) -> None:
    model = gir(
        """graph @main(%x: f32[B,4]) -> (%y: f32[B,4]) {
      weight %two: f32[] = 2.0
      weight %three: f32[] = 3.0
      %a: f32[] = Mul(%two, %three)
      %b: f32[] = Sqrt(%a)
      %y: f32[B,4] = Add(%x, %b)
    }"""
    )
    assert apply(Fold(), model, {"x": X})
    assert ops(model.graph) == {"Add": 1}


def test_dead_nodes_are_left_alone(gir: Any, ops: Any, apply: Apply) -> None:
    model = gir(
        """graph @main(%x: f32[B,4]) -> (%y: f32[B,4]) {
      weight %two: f32[] = 2.0
      %a: f32[] = Neg(%two)
      %dead: f32[] = Sqrt(%two)
      %y: f32[B,4] = Add(%x, %a)
    }"""
    )
    assert apply(Fold(), model, {"x": X})
    assert ops(model.graph) == {"Sqrt": 1, "Add": 1}


def test_elements_that_inference_knows(gir: Any, ops: Any, apply: Apply) -> None:
    # Two of three dimensions are static: the chain down to the product of them is known, the batch is not.
    model = gir(
        """graph @main(%x: f32[B,3,4]) -> (%y: f32[?a,?b], %batch: i64[]) {
      weight %zero: i64[] = 0
      weight %one: i64[] = 1
      weight %two: i64[] = 2
      weight %axes: i64[1] = [0]
      weight %minus: i64[1] = [-1]
      %s: i64[3] = Shape(%x)
      %d1: i64[] = Gather(%s, %one)
      %d2: i64[] = Gather(%s, %two)
      %p: i64[] = Mul(%d1, %d2)
      %u: i64[1] = Unsqueeze(%p, %axes)
      %t: i64[2] = Concat(%minus, %u) {axis = 0}
      %y: f32[?a,?b] = Reshape(%x, %t)
      %batch: i64[] = Gather(%s, %zero)
    }"""
    )
    assert apply(Fold(), model, {"x": np.ones((2, 3, 4), np.float32)}, {"x": np.ones((5, 3, 4), np.float32)})
    assert ops(model.graph) == {"Shape": 1, "Reshape": 1, "Gather": 1}


def test_a_graph_output_may_become_a_constant(gir: Any, ops: Any, apply: Apply) -> None:
    model = gir(
        """graph @main(%x: f32[2,3]) -> (%y: f32[2,3], %s: i64[2]) {
      %y: f32[2,3] = Relu(%x)
      %s: i64[2] = Shape(%x)
    }"""
    )
    assert apply(Fold(), model, {"x": np.ones((2, 3), np.float32)})
    assert ops(model.graph) == {"Relu": 1}


def test_inside_loops_and_branches(gir: Any, ops: Any, apply: Apply) -> None:
    model = gir(
        """graph @main(%x: f32[3,4], %c: bool[]) -> (%y: f32[3,4]) {
      weight %n: i64[] = 2
      weight %true: bool[] = true
      weight %a: f32[] = 2.0
      weight %b: f32[] = 4.0
      %outer: f32[] = Mul(%a, %b)
      %y: f32[3,4] = Loop(%n, %true, %x)
        with body = (%k: i64[], %go: bool[], %v: f32[3,4]) -> (%go, %w) {
          %half: f32[] = Div(%a, %b)
          %w: f32[3,4] = If(%c)
            with then_branch = () -> (%t) {
              %m: f32[] = Add(%half, %outer)
              %t: f32[3,4] = Mul(%v, %m)
            }
            with else_branch = () -> (%e) {
              %e: f32[3,4] = Sub(%v, %half)
            }
        }
    }"""
    )
    assert apply(Fold(), model, {"x": X, "c": np.array(True)}, {"x": X, "c": np.array(False)})
    assert ops(model.graph) == {"Loop": 1, "If": 1, "Mul": 1, "Sub": 1}


@pytest.mark.parametrize("statement", ["Expand(%row, %shape)", "Tile(%row, %times)"])
def test_a_fold_that_grows_the_file_is_refused(
    statement: str, gir: Any, ops: Any, apply: Apply, remarks: Any
) -> None:
    columns = 64 if "shape" in statement else 2
    row = ", ".join(str(float(i)) for i in range(columns))
    text = f"""graph @main(%x: f32[64,64]) -> (%y: f32[64,64]) {{
      weight %shape: i64[2] = [64, 64]
      weight %times: i64[2] = [64, 32]
      weight %row: f32[1,{columns}] = [{row}]
      %big: f32[64,64] = {statement}
      %y: f32[64,64] = Add(%x, %big)
    }}"""
    model = gir(text)
    x = np.ones((64, 64), np.float32)
    assert not apply(Fold(), model, {"x": x})
    assert "refused" in remarks.text and "grow by 16" in remarks.text
    model = gir(text)
    assert apply(Fold(grow=True), model, {"x": x})
    assert ops(model.graph) == {"Add": 1}


@pytest.mark.parametrize("statement", ["ConstantOfShape(%shape)", "Expand(%one, %shape)", "Neg(%filled)"])
def test_a_repeated_element_takes_no_room(statement: str, gir: Any, ops: Any, apply: Apply) -> None:
    model = gir(
        f"""graph @main(%x: f32[64,64]) -> (%y: f32[64,64]) {{
      weight %shape: i64[2] = [64, 64]
      weight %one: f32[1,1] = [1.0]
      weight %filled: f32[64,64] = splat(3.0)
      %big: f32[64,64] = {statement}
      %y: f32[64,64] = Add(%x, %big)
    }}"""
    )
    assert apply(Fold(), model, {"x": np.ones((64, 64), np.float32)})
    assert ops(model.graph) == {"Add": 1}
    assert model.weight_bytes == 4


def test_a_large_intermediate_does_not_prevent_a_small_result(gir: Any, ops: Any, apply: Apply) -> None:
    model = gir(
        """graph @main(%x: f32[3,4]) -> (%y: f32[3,4]) {
      weight %zero: i64[] = 0
      weight %n: i64[] = 10000
      weight %step: i64[] = 1
      weight %axes: i64[1] = [0]
      %r: i64[?r] = Range(%zero, %n, %step)
      %f: f32[?r] = Cast(%r) {to = 1}
      %m: f32[1] = ReduceMean(%f, %axes)
      %y: f32[3,4] = Add(%x, %m)
    }"""
    )
    assert apply(Fold(), model, {"x": X}, tolerance=1e-5)
    assert ops(model.graph) == {"Add": 1}


def test_growth_of_the_whole_model_is_limited(ops: Any) -> None:
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F32, (200,)))
    b = Builder(graph)
    y = x
    for i in range(20):  # each adds 792 bytes
        filled = b.op("Tile", b.const([float(i), 0.0], F32), b.ints([100]))
        y = b.op("Add", y, filled)
    graph.set_outputs([y], ["y"])
    assert Fold().run(Model(graph), Context())
    left = ops(graph)["Tile"]
    assert 20 - (1 << 11) // 784 - 1 <= left <= 20 - (1 << 11) // 800


def test_what_was_saved_may_be_spent(ops: Any) -> None:
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F32, (100_000,)))
    b = Builder(graph)
    y = b.op("Add", x, b.op("Tile", b.const([1.0, 0.0], F32), b.ints([50_000])))
    graph.set_outputs([y], ["y"])
    model, ctx = Model(graph), Context()
    ctx.source_bytes = 9_000_000  # 360,000 for one value are not enough
    assert not Fold().run(model, ctx)
    ctx.source_bytes = 11_000_000
    assert Fold().run(model, ctx)
    assert ops(graph) == {"Add": 1}


def big(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return Tensor.from_array(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def test_a_weight_is_transposed_when_written(tmp_path: Path, apply: Apply, ops: Any) -> None:
    array = big((600, 500)).array()
    path = tmp_path / "w.bin"
    path.write_bytes(array.tobytes())
    tensor = Tensor(F32, (600, 500), file=MappedFile(path))
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F32, (symbol("B"), 500)))
    b = Builder(graph)
    weight = b.op("Transpose", constant(tensor, "w"), perm=(1, 0))
    graph.set_outputs([b.op("MatMul", x, weight)], ["y"])
    model = Model(graph)
    assert apply(Fold(), model, {"x": np.ones((2, 500), np.float32)}, tolerance=1e-4)
    assert ops(graph) == {"MatMul": 1}
    assert graph.first is not None and graph.first.inputs[1] is not None
    folded = graph.first.inputs[1].const
    assert isinstance(folded, DeferredTensor)
    np.testing.assert_array_equal(folded.array(), array.T)
    assert bytes(folded.data()) == np.ascontiguousarray(array.T).tobytes()


def test_a_reshaped_weight_stays_a_span_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(bytes(16) + big((6, 4)).array().tobytes())
    tensor = Tensor(F32, (6, 4), file=MappedFile(path), offset=16)
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F32, (2, 3, 4)))
    b = Builder(graph)
    y = b.op("Add", x, b.op("Reshape", constant(tensor), b.ints([2, 3, -1])))
    graph.set_outputs([y], ["y"])
    assert Fold().run(Model(graph), Context())
    assert y.producer is not None and y.producer.inputs[1] is not None
    folded = y.producer.inputs[1].const
    assert folded is not None and folded.file is tensor.file and folded.offset == 16 and folded.shape == (2, 3, 4)


def test_a_tied_weight_is_not_stored_in_two_layouts(ops: Any, remarks: Any) -> None:
    graph = Graph("main")
    ids = graph.add_input("ids", tensor_type(I64, (symbol("B"),)))
    b = Builder(graph)
    table = constant(big((1000, 64)), "table")
    rows = b.op("Gather", table, ids)
    graph.set_outputs([b.op("MatMul", rows, b.op("Transpose", table))], ["y"])
    assert not Fold().run(Model(graph), Context(instruments=[remarks]))
    assert ops(graph)["Transpose"] == 1 and "grow by 256000 bytes" in remarks.text


def test_parts_of_a_weight_put_together_again(apply: Apply, ops: Any) -> None:
    # The gates of an LSTM in another order: the parts are no larger than the whole.
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F32, (4, 100)))
    b = Builder(graph)
    table = constant(big((4, 100)), "table")
    first = b.op("Slice", table, b.ints([0]), b.ints([1]))
    rest = b.op("Slice", table, b.ints([1]), b.ints([4]))
    y = b.op("Add", x, b.op("Concat", rest, first, axis=0))
    graph.set_outputs([y], ["y"])
    assert apply(Fold(allowance=0), Model(graph), {"x": np.ones((4, 100), np.float32)})
    assert ops(graph) == {"Add": 1}


def test_equal_computations_give_one_constant() -> None:
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F32, (500,)))
    b = Builder(graph)
    one = constant(big((500,)))
    results = [b.op("Add", x, b.op("Neg", one)), b.op("Mul", x, b.op("Neg", one))]
    graph.set_outputs(results, ["a", "b"])
    assert Fold(allowance=0).run(Model(graph), Context())
    used = {id(v.producer.inputs[1]) for v in results if v.producer is not None}
    assert len(used) == 1 and graph.size == 2


@pytest.mark.parametrize(
    "statement",
    [
        "DequantizeLinear(%q, %s)",
        "RandomUniformLike(%f)",
        "Bernoulli(%f)",
    ],
)
def test_never_folded(statement: str, gir: Any) -> None:
    model = gir(
        f"""graph @main(%x: f32[4]) -> (%y: f32[4]) {{
      weight %q: i8[4] = [1, 2, 3, 4]
      weight %s: f32[] = 0.5
      weight %f: f32[4] = [0.5, 0.5, 0.5, 0.5]
      %c: f32[4] = {statement}
      %y: f32[4] = Add(%x, %c)
    }}"""
    )
    assert not Fold(grow=True).run(model, Context())


def test_an_unknown_operator_is_not_run(gir: Any) -> None:
    model = gir(
        """graph @main(%x: f32[4]) -> (%y: f32[4]) {
      weight %f: f32[4] = [0.5, 0.5, 0.5, 0.5]
      %c: f32[4] = my.domain::Thing(%f)
      %y: f32[4] = Add(%x, %c)
    }"""
    )
    assert not Fold().run(model, Context())


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("Div(%five, %zero)", "divided by zero"),
        ("Mod(%five, %zero)", "divided by zero"),
        ("GatherND(%table, %place)", "outside an axis"),
    ],
)
def test_what_fails_stays(statement: str, reason: str, gir: Any, remarks: Any) -> None:
    model = gir(
        f"""graph @main(%x: i64[]) -> (%y: i64[]) {{
      weight %five: i64[] = 5
      weight %zero: i64[] = 0
      weight %table: i64[2,1] = [1, 2]
      weight %place: i64[2] = [2, 0]
      %c: i64[] = {statement}
      %y: i64[] = Add(%x, %c)
    }}"""
    )
    assert not Fold().run(model, Context(instruments=[remarks]))
    assert reason in remarks.text


def test_operands_above_the_limit_are_not_read(remarks: Any) -> None:
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F32, (100,)))
    b = Builder(graph)
    y = b.op("Add", x, b.op("Exp", constant(big((100,)))))
    graph.set_outputs([y], ["y"])
    assert not Fold(max_bytes=799).run(Model(graph), Context(instruments=[remarks]))
    assert "take 800 bytes" in remarks.text
    assert Fold(max_bytes=800).run(Model(graph), Context())


def test_a_runtime_is_loaded_only_where_numpy_has_no_kernel() -> None:
    program = """
import sys
from geoc.ir.text import parse_model
from geoc.passes.base import Context
from geoc.passes.clean.fold import Fold
text = '''geoc 1
opset "" 20
graph @main(%x: f32[2]) -> (%y: f32[2]) {
  weight %v: f32[2] = [0.5, 1.0]
  %a: f32[2] = Add(%v, %v)
  %c: f32[2] = Acosh(%a)
  %y: f32[2] = Add(%x, %c)
}'''
model = parse_model(text.replace("Acosh", "Exp") if sys.argv[1] == "numpy" else text)
Fold().run(model, Context())
print([node.op.key for node in model.graph], sorted({"onnx", "onnxruntime"} & set(sys.modules)))
"""
    for which, wanted in (("numpy", "['Add'] []"), ("runtime", "['Add'] ['onnxruntime']")):
        found = subprocess.run([sys.executable, "-c", program, which], capture_output=True, text=True, check=True)
        assert found.stdout.strip() == wanted


def test_linear_time() -> None:
    from time import process_time

    def seconds(count: int) -> float:
        graph = Graph("main")
        y = graph.add_input("x", tensor_type(F32, (4,)))
        b = Builder(graph)
        one, deep = b.const(1.0, F32), b.const(0.0, F32)
        for i in range(count // 4):
            deep = b.op("Add", deep, one)  # one long chain, read at every step
            y = b.op("Add", y, b.op("Mul", deep, b.const(float(i), F32)))
            y = b.op("Relu", y)
        graph.set_outputs([y], ["y"])
        start = process_time()
        assert Fold(growth=1 << 20).run(Model(graph), Context())
        assert graph.size == count // 2
        return process_time() - start

    small = min(seconds(1000) for _ in range(3))
    assert min(seconds(10_000) for _ in range(3)) < 15 * small + 0.01
