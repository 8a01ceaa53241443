"""A reduced model fails because of the rewrite that is to blame in the whole one, and not because of another fault."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from geoc.ir.text import load_model

from ..conftest import Run

RULES = '''
rule product_of_relu {
  """Wrong on purpose: the product is taken to be positive anyway."""
  match
    %y = Mul(Relu(%x), %c)
  rewrite
    %y = Mul(%x, %c)
}

rule tanh_lost {
  """Wrong on purpose: numbers are taken to be small."""
  match
    %y = Tanh(%x)
  rewrite
    %y = Identity(%x)
}
'''
LONELY_PASS = '''
from dataclasses import dataclass
from typing import ClassVar

from geoc.ir.builder import Builder
from geoc.passes.base import Pass


@dataclass(frozen=True)
class Lonely(Pass):
    """Wrong for a product that is a model of its own, which nobody had."""

    name: ClassVar[str] = "lonely"

    def run(self, model, ctx):
        nodes = list(model.graph)
        if [node.op.name for node in nodes] != ["Mul"] or not ctx.allow(self.name, "", nodes[0]):
            return False
        nodes[0].output.replace_with(Builder(model.graph, nodes[0], nodes[0].loc).op("Sub", *nodes[0].inputs))
        model.graph.erase(nodes[0])
        return True
'''


@pytest.fixture
def files(tmp_path: Path) -> None:
    """`relu.onnx`: six nodes with a Relu and a Mul behind it; `tanh.onnx`: a Tanh at their end; the faults."""
    for name, last in (("relu", "Sigmoid"), ("tanh", "Tanh")):
        nodes = [
            helper.make_node("Neg", ["x"], ["n"], name="/neg"), helper.make_node("Add", ["n", "c"], ["a"], name="/add"),
            helper.make_node("Relu", ["a"], ["r"], name="/relu"), helper.make_node("Mul", ["r", "c"], ["m"], name="/mul"),
            helper.make_node("Softsign", ["m"], ["s"], name="/sign"), helper.make_node(last, ["s"], ["y"], name="/last"),
        ]  # fmt: skip
        inputs, outputs = ([helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 4])] for n in ("x", "y"))
        constant = numpy_helper.from_array(np.float32([0.5, 2.0, 3.0, 0.25]), "c")
        graph = helper.make_graph(nodes, name, inputs, outputs, [constant])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, tmp_path / f"{name}.onnx")
    (tmp_path / "faults.rules").write_text(RULES)
    (tmp_path / "lonely.py").write_text(LONELY_PASS)


def reduced(run_geoc: Run, folder: Path, *words: str) -> tuple[dict[str, object], list[str]]:
    """What `reduce` says, and the operators that are left."""
    done = run_geoc("reduce", *words, "--json", "-o", "small.gir")
    assert done.returncode == 1, done.stderr
    return json.loads(done.stdout), [node.op.name for node in load_model(folder / "small.gir").graph]


def test_a_smaller_model_with_another_fault_is_not_taken(files: None, run_geoc: Run, tmp_path: Path) -> None:
    """The Mul alone fails as well, with wrong numbers, but through `lonely`."""
    words = ("relu.onnx", "--plugin", "lonely.py", "--passes", "lonely", "--rules", "faults.rules")
    found, left = reduced(run_geoc, tmp_path, *words)
    assert (found["right_without"], left) == ("product_of_relu", ["Relu", "Mul"])
    again = run_geoc("bisect", "small.gir", *words[1:], "--json")
    assert json.loads(again.stdout)["rule"] == "product_of_relu"
    assert run_geoc("bisect", "small.gir", *words[1:], "--skip", "product_of_relu").returncode == 0


def test_one_of_two_faults_is_kept(files: None, run_geoc: Run, tmp_path: Path) -> None:
    """Without either rule the whole model is wrong still; the part that is left is right without the one."""
    words = ("tanh.onnx", "--passes", "dce", "--rules", "faults.rules")
    blamed = json.loads(run_geoc("bisect", *words, "--json").stdout)
    assert blamed["alone"]["kind"] == blamed["without_rule"]["kind"] == "numbers"
    found, left = reduced(run_geoc, tmp_path, *words)
    assert found["right_without"] == blamed["rule"]
    assert left == (["Tanh"] if blamed["rule"] == "tanh_lost" else ["Relu", "Mul"])
