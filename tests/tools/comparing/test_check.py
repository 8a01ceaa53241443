"""Comparing with the unoptimized model: the norm, what counts as wrong, what cannot be compared."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from geoc.frontends.onnx import load_onnx
from geoc.ir.types import F32
from geoc.lowering.onnx import save_onnx
from geoc.tools.comparing.check import Judge, difference
from geoc.tools.comparing.exactness import LIMITS
from geoc.tools.inputs.shapes import Shapes, read_shapes
from geoc.tools.running.sessions import CannotCheck

from ..toys import embedding, finish, relu_chain

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("expected", "got", "error"),
    [
        ([1.0, -4.0], [1.0, -4.0], 0.0),
        ([1.0, -4.0], [1.2, -4.0], 0.05),
        ([0.0, 0.0], [0.0, 0.25], 0.25),  # nothing to compare with: absolute
        ([NAN, INF, -INF, 2.0], [NAN, INF, -INF, 1.0], 0.5),
        ([], [], 0.0),
    ],
)
def test_norm_is_relative_to_the_largest_value(expected: list[float], got: list[float], error: float) -> None:
    limit, found, problem = difference(np.float32(expected), np.float32(got), 1e-4)
    assert problem == "" and limit == 1e-4
    assert found == pytest.approx(error)


@pytest.mark.parametrize(
    ("expected", "got", "problem"),
    [
        (np.float32([1]), np.float32([1, 1]), r"shape \[2\], not \[1\]"),
        (np.float32([1]), np.float64([1]), "element type float64, not float32"),
        (np.int64([1, 2, 3]), np.int64([1, 2, 4]), "1 of 3 elements differ"),
        (np.array([True]), np.array([False]), "1 of 1 elements differ"),
        (np.array(["a"], object), np.array(["b"], object), "1 of 1 elements differ"),
        (np.float32([NAN, 1]), np.float32([1, 1]), "NaN or infinity where the source has other"),
        (np.float32([1, 1]), np.float32([NAN, 1]), "NaN or infinity where the source has numbers"),
        (np.float32([INF]), np.float32([-INF]), "NaN or infinity"),
        ([np.int64([1])], [np.int64([1]), np.int64([1])], "2 elements, not 1"),
        ([np.int64([1])], [np.int64([2])], "1 of 1 elements differ"),
        ([np.int64([1])], np.int64([1]), "ndarray, not list"),
        ({1: 0.5}, {2: 0.5}, "other keys"),
        (None, np.int64([1]), "not NoneType"),
    ],
)
def test_what_has_no_distance_is_a_problem(expected: object, got: object, problem: str) -> None:
    assert re.search(problem, difference(expected, got, 1e-4)[2])


def test_sequences_and_maps_take_the_worst_of_their_parts() -> None:
    expected = [np.float32([1.0]), np.float32([2.0])]
    got = [np.float32([1.5]), np.float32([2.0])]
    assert difference(expected, got, 1e-4)[1] == pytest.approx(0.5)
    assert difference([{"a": 1.0}], [{"a": 1.25}], 1e-4)[1] == pytest.approx(0.25)


def judge_of(model: onnx.ModelProto, folder: Path, *shape: str) -> Judge:
    path = folder / "source.onnx"
    onnx.save(model, path)
    loaded = load_onnx(str(path))
    shapes = read_shapes(shape, loaded) if shape else Shapes()
    return Judge(str(path), loaded, save_onnx, shapes)


def test_the_source_itself_is_right_at_two_shapes(tmp_path: Path) -> None:
    judge = judge_of(embedding(), tmp_path)
    judge.prepare()
    assert judge.shapes == ["2x16", "3x25"]
    verdict = judge.compare(load_onnx(judge.reference))
    assert verdict.ok and verdict.error == 0.0 and verdict.limit == LIMITS[F32]
    assert judge.notes() == []


def test_a_changed_constant_is_found(tmp_path: Path) -> None:
    judge = judge_of(relu_chain(), tmp_path)
    judge.prepare()
    wrong = relu_chain()
    wrong.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.float32([-0.6] * 4), "c1"))
    verdict = judge.compare(load_onnx(wrong.SerializeToString()))
    assert not verdict.ok
    assert verdict.output == "y" and verdict.limit is not None and verdict.error > verdict.limit
    assert "over the limit 1e-04" in verdict.message


def test_a_model_that_does_not_run_is_wrong(tmp_path: Path) -> None:
    judge = judge_of(relu_chain(), tmp_path)
    judge.prepare()
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    verdict = judge.compare_file(str(broken))
    assert not verdict.ok and "does not load the result" in verdict.message


def test_other_sizes_are_tried_until_the_source_runs(tmp_path: Path) -> None:
    """A fixed Reshape inside makes the source refuse every batch but 1."""
    shape = numpy_helper.from_array(np.int64([1, 8]), "shape")
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    model = finish(nodes, [("x", TensorProto.FLOAT, ["b", 2, 4])], [("y", TensorProto.FLOAT, [1, 8])], [shape])
    judge = judge_of(model, tmp_path)
    judge.prepare()
    assert judge.shapes == ["1x2x4"]
    with pytest.raises(CannotCheck, match="ran on none of the inputs"):
        judge_of(model, tmp_path, "b=3").prepare()


def test_random_outputs_are_compared_by_type(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["r"]),
        helper.make_node("Add", ["x", "r"], ["noisy"]),
        helper.make_node("Neg", ["x"], ["clean"]),
    ]
    dims: list[str | int] = ["n", 3]
    outputs = [("noisy", TensorProto.FLOAT, dims), ("clean", TensorProto.FLOAT, dims)]
    model = finish(nodes, [("x", TensorProto.FLOAT, dims)], outputs)
    judge = judge_of(model, tmp_path)
    judge.prepare()
    assert judge.compare(load_onnx(model.SerializeToString())).ok
    assert "1 of 2 outputs" in judge.notes()[0]
    model.graph.node[2].op_type = "Abs"
    verdict = judge.compare(load_onnx(model.SerializeToString()))
    assert not verdict.ok and verdict.output == "clean"


def test_empty_outputs_are_no_evidence(tmp_path: Path) -> None:
    empty = numpy_helper.from_array(np.zeros((0, 3), np.float32), "empty")
    nodes = [helper.make_node("Add", ["x", "empty"], ["y"])]
    model = finish(nodes, [("x", TensorProto.FLOAT, [1, 3])], [("y", TensorProto.FLOAT, [0, 3])], [empty])
    with pytest.raises(CannotCheck, match="every output is empty"):
        judge_of(model, tmp_path).prepare()


def test_a_source_that_does_not_load_cannot_be_compared(tmp_path: Path) -> None:
    node = helper.make_node("Unheard", ["x"], ["y"], domain="my.domain")
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("my.domain", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    with pytest.raises(CannotCheck, match=r"does not load the source.*Unheard"):
        judge_of(model, tmp_path).prepare()


def test_the_coarsest_arithmetic_sets_the_limit(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["h"], ["y"], to=TensorProto.FLOAT),
    ]
    model = finish(nodes, [("x", TensorProto.FLOAT, [4])], [("y", TensorProto.FLOAT, [4])])
    judge = judge_of(model, tmp_path)
    judge.prepare()
    assert judge.compare(load_onnx(model.SerializeToString())).limit == 1e-2


def unstable_model(gain: float, integer: bool = False) -> onnx.ModelProto:
    """(x + 1e6) - 1e6, amplified: rounding decides the result; or its sign as an integer."""
    constants = [numpy_helper.from_array(np.float32(v), n) for n, v in (("big", 1e6), ("gain", gain))]
    nodes = [
        helper.make_node("Mul", ["x", "big"], ["scaled"]),
        helper.make_node("Sin", ["scaled"], ["s"]),
        helper.make_node("Mul", ["s", "gain"], ["y" if not integer else "f"]),
    ]
    kind = TensorProto.FLOAT
    if integer:
        nodes += [helper.make_node("Cast", ["f"], ["y"], to=TensorProto.INT64)]
        kind = TensorProto.INT64
    return finish(nodes, [("x", TensorProto.FLOAT, [1, 64])], [("y", kind, [1, 64])], constants)


def test_a_badly_conditioned_output_gets_the_limit_of_its_own_noise(tmp_path: Path) -> None:
    judge = judge_of(unstable_model(1.0), tmp_path)
    judge.prepare()
    # Sin(1e6 x) moves by about 0.1 when x moves in its last bit; a gain that is off by 1 % is within that.
    verdict = judge.compare(load_onnx(unstable_model(1.01).SerializeToString()))
    assert verdict.ok and 5e-3 < verdict.error < 2e-2
    assert verdict.limit is not None and verdict.limit > 0.1
    assert re.search("limit raised .* y: .* last bit", judge.notes()[0])
    wrong = unstable_model(-100.0)
    assert not judge.compare(load_onnx(wrong.SerializeToString())).ok


def test_the_noise_of_integer_inputs_is_that_of_the_table_they_index(tmp_path: Path) -> None:
    def model(gain: float) -> onnx.ModelProto:
        table = np.random.default_rng(0).uniform(-1e6, 1e6, (8, 64)).astype(np.float32)
        constants = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.float32(gain), "gain")]
        nodes = [
            helper.make_node("Gather", ["table", "ids"], ["row"]),
            helper.make_node("Sin", ["row"], ["s"]),
            helper.make_node("Mul", ["s", "gain"], ["y"]),
        ]
        return finish(nodes, [("ids", TensorProto.INT64, [4])], [("y", TensorProto.FLOAT, [4, 64])], constants)

    judge = judge_of(model(1.0), tmp_path)
    judge.prepare()
    assert judge.compare(load_onnx(model(1.01).SerializeToString())).ok
    assert re.search("limit raised .* y: .* last bit", judge.notes()[0])
    assert not judge.compare(load_onnx(model(-100.0).SerializeToString())).ok


def test_a_mask_that_hides_everything_is_read_the_other_way_round(tmp_path: Path) -> None:
    constants = [numpy_helper.from_array(np.float32(v), n) for n, v in (("low", -np.inf), ("zero", 0.0))]
    nodes = [
        helper.make_node("Where", ["hidden", "low", "zero"], ["bias"]),
        helper.make_node("Add", ["x", "bias"], ["sum"]),
        helper.make_node("Softmax", ["sum"], ["y"]),
    ]
    inputs = [("x", TensorProto.FLOAT, [2, 6]), ("hidden", TensorProto.BOOL, [2, 6])]
    judge = judge_of(finish(nodes, inputs, [("y", TensorProto.FLOAT, [2, 6])], constants), tmp_path)
    judge.prepare()
    assert all(np.isfinite(run.outputs[0]).all() for run in judge.runs)
    assert any(run.feeds["hidden"].any() for run in judge.runs)


def test_integers_that_hang_on_rounding_are_not_compared(tmp_path: Path) -> None:
    judge = judge_of(unstable_model(1000.0, integer=True), tmp_path)
    judge.prepare()
    assert judge.compare(load_onnx(unstable_model(1001.0, integer=True).SerializeToString())).ok
    assert "not compared: y" in judge.notes()[0]
    stable = judge_of(relu_chain(), tmp_path)
    stable.prepare()
    stable.compare(load_onnx(relu_chain().SerializeToString()))
    assert stable.notes() == []


def rounding(scales: np.ndarray, factor: float) -> onnx.ModelProto:
    """round(x * factor / scales), by a quantizer."""
    nodes = [
        helper.make_node("Mul", ["x", "factor"], ["scaled"]),
        helper.make_node("QuantizeLinear", ["scaled", "scales"], ["steps"], axis=0),
        helper.make_node("Cast", ["steps"], ["y"], to=TensorProto.FLOAT),
    ]
    weights = [numpy_helper.from_array(np.float32(factor), "factor"), numpy_helper.from_array(scales, "scales")]
    return finish(nodes, [("x", TensorProto.FLOAT, [64])], [("y", TensorProto.FLOAT, [64])], weights)


@pytest.mark.parametrize(("change", "ok"), [(1e-6, True), (1e-3, False)])
def test_a_quantizer_may_round_the_other_way_where_a_few_last_bits_decide(tmp_path: Path, change: float, ok: bool) -> None:
    """Each number lies just above the middle of two steps: by half of what the result changes it."""
    first = judge_of(rounding(np.ones(64, np.float32), 1.0), tmp_path)
    first.prepare()
    x = first.runs[0].feeds["x"]
    scales = np.abs(x) / np.float32(0.5 * (1 + change / 2))
    judge = judge_of(rounding(scales, 1.0), tmp_path)
    judge.prepare()
    verdict = judge.compare(load_onnx(rounding(scales, 1 - change).SerializeToString()))
    assert verdict.ok is ok
    assert verdict.error > 2e-2


def halves(factor: float) -> onnx.ModelProto:
    """Whole steps times a factor, in whole steps again: of the half of an odd number the last bit of a scale decides."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["steps"]),
        helper.make_node("DequantizeLinear", ["steps", "one", "zero"], ["whole"]),
        helper.make_node("Mul", ["whole", "factor"], ["half"]),
        helper.make_node("QuantizeLinear", ["half", "other", "zero"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["y"], to=TensorProto.FLOAT),
    ]
    constants = {"one": np.float32(1), "other": np.float32(1), "zero": np.int8(0), "factor": np.float32(factor)}
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    return finish(nodes, [("x", TensorProto.FLOAT, [64])], [("y", TensorProto.FLOAT, [64])], weights)


def test_sums_of_steps_that_lie_halfway_hang_on_the_scales(tmp_path: Path) -> None:
    """Other inputs move nothing: what is rounded a second time are whole numbers."""
    judge = judge_of(halves(0.5), tmp_path)
    judge.prepare()
    verdict = judge.compare(load_onnx(halves(0.5 * (1 + 2e-7)).SerializeToString()))
    assert verdict.ok and verdict.error > 2e-2
    assert "limit raised" in judge.notes()[0]
    judge = judge_of(halves(0.3), tmp_path)
    judge.prepare()
    assert not judge.compare(load_onnx(halves(0.5).SerializeToString())).ok
