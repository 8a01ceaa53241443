"""Refining a student block by block: what least squares and steps give, what is taken back, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch", reason="distillation is not tested: it needs torch (pip install 'geoc[distill]')")

from geoc.ir.errors import UsageError  # noqa: E402
from geoc.tools.args import read  # noqa: E402
from geoc.tools.distill.settings import Settings, settings_of  # noqa: E402
from geoc.tools.distill.verb import distill  # noqa: E402
from geoc.tools.progress import Progress  # noqa: E402

WIDTH = 6
Weights = dict[str, Any]


def weights(seed: int) -> Weights:
    """Two residual blocks of a widening and a narrowing product, and a head."""
    rng = np.random.default_rng(seed)
    shapes = {"u0": (WIDTH, 16), "d0": (16, WIDTH), "u1": (WIDTH, 16), "d1": (16, WIDTH), "head": (WIDTH, 4)}
    found = {name: rng.standard_normal(shape) / np.sqrt(shape[0]) for name, shape in shapes.items()}
    return {**found, "b0": rng.standard_normal(WIDTH), "b1": rng.standard_normal(WIDTH)}


def save(path: Path, given: Weights, convolution: bool = False) -> Path:
    """x -> stream0 -> stream1 -> y, products of rows [N, 5, WIDTH] or 1x1 convolutions of pictures [N, WIDTH, 5, 1]."""
    def layer(name: str, read: str, made: str) -> onnx.NodeProto:
        return helper.make_node("Conv" if convolution else "MatMul", [read, name], [made], name=f"/{name}")

    nodes, stream = [], "x"
    for i in (0, 1):
        nodes += [
            layer(f"u{i}", stream, f"up{i}"), helper.make_node("Tanh", [f"up{i}"], [f"a{i}"]),
            layer(f"d{i}", f"a{i}", f"down{i}"), helper.make_node("Add", [f"down{i}", f"b{i}"], [f"biased{i}"]),
            helper.make_node("Add", [stream, f"biased{i}"], [f"stream{i}"]),
        ]  # fmt: skip
        stream = f"stream{i}"
    nodes.append(layer("head", stream, "y"))
    shape = ["N", WIDTH, 5, 1] if convolution else ["N", 5, WIDTH]
    out = ["N", 4, 5, 1] if convolution else ["N", 5, 4]
    stored = []
    for name, array in given.items():
        if convolution:
            array = array.T[:, :, None, None] if array.ndim == 2 else array[:, None, None]
        stored.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
    graph = helper.make_graph(
        nodes, "main", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)], stored,
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def files(folder: Path, student: Weights, convolution: bool = False, **changed: Any) -> Settings:
    """The settings of a run on 40 samples in `folder`, the teacher having the weights of seed 0."""
    rng = np.random.default_rng(1)
    shape = (1, WIDTH, 5, 1) if convolution else (1, 5, WIDTH)
    np.savez(folder / "data.npz", **{f"x/{i}": rng.standard_normal(shape).astype(np.float32) for i in range(40)})
    save(folder / "t.onnx", weights(0), convolution)
    save(folder / "s.onnx", student, convolution)
    paths = {"teacher": "t.onnx", "student": "s.onnx", "data": "data.npz", "output": "out.onnx"}
    given = {key: str(folder / name) for key, name in paths.items()}
    return Settings(**{**given, "hidden": ("stream0=stream0", "stream1=stream1"), "blocks": 1, "lr": 1e-3, **changed})


def outputs(path: Path, convolution: bool = False) -> Any:
    shape = (50, WIDTH, 5, 1) if convolution else (50, 5, WIDTH)
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


@pytest.mark.parametrize("convolution", [False, True])
def test_least_squares_find_the_last_layer_of_a_block_again(tmp_path: Path, convolution: bool) -> None:
    """Only narrowing products and their biases are wrong, so least squares leave nothing but the smallest ridge does."""
    student = {**weights(0), **{name: weights(9)[name] for name in ("d0", "b0", "d1", "b1")}}
    report = distill(files(tmp_path, student, convolution, epochs=0), Progress(None))
    assert report.ok and [block.kept for block in report.blocks] == [True, True]
    assert all(block.solved is not None and block.solved < 1e-3 * block.came for block in report.blocks)
    wanted, before, after = (outputs(tmp_path / name, convolution) for name in ("t.onnx", "s.onnx", "out.onnx"))
    assert np.square(after - wanted).sum() < 1e-3 * np.square(before - wanted).sum()
    assert "2 of 2 kept" in report.summary() and "by blocks alone" in report.summary()


def test_steps_find_what_least_squares_cannot(tmp_path: Path) -> None:
    student = {**weights(0), "u0": weights(9)["u0"]}
    given = files(tmp_path, student, epochs=0, blocks=40, lr=2e-2, batch=8, hidden=("stream0=stream0",))
    report = distill(given, Progress(None))
    first = report.blocks[0]
    assert first.kept and first.solved is not None and first.trained < 0.5 * first.solved < 0.5 * first.came


def test_a_block_that_takes_the_outputs_away_is_put_back(tmp_path: Path) -> None:
    """What is wrong with the block and what is wrong with the head cancel; a better block alone makes outputs worse."""
    turned = weights(0)
    student = {**turned, "d1": -turned["d1"], "b1": -turned["b1"], "d0": 0 * turned["d0"], "b0": 0 * turned["b0"]}
    aim = weights(0)
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.standard_normal((1, 5, WIDTH)).reshape(-1, WIDTH) for _ in range(40)])
    theirs, ours = (run(x, w) for w in (aim, student))
    student["head"] = np.linalg.lstsq(ours, theirs @ aim["head"], rcond=None)[0]
    freeze = ("head", "u0", "u1", "d0", "b0")
    report = distill(files(tmp_path, student, epochs=0, freeze=freeze), Progress(None))
    assert [block.kept for block in report.blocks] == [False]
    assert report.blocks[0].trained < report.blocks[0].came
    assert not report.ok and not (tmp_path / "out.onnx").exists()
    assert "taken back" in report.summary(verbose=True)


def test_a_block_that_is_the_teachers_stays_as_it_is(tmp_path: Path) -> None:
    student = {**weights(0), "d1": weights(9)["d1"]}
    report = distill(files(tmp_path, student, epochs=0), Progress(None))
    assert [block.name for block in report.blocks] == ["stream1=stream1"]
    made = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "out.onnx").graph.initializer}
    assert np.array_equal(made["d0"], weights(0)["d0"].astype(np.float32))
    assert not np.array_equal(made["d1"], student["d1"].astype(np.float32))


def run(x: Any, w: Weights) -> Any:
    """What arrives at the head."""
    for i in (0, 1):
        x = x + np.tanh(x @ w[f"u{i}"]) @ w[f"d{i}"] + w[f"b{i}"]
    return x


def test_a_run_goes_on_behind_the_blocks(tmp_path: Path) -> None:
    """The state holds what came of the blocks: they are not refined twice, and the report has them."""
    student = {**weights(0), "d0": weights(9)["d0"]}
    given = files(tmp_path, student, epochs=2, checkpoint=str(tmp_path / "state"))
    first = distill(given, Progress(None))
    again = distill(given, Progress(None))
    assert again.blocks == first.blocks and again.start == first.start
    again.write(str(tmp_path / "report.json"))
    assert json.loads((tmp_path / "report.json").read_text())["blocks"][0]["kept"] is True


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--blocks", "-1", "--hidden", "auto"], "--blocks: takes a whole number from 0 on"),
        (["--blocks", "2"], "--blocks: refines what lies between hidden values: --hidden auto"),
        (["--blocks", "2", "--hidden", "auto", "--epochs", "-1"], "--epochs: takes a whole number from 0 on"),
        (["--epochs", "0"], "--epochs: takes a whole number from 1 on"),
    ],
)
def test_settings_that_make_no_sense_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        settings_of(read(["distill", "t.onnx", "s.onnx", "--data", "data.npz", *words]))
    assert str(error.value) == message
