"""Lossy compilations: a fault among rewrites that must keep numbers is told from errors that were asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ..conftest import Run

LOST = '''
rule relu_lost {
  """Wrong on purpose: negative numbers are taken for impossible."""
  match
    %y = Relu(%x)
  rewrite
    %y = Identity(%x)
}
'''
INT8 = ("--precision", "int8", "--calib", "calib.npz")


@pytest.fixture
def layers(tmp_path: Path) -> str:
    """Four products of 64 x 64 with Relu between them, `calib.npz` with samples, `lost.rules`."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for i in range(4):
        weights += [
            numpy_helper.from_array((rng.standard_normal((64, 64)) / 8).astype(np.float32), f"w{i}"),
            numpy_helper.from_array((rng.standard_normal(64) / 10).astype(np.float32), f"b{i}"),
        ]
        nodes += [
            helper.make_node("MatMul", [last, f"w{i}"], [f"m{i}"], name=f"/mm_{i}"),
            helper.make_node("Add", [f"m{i}", f"b{i}"], [f"a{i}"], name=f"/add_{i}"),
            helper.make_node("Relu", [f"a{i}"], [f"r{i}"], name=f"/relu_{i}"),
        ]
        last = f"r{i}"
    inputs, outputs = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 64])] for name in ("x", last))
    graph = helper.make_graph(nodes, "layers", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "layers.onnx")
    np.savez(tmp_path / "calib.npz", **{f"x/{i}": rng.standard_normal((8, 64)).astype(np.float32) for i in range(20)})
    (tmp_path / "lost.rules").write_text(LOST)
    return "layers.onnx"


def test_within_the_budget_nothing_is_wrong(run_geoc: Run, layers: str) -> None:
    done = run_geoc("bisect", layers, *INT8, "--max-error", "5%")
    assert done.returncode == 0 and "nothing is wrong" in done.stdout, done.stderr


def test_what_is_lossy_on_purpose_is_said_to_be(run_geoc: Run, layers: str) -> None:
    """Over the budget and without a fault: the layer at which the sum passes it, and that it is no fault."""
    found = json.loads(run_geoc("bisect", layers, *INT8, "--max-error", "0.1%", "--json").stdout)
    assert (found["pass"], found["status"], found["left_out"]) == ("quantize", "rewrite", [])
    assert any("on purpose" in note for note in found["notes"])
    assert "Gemm(" in found["before"] and "QuantizeLinear(" in found["after"]
    assert found["local"]["output"] == "a0" and found["outcome"]["limit"] == pytest.approx(0.001)
    said = run_geoc("bisect", layers, *INT8, "--max-error", "0.1%").stdout
    assert "inexact on purpose" in said and "(wrong" not in said


def test_a_fault_is_found_behind_lossy_passes(run_geoc: Run, layers: str, tmp_path: Path) -> None:
    """The default budget is passed by quantization already; the rule is to blame all the same, alone where it is."""
    words = (*INT8, "--rules", "lost.rules")
    found = json.loads(run_geoc("bisect", layers, *words, "--json").stdout)
    assert (found["rule"], found["without_rule"]["kind"]) == ("relu_lost", "good")
    assert "quantize" in found["left_out"] and "--skip" in found["again"]
    done = run_geoc("reduce", layers, *words, "--json", "-o", "small.gir")
    reduced = json.loads(done.stdout)
    assert (reduced["nodes_after"], reduced["right_without"]) == (1, "relu_lost"), done.stderr
    again = reduced["again"].split()[1:]  # the samples are those of the whole model, so that it names others
    assert "random" in again
    assert json.loads(run_geoc(*again, "--json").stdout)["rule"] == "relu_lost"


def test_a_sum_of_errors_is_not_reduced(run_geoc: Run, layers: str) -> None:
    done = run_geoc("reduce", layers, *INT8, "-o", "small.gir")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "--max-error" in done.stderr
