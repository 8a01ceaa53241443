from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoc.ir.builder import Builder
from geoc.ir.core import Function, Graph, Model, constant
from geoc.ir.dims import symbol
from geoc.ir.tensor import MappedFile, Tensor
from geoc.ir.types import BOOL, F32, I64, tensor_type
from geoc.passes.base import Context
from geoc.passes.clean.fold import Fold
from geoc.passes.clean.share_weights import ShareWeights, constants


def random(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def adding(*arrays: Any) -> Graph:
    """A graph that adds constants to its input."""
    graph = Graph("main")
    y = graph.add_input("x", tensor_type(F32, (4, 300)))
    b = Builder(graph)
    for array in arrays:
        tensor = array if isinstance(array, Tensor) else Tensor.from_array(array)
        y = b.op("Add", y, constant(tensor))
    graph.set_outputs([y], ["y"])
    return graph


def test_equal_constants_become_one(apply: Any) -> None:
    a = random(300)
    other = a.copy()
    other[150] += 1
    graph = adding(a, a.copy(), other, np.float32(2), np.float32(2), np.float32(-2), a.reshape(1, 300).copy())
    assert apply(ShareWeights(), Model(graph), {"x": np.ones((4, 300), np.float32)})
    assert len(constants(graph)) == 5


def test_zeros_of_different_sign_are_different(apply: Any) -> None:
    graph = adding(np.float32(0.0), np.float32(-0.0))
    assert not apply(ShareWeights(), Model(graph), {"x": np.ones((4, 300), np.float32)})


def test_dtypes_and_shapes_are_told_apart() -> None:
    graph = Graph("main")
    b = Builder(graph)
    zeros = [b.const(0.0, F32), b.const(0, I64), b.const([0], I64), b.const([[0]], I64)]
    graph.set_outputs([b.op("Shape", zero) for zero in zeros], list("abcd"))
    assert not ShareWeights().run(Model(graph), Context())


def test_constants_in_regions_are_shared_with_the_graph_around(gir: Any, apply: Any) -> None:
    model = gir(
        """graph @main(%x: f32[3], %c: bool[]) -> (%y: f32[3]) {
      weight %a: f32[3] = [1.0, 2.0, 3.0]
      %z: f32[3] = Add(%x, %a)
      %y: f32[3] = If(%c)
        with then_branch = () -> (%t) {
          weight %b: f32[3] = [1.0, 2.0, 3.0]
          %t: f32[3] = Mul(%z, %b)
        }
        with else_branch = () -> (%d) {
          weight %d: f32[3] = [1.0, 2.0, 3.0]
        }
    }"""
    )
    x = np.ones(3, np.float32)
    assert apply(ShareWeights(), model, {"x": x, "c": np.array(True)}, {"x": x, "c": np.array(False)})
    assert len(constants(model.graph)) == 1


def test_functions_share_nothing_with_the_main_graph() -> None:
    model = Model(adding(random(300)))
    model.functions["my", "f", ""] = Function("my", "f", adding(random(300)))
    assert not ShareWeights().run(model, Context())


def test_spans_are_not_read_without_need(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(random(900).tobytes())
    file = MappedFile(path)
    spans = [Tensor(F32, (300,), file=file, offset=offset) for offset in (0, 0, 1200)]
    lone = Tensor(F32, (4, 300), file=file, offset=0)
    graph = adding(*spans, lone)
    digested: list[Tensor] = []
    monkeypatch.setattr(Tensor, "digest", lambda tensor: digested.append(tensor))
    assert ShareWeights(transposed=False).run(Model(graph), Context())
    assert len(constants(graph)) == 3 and digested == []


def language_model(rank: int, product: str, table: Any, head: Any) -> Graph:
    graph = Graph("main")
    shape = (symbol("B"), symbol("T"), symbol("U"))[: rank - 1]
    ids = graph.add_input("ids", tensor_type(I64, shape))
    b = Builder(graph)
    rows = b.op("Gather", constant(Tensor.from_array(table), "table"), ids)
    weight = constant(Tensor.from_array(head), "head")
    if product == "Gemm":
        logits = b.op("Gemm", rows, weight)
    elif product == "GemmT":
        logits = b.op("Gemm", rows, weight, transB=1)
    else:
        logits = b.op("MatMul", rows, weight)
    graph.set_outputs([logits], ["logits"])
    return graph


@pytest.mark.parametrize(
    ("rank", "product", "left"),
    [
        (3, "MatMul", {"Transpose": 1, "Gather": 1, "MatMul": 1}),
        (2, "MatMul", {"Gather": 1, "Gemm": 1}),
        (2, "Gemm", {"Gather": 1, "Gemm": 1}),
    ],
)
def test_a_transposed_copy_of_the_embedding(
    rank: int, product: str, left: dict[str, int], apply: Any, ops: Any
) -> None:
    table = random(700, 64)
    graph = language_model(rank, product, table, table.T.copy())
    ids = np.arange(6).reshape((2, 3) if rank == 3 else (6,))
    step = ShareWeights(min_saving=4 * 700 * 64)
    assert apply(step, Model(graph), {"ids": ids}, tolerance=1e-4)
    assert ops(graph) == left
    assert len(constants(graph)) == 1
    # Folding the transpose would make the file grow again.
    assert not Fold().run(Model(graph), Context())


def test_a_gemm_that_transposes_already_reads_the_matrix_itself(apply: Any, ops: Any) -> None:
    table = random(64, 64)
    graph = language_model(2, "GemmT", table, table.T.copy())
    assert apply(ShareWeights(min_saving=1), Model(graph), {"ids": np.arange(5)}, tolerance=1e-4)
    gemm = graph.last
    assert gemm is not None and not gemm.attrs and len(constants(graph)) == 1


def test_small_or_unequal_matrices_are_left_alone() -> None:
    table = random(700, 64)
    almost = table.T.copy()
    almost[63, 699] += 1  # the last element to be compared
    graph = language_model(3, "MatMul", table, almost)
    assert not ShareWeights(min_saving=1).run(Model(graph), Context())
    graph = language_model(3, "MatMul", table, table.T.copy())
    assert not ShareWeights().run(Model(graph), Context())  # below a megabyte
    assert not ShareWeights(transposed=False, min_saving=1).run(Model(graph), Context())


def test_transposed_copies_are_sought_only_among_swapped_shapes(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(bytes(4 * 1200))
    file = MappedFile(path)
    graph = adding(Tensor(F32, (4, 300), file=file))
    y = graph.outputs[0]
    b = Builder(graph)
    other = Tensor(F32, (300, 2), file=file, offset=4)
    graph.set_outputs([b.op("MatMul", y, constant(other))], ["y"])

    def read(tensor: Tensor) -> None:
        raise AssertionError(f"{tensor} was read")

    monkeypatch.setattr(Tensor, "array", read)
    monkeypatch.setattr(Tensor, "data", read)
    assert not ShareWeights(min_saving=1).run(Model(graph), Context())


def test_a_transposed_copy_used_in_a_region(apply: Any, ops: Any) -> None:
    table = random(50, 8)
    graph = Graph("main")
    ids = graph.add_input("ids", tensor_type(I64, (2, 3)))
    flag = graph.add_input("flag", tensor_type(BOOL, ()))
    b = Builder(graph)
    rows = b.op("Gather", constant(Tensor.from_array(table)), ids)
    branches = {}
    for name, array in (("then_branch", table.T.copy()), ("else_branch", random(8, 50, seed=1))):
        inner = Graph(name)
        inner.set_outputs([Builder(inner).op("MatMul", rows, constant(Tensor.from_array(array)))], ["o"])
        branches[name] = inner
    node = b.node("If", [flag], regions=branches)
    graph.set_outputs([node.output], ["y"])
    feeds = [{"ids": np.arange(6).reshape(2, 3), "flag": np.array(flag)} for flag in (True, False)]
    assert apply(ShareWeights(min_saving=1), Model(graph), *feeds, tolerance=1e-5)
    assert ops(graph) == {"Transpose": 1, "Gather": 1, "If": 1, "MatMul": 2}
    assert graph.first is not None and graph.first.op.key == "Transpose"


def test_linear_time() -> None:
    from time import process_time

    def seconds(count: int) -> float:
        graph = adding(*(np.full(300, i % (count // 2), np.float32) for i in range(count)))
        start = process_time()
        assert ShareWeights().run(Model(graph), Context())
        assert len(constants(graph)) == count // 2
        return process_time() - start

    small = min(seconds(300) for _ in range(3))
    assert min(seconds(3000) for _ in range(3)) < 15 * small + 0.01


def test_copies_in_another_shape(apply: Any, ops: Any, remarks: Any) -> None:
    """A 1 x 1 convolution and a table with the bytes of a matrix; one bit of difference is none."""
    a = random(40, 30)
    other = a.reshape(30, 40).copy()
    other[20, 7] = np.nextafter(other[20, 7], np.float32(9))
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F32, (2, 30, 3)))
    b = Builder(graph)
    one = b.op("Conv", x, constant(Tensor.from_array(a.reshape(40, 30, 1).copy())))
    two = b.op("MatMul", constant(Tensor.from_array(a)), x)
    three = b.op("Add", two, b.op("MatMul", constant(Tensor.from_array(other.reshape(40, 30).copy())), x))
    graph.set_outputs([one, three], ["a", "b"])
    model = Model(graph)
    before = model.weight_bytes
    assert not ShareWeights().run(model, Context())  # below min_saving
    assert not ShareWeights(min_saving=1024, reshaped=False).run(model, Context())
    assert apply(ShareWeights(min_saving=1024), model, {"x": random(2, 30, 3, seed=5)})
    assert ops(model)["Reshape"] == 1
    assert model.weight_bytes == before - a.nbytes + 2 * 8  # and the shape
    assert "reshaped: 4,800 bytes saved" in remarks.text
    Fold().run(model, Context())
    assert ops(model)["Reshape"] == 1
