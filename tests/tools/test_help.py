"""Every verb has a text of help whose first example works as it stands, on files of the names that it uses."""

from __future__ import annotations

import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from geoc.tools.args import VERBS
from geoc.tools.help import _SHORT as SHORT
from geoc.tools.help import help_text

from .conftest import Run

NEEDS = {"distill": "torch", "tune": "optuna"}
"""Packages that the example of a verb cannot do without."""


CODES = {"diff": 1}
"""Exit codes of first examples that are not 0: two models that differ."""


def examples(verb: str) -> list[str]:
    """The command lines of a verb's help, without what is said of them behind two spaces."""
    found = [line.strip().split("  ")[0] for line in help_text(verb).splitlines() if line.startswith("    geoc ")]
    return [line for line in found if "|" not in line and "$(" not in line]


def write_models(folder: Path) -> None:
    """bert.onnx, a model of two layers over ids; bert.small.onnx, a narrower one; samples; rules."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32) / np.float32(np.sqrt(shape[0])), name)

    def encoder(width: int) -> onnx.ModelProto:
        weights = [weight("table", 50, 128), weight("w1", 128, width), weight("w2", width, 128), weight("mask", 128)]
        nodes = [
            helper.make_node("Gather", ["table", "ids"], ["embedded"], name="/embed"),
            helper.make_node("MatMul", ["embedded", "w1"], ["hidden"], name="/up"),
            helper.make_node("Relu", ["hidden"], ["active"], name="/act"),
            helper.make_node("MatMul", ["active", "w2"], ["logits"], name="/down"),
            helper.make_node("Add", ["logits", "mask"], ["shifted"], name="/bias"),
            helper.make_node("Softmax", ["shifted"], ["probabilities"], name="/softmax", axis=-1),
        ]
        inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "seq"])]
        outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", "seq", 128])]
        graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)

    onnx.save(encoder(512), folder / "bert.onnx")
    onnx.save(encoder(256), folder / "bert.small.onnx")
    samples = {f"ids/{i}": rng.integers(0, 50, (1, 64)) for i in range(10)}
    for name in ("data.npz", "sentences.npz", "inputs.npz"):
        np.savez(folder / name, **samples)
    (folder / "mine.rules").write_text(
        'rule relu_twice {\n  """Relu of Relu is Relu."""\n  match\n    %a = Relu(%x)\n    %y = Relu(%a)\n  rewrite\n    %y = Relu(%x)\n}\n'
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    return folder


@pytest.mark.parametrize("verb", VERBS)
def test_the_first_example_works(verb: str, models: Path, run_geoc: Run, tmp_path: Path) -> None:
    if verb in NEEDS and find_spec(NEEDS[verb]) is None:
        pytest.skip(f"{NEEDS[verb]} is not installed")
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    if verb == "quant-report":
        made = run_geoc("bert.onnx", "--precision", "int8", "--calib", "data.npz", "-o", "bert.int8.onnx")
        assert made.returncode == 0, made.stderr
    words = shlex.split(examples(verb)[0])
    if verb == "compare":
        made = run_geoc("bert.onnx", "-o", "bert.geoc.onnx")
        assert made.returncode == 0, made.stderr
    done = run_geoc(*words[1:])
    assert done.returncode == CODES.get(verb, 0), f"{shlex.join(words)}: {done.stdout}{done.stderr}"
    assert done.stdout.strip()


def test_every_verb_has_a_text_and_a_line() -> None:
    assert set(SHORT) == set(VERBS) - {"compile"}
    assert all(verb in help_text("compile") for verb in VERBS if verb != "compile")
