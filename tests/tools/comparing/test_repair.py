"""A wrong rewrite is found, left out and reported; the rest still happens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from geoc.lowering.onnx.declared import with_shapes
from geoc.tools.api import compile, load, optimize

from ..toys import WRONG_PASS, relu_chain


def outputs(path: Path, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


X = np.random.default_rng(3).standard_normal((5, 4)).astype(np.float32)


def ops(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node if node.op_type != "Constant"]


def test_without_checking_the_fault_stays(chain_file: Path, wrong_plugin: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    compile(chain_file, out, passes="wrong", plugin=str(wrong_plugin), check="off")
    assert not np.allclose(outputs(out, X), outputs(chain_file, X), atol=1e-3)


def test_the_guilty_rewrite_is_bisected_and_disabled(chain_file: Path, wrong_plugin: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    report = compile(chain_file, out, passes="wrong,dce", plugin=str(wrong_plugin))
    assert report.ok and report.accuracy.status == "CHECKED"
    (repair,) = report.repairs
    assert repair.number == 3
    assert repair.what == "rewrite 3, wrong @ /relu_2, left out"
    assert "over the limit" in repair.why
    assert ops(out).count("Max") == 3 and ops(out).count("Relu") == 1
    assert np.allclose(outputs(out, X), outputs(chain_file, X), atol=1e-6)


def test_a_pass_that_is_to_blame_twice_goes_altogether(chain_file: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "all_wrong.py"
    plugin.write_text(WRONG_PASS.replace("if self.fault in node.loc", "if True"))
    out = tmp_path / "out.onnx"
    report = compile(chain_file, out, passes="wrong", plugin=str(plugin))
    assert report.ok
    assert [r.what.split(",")[0] for r in report.repairs] == ["rewrite 1", "pass wrong left out"]
    assert ops(out).count("Relu") == 4


def test_each_runs_again_without_the_pass(chain_file: Path, wrong_plugin: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    report = compile(chain_file, out, passes="wrong,dce", plugin=str(wrong_plugin),
                     check="each")  # fmt: skip
    assert report.ok
    assert [r.what for r in report.repairs] == ["pass wrong left out"]
    assert "Max" not in ops(out)
    assert np.allclose(outputs(out, X), outputs(chain_file, X), atol=1e-6)


def test_what_cannot_be_repaired_is_not_written(chain_file: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "stubborn.py"
    plugin.write_text(WRONG_PASS.replace("    fault: str", "    required: ClassVar[bool] = True\n    fault: str"))
    out = tmp_path / "out.onnx"
    for check in ("end", "each"):
        report = compile(chain_file, out, passes="wrong", plugin=str(plugin), check=check)
        assert not report.ok and report.accuracy.status == "WRONG"
        assert "nothing was written" in str(report)
        assert not out.exists()
    assert "before any rewrite" in compile(chain_file, passes="wrong", plugin=str(plugin)).accuracy.reason


def test_in_place_repair_leaves_the_right_model(wrong_plugin: Path, tmp_path: Path) -> None:
    source = tmp_path / "source.onnx"
    onnx.save(relu_chain(), source)
    model = load(source)
    report = optimize(model, passes="wrong", plugin=str(wrong_plugin))
    assert report.ok and len(report.repairs) == 1 and report.model is model
    out = tmp_path / "out.onnx"
    onnx.save(model.to_proto(), out)
    assert ops(out).count("Max") == 3
    assert np.allclose(outputs(out, X), outputs(source, X), atol=1e-6)


@pytest.mark.parametrize("limit", [0, 2, 9])
def test_bisect_limit_counts_as_the_repair_does(
    chain_file: Path, wrong_plugin: Path, tmp_path: Path, limit: int
) -> None:
    out = tmp_path / "out.onnx"
    compile(chain_file, out, passes="wrong", plugin=str(wrong_plugin), check="off", bisect_limit=limit)
    assert ops(out).count("Max") == min(limit, 4)


def two_sizes() -> onnx.ModelProto:
    """x [A,8] with the sign turned; where `flag` is true, what is right for one row alone."""
    turned = helper.make_graph([helper.make_node("Neg", ["x"], ["t"])], "else", [], [onnx.ValueInfoProto(name="t")])
    joined = helper.make_graph([helper.make_node("Concat", ["x", "row"], ["e"], axis=1)], "then", [], [onnx.ValueInfoProto(name="e")])
    graph = helper.make_graph(
        [helper.make_node("If", ["flag"], ["y"], then_branch=joined, else_branch=turned)],
        "main",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["A", 8]), helper.make_tensor_value_info("flag", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [helper.make_tensor("row", TensorProto.FLOAT, [1, 8], [0.5] * 8)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_source_that_does_not_load_at_the_sizes_given_is_said_to(tmp_path: Path) -> None:
    source = tmp_path / "two.onnx"
    onnx.save(two_sizes(), source)
    assert compile(source, tmp_path / "one.onnx", shape=["A=1"]).ok
    report = compile(source, tmp_path / "two-rows.onnx", shape=["A=2"])
    assert not report.ok
    assert report.accuracy.reason.startswith("onnxruntime does not load the source itself at the sizes of --shape: Node () Op (If)")


def test_a_copy_declares_other_sizes_and_nothing_else(tmp_path: Path) -> None:
    source, copy = tmp_path / "two.onnx", tmp_path / "copy.onnx"
    onnx.save(two_sizes(), source)
    assert with_shapes(str(source), str(copy), {"x": (5, 8), "absent": (1,)})
    expected = two_sizes()
    expected.graph.input[0].type.tensor_type.shape.dim[0].Clear()
    expected.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 5
    assert onnx.load(copy) == expected
    assert not with_shapes(str(source), str(tmp_path / "none.onnx"), {"absent": (1,)})
    assert not (tmp_path / "none.onnx").exists()
