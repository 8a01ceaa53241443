"""`geoc distill` as a command: what is wrong with its words is one line, before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from geoc.tools.cli import main

SAYS_NO = "raise ImportError('no torch here', name='torch')\n"


def product(path: Path, name: str = "x", output: str = "y", width: int = 3) -> Path:
    """x [N, 2] times a matrix."""
    weight = np.arange(2.0 * width, dtype=np.float32).reshape(2, width)
    graph = helper.make_graph(
        [helper.make_node("MatMul", [name, "w"], [output], name="/fc")], "main",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", width])],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    product(tmp_path / "t.onnx")
    product(tmp_path / "s.onnx")
    np.savez("data.npz", **{f"x/{i}": np.full((1, 2), i, np.float32) for i in range(6)})
    return tmp_path


def error(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What the command says, which is one line, with exit 2; nothing is written."""
    before = sorted(Path().iterdir())
    assert main(["distill", *map(str, words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert sorted(Path().iterdir()) == before
    return captured.err.removeprefix("geoc: error: ").strip()


MODELS = ("t.onnx", "s.onnx", "--data", "data.npz")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["t.onnx"], "give the teacher and the student: geoc distill TEACHER STUDENT --data DATA"),
        (["t.onnx", "s.onnx"], "needs the samples to train on: --data DATA, as --calib takes them"),
        ([*MODELS, "--epochs", "0"], "--epochs: takes a whole number from 1 on"),
        ([*MODELS, "--epochs", "many"], "--epochs takes a whole number, not 'many'"),
        ([*MODELS, "--batch", "-1"], "--batch: takes a whole number from 1 on"),
        ([*MODELS, "--lr", "fast"], "--lr takes a number, not 'fast'"),
        ([*MODELS, "--lr", "0"], "--lr: takes a number above 0"),
        ([*MODELS, "--temperature", "nan"], "--temperature: takes a number above 0"),
        ([*MODELS, "--alpha", "0.5"], "--alpha: weighs the labels, and there are none: --labels NAME"),
        ([*MODELS, "--labels", "l", "--alpha", "1.5"], "--alpha: takes a number from 0 to 1"),
        ([*MODELS, "--hidden", "auto", "--hidden", "a=b"], "--hidden: takes auto or pairs, not both"),
        ([*MODELS, "-o", "s.onnx"], "s.onnx: would overwrite the input s.onnx; give another -o"),
        ([*MODELS, "-o", "s.engine"], "s.engine: the suffix '.engine' says nothing about what to write; there are .onnx and .gir"),
        ([*MODELS, "-o", "none/s.onnx"], "none: no such folder to write to"),
    ],
)
def test_bad_words(files: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert error(capsys, *words) == message


def test_the_options_belong_to_the_verb(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["s.onnx", "--epochs", "3"]) == 2
    assert "has no option --epochs; it belongs to: distill" in capsys.readouterr().err


def test_without_torch_one_line_says_how_to_get_it(files: Path, run_geoc: Any) -> None:
    (files / "torch.py").write_text(SAYS_NO)
    done = run_geoc("distill", *MODELS)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "geoc: error: distillation needs torch: pip install 'geoc[distill]'\n"


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distill", "--help"]) == 0
    said = capsys.readouterr().out
    assert "geoc distill big.onnx small.onnx --data pictures.npz --labels label --alpha 0.3" in said
    assert "--temperature=T" in said and "--precision" not in said


class TestWithTorch:
    """What is looked at once torch is there."""

    @pytest.fixture(autouse=True)
    def torch(self) -> None:
        pytest.importorskip("torch", reason="distillation is not tested: it needs torch (pip install 'geoc[distill]')")

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--kl", "z"], "--kl: no output is called 'z'; there are y"),
            (["--kl", "y:2"], "--kl: y has 2 axes and none is 2"),
            (["--kl", "y", "--mse", "y"], "--mse: y is one of --kl as well"),
            (["--hidden", "y"], "--hidden: takes TEACHERVALUE=STUDENTVALUE or auto, not y"),
            (["--hidden", "q=y"], "--hidden: no value of the teacher is called 'q'; there are y, /fc"),
            (["--hidden", "/fc=/fd"], "--hidden: no value of the student is called '/fd'; did you mean /fc?"),
            (["--freeze", "z*"], "--freeze: 'z*' names no weight that would be trained"),
            (["--freeze", "w"], "s.onnx: the student has no weight to train"),
            (["--labels", "label"], "--labels: no sample has labels called label"),
        ],
    )
    def test_names_that_are_none(self, files: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
        assert error(capsys, *MODELS, *words) == message

    def test_models_and_data_that_do_not_fit(self, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
        product(files / "other.onnx", name="pixels")
        said = error(capsys, "other.onnx", "s.onnx", "--data", "data.npz")
        assert said == "teacher and student have different inputs: pixels f32 and x f32"
        product(files / "wide.onnx", width=4)
        assert error(capsys, "wide.onnx", "s.onnx", "--data", "data.npz").startswith(
            "output y: teacher and student give different shapes: 1x4 and 1x3"
        )
        np.savez("few.npz", **{f"x/{i}": np.zeros((1, 2), np.float32) for i in range(4)})
        said = error(capsys, "t.onnx", "s.onnx", "--data", "few.npz")
        assert said == "--data: few.npz holds 4 samples; at least 5 are needed"
        np.savez("wrong.npz", **{f"x/{i}": np.zeros((1, 3), np.float32) for i in range(5)})
        said = error(capsys, "t.onnx", "s.onnx", "--data", "wrong.npz")
        assert said == "--data: wrong.npz: sample 0 has shape 1x3 for x, which is Nx2"
        assert error(capsys, "t.onnx", "s.onnx", "--data", "none.npz") == "--data: no file or folder none.npz"

    def test_classes_along_an_axis_and_labels_of_positions(self, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Samples of two positions each; -1 is no label."""
        rng = np.random.default_rng(0)
        arrays = {f"x/{i}": rng.standard_normal((2, 2)).astype(np.float32) for i in range(10)}
        np.savez("rows.npz", **arrays, **{f"label/{i}": np.array([i % 3, -1]) for i in range(7)})
        weight = numpy_helper.from_array(rng.standard_normal((2, 3)).astype(np.float32), "w")
        model = onnx.load("s.onnx")
        model.graph.initializer[0].CopyFrom(weight)
        onnx.save(model, "s.onnx")
        words = ["t.onnx", "s.onnx", "--data", "rows.npz", "--labels", "label", "--lr", "0.1", "--kl", "y:-1", "--report", "r.json", "-v"]
        assert main(["distill", *words]) == 0
        said = capsys.readouterr().out
        assert "goal      0.5 x (KL at temperature 2 of y) + 0.5 x cross entropy with label" in said
        assert "8 samples trained on, 2 held back" in said and said.count("          epoch ") == 10
        assert Path("s.distilled.onnx").exists() and '"schema": 1' in Path("r.json").read_text()
