"""Training by `geoc distill`: what it gains, what it keeps, and that it goes on where it was interrupted."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

torch = pytest.importorskip("torch", reason="distillation is not tested: it needs torch (pip install 'geoc[distill]')")
pytest.importorskip("sklearn", reason="distillation of digits is not tested: they come with scikit-learn")

import geoc  # noqa: E402
from geoc.ir.errors import UsageError  # noqa: E402
from geoc.tools.distill import checkpoint, training  # noqa: E402
from geoc.tools.distill.settings import Settings  # noqa: E402
from geoc.tools.distill.verb import distill  # noqa: E402
from geoc.tools.progress import Progress  # noqa: E402

from . import digits as d  # noqa: E402

QUIET = Progress(None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained teacher, an untrained student with a quarter of its numbers, and 200 digits without their classes."""
    path = tmp_path_factory.mktemp("digits")
    x, y, _, _ = d.digits(0)
    d.save(d.train(d.layers(48, 0), x, y, 200), path / "teacher.onnx")
    d.save(d.layers(12, 1), path / "student.onnx")
    d.samples(path / "few.npz", x[:200])
    return path


def settings(folder: Path, **changed: Any) -> Settings:
    given = {"student": folder / "student.onnx", "data": folder / "few.npz", "output": folder / "out.onnx", **changed}
    given = {key: str(value) if isinstance(value, Path) else value for key, value in given.items()}
    return Settings(teacher=str(folder / "teacher.onnx"), **{"epochs": 3, "lr": 5e-3, **given})


def accuracy(path: Path, x: Any, y: Any) -> float:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return float((session.run(None, {"x": x})[0].argmax(1) == y).mean())


def test_a_student_of_a_quarter_learns_more_from_the_teacher_than_from_few_labels(tmp_path: Path) -> None:
    """60 digits have classes; the teacher, which saw all classes, gives the student its answers on the others too.

    The student without teacher has the 60 alone, and is scored after whichever of its steps is best on the test.
    """
    taught, alone, teachers = [], [], []
    for seed in range(3):
        x, y, x_test, y_test = d.digits(seed)
        teacher = d.train(d.layers(48, seed), x, y, 300)
        d.save(teacher, tmp_path / "teacher.onnx")
        d.save(d.layers(12, 100 + seed), tmp_path / "student.onnx")
        d.samples(tmp_path / "all.npz", x, y, labelled=60)
        chosen = settings(tmp_path, data=tmp_path / "all.npz", labels="label", alpha=0.1, epochs=8, lr=1e-2, seed=seed)
        report = distill(chosen, QUIET)
        assert report.parameters < 0.26 * report.teacher_parameters
        taught.append(accuracy(tmp_path / "out.onnx", x_test, y_test))
        alone.append(best_alone(d.layers(12, 100 + seed), x[:60], y[:60], x_test, y_test))
        teachers.append(d.accuracy(teacher, x_test, y_test))
    assert min(taught) > max(alone)
    assert np.mean(taught) > np.mean(alone) + 0.08
    assert np.mean(taught) > np.mean(teachers) - 0.05


def best_alone(student: d.Layers, x: Any, y: Any, x_test: Any, y_test: Any) -> float:
    """The best accuracy that a student reaches on the test in 400 steps by the classes alone."""
    reached: list[float] = []
    d.train(student, x, y, 400, watch=lambda: reached.append(d.accuracy(student, x_test, y_test)))
    return max(reached)


def test_names_and_everything_but_the_weights_stay(folder: Path) -> None:
    report = distill(settings(folder), QUIET)
    before, after = onnx.load(folder / "student.onnx"), onnx.load(folder / "out.onnx")
    assert [(n.op_type, n.name, list(n.input), list(n.output)) for n in before.graph.node] == [
        (n.op_type, n.name, list(n.input), list(n.output)) for n in after.graph.node
    ]
    assert before.graph.input == after.graph.input and before.graph.output == after.graph.output
    assert {t.name: tuple(t.dims) for t in before.graph.initializer} == {t.name: tuple(t.dims) for t in after.graph.initializer}
    assert report.trained == 160 and report.held_back == 40
    assert report.after[0].agreement > report.before[0].agreement + 0.1
    assert report.held_back_losses[report.best] == min(report.held_back_losses)


def test_figures_after_are_those_of_the_file(folder: Path) -> None:
    report = distill(settings(folder), QUIET)
    x = np.load(folder / "few.npz")
    kept = [x[f"x/{i}"] for i in range(4, 200, 5)]
    models = [onnxruntime.InferenceSession(folder / name) for name in ("teacher.onnx", "out.onnx")]
    pairs = [[model.run(None, {"x": row})[0] for model in models] for row in kept]
    assert report.after[0].l2 == pytest.approx(np.mean([np.linalg.norm(b - a) / np.linalg.norm(a) for a, b in pairs]), rel=1e-4)
    assert report.after[0].agreement == np.mean([a.argmax() == b.argmax() for a, b in pairs])


class Stop(Exception):
    """Stands for whatever ends a process."""


def test_an_interrupted_run_ends_with_the_same_bytes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the middle of an epoch, where the last state that was saved is some steps old; and behind an epoch."""
    whole, parts = tmp_path / "whole.onnx", tmp_path / "parts.onnx"
    distill(settings(folder, output=whole), QUIET)
    chosen = settings(folder, output=parts, checkpoint=tmp_path / "state")
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    monkeypatch.setattr(checkpoint, "_SHARE", 0)
    saved = checkpoint.Checkpoint.save
    counts = []

    def save(self: checkpoint.Checkpoint, state: dict[str, Any]) -> None:
        if len(counts) != 7:
            saved(self, state)
        counts.append(state["step"])
        if len(counts) in (8, 14, 20):
            raise Stop

    monkeypatch.setattr(checkpoint.Checkpoint, "save", save)
    for _ in range(3):
        with pytest.raises(Stop):
            distill(chosen, QUIET)
    assert not parts.exists()
    distill(chosen, QUIET)
    assert 0 in counts and max(counts) > 5  # behind an epoch, and inside
    assert parts.read_bytes() == whole.read_bytes()
    distill(chosen, QUIET)  # all epochs are done: it is written again
    assert parts.read_bytes() == whole.read_bytes()


def test_ctrl_c_ends_the_step_keeps_the_state_and_goes_on(folder: Path, tmp_path: Path) -> None:
    words = [
        sys.executable, "-m", "geoc", "distill", folder / "teacher.onnx", folder / "student.onnx", "--data", folder / "few.npz",
        "--epochs", "40", "--lr", "5e-3", "--threads", "1", "--checkpoint", "state", "-o",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(Path(geoc.__file__).parents[1])}
    given: dict[str, Any] = {"cwd": tmp_path, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(
        [*map(str, words), "parts.onnx"], **given,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # who runs the tests may have it ignored
    )  # fmt: skip
    state = tmp_path / "state" / "distill.pt"
    end = time.monotonic() + 60
    while not state.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said.decode().strip() == "geoc: interrupted"
    assert not (tmp_path / "parts.onnx").exists()
    found = torch.load(state, weights_only=True)["state"]
    assert 0 < found["epoch"] < 40
    for name, folder_of in (("parts.onnx", "state"), ("whole.onnx", "other")):
        changed = [folder_of if word == "state" else str(word) for word in words]
        done = subprocess.run([*changed, name], timeout=120, check=False, **given)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "parts.onnx").read_bytes() == (tmp_path / "whole.onnx").read_bytes()


def test_a_state_of_another_run_is_refused(folder: Path, tmp_path: Path) -> None:
    chosen = settings(folder, output=tmp_path / "a.onnx", checkpoint=tmp_path / "state", epochs=1)
    distill(chosen, QUIET)
    with pytest.raises(UsageError, match="is of a run with another --lr, --seed; give another folder"):
        distill(settings(folder, output=tmp_path / "a.onnx", checkpoint=tmp_path / "state", epochs=1, lr=1e-3, seed=1), QUIET)
    (tmp_path / "state" / "distill.pt").write_bytes(b"something else")
    with pytest.raises(UsageError, match="does not hold the state of a training"):
        distill(chosen, QUIET)


def test_a_loss_that_is_no_number_ends_it_and_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(training.Diverged, match=r"no number (any more in epoch|after epoch) \d.*nothing was written"):
        distill(settings(folder, output=tmp_path / "a.onnx", lr=1e30), QUIET)
    assert not list(tmp_path.iterdir())


def test_a_student_that_is_as_good_already_is_not_written(folder: Path, tmp_path: Path) -> None:
    report = distill(settings(folder, student=folder / "teacher.onnx", output=tmp_path / "a.onnx", epochs=1), QUIET)
    assert not report.ok and "never below" in report.summary()
    assert not list(tmp_path.iterdir())


def test_zeros_of_sparse_weights_stay(folder: Path, tmp_path: Path) -> None:
    model = onnx.load(folder / "student.onnx")
    weight = next(t for t in model.graph.initializer if t.name == "w1")
    array = numpy_helper.to_array(weight).copy()
    array[np.arange(64) % 4 < 2] = 0.0
    weight.CopyFrom(numpy_helper.from_array(array, "w1"))
    onnx.save(model, tmp_path / "sparse.onnx")
    report = distill(settings(folder, student=tmp_path / "sparse.onnx", output=tmp_path / "a.onnx"), QUIET)
    after = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "a.onnx").graph.initializer}
    assert report.sparse == 1 and "1 of them sparse" in report.summary()
    assert ((after["w1"] == 0) == (array == 0)).all() and (after["w2"] != 0).all()
    assert np.abs(after["w1"] - array).max() > 1e-3


def test_hidden_states_of_other_widths_are_projected(folder: Path, tmp_path: Path) -> None:
    """The projection is trained along and is no part of what is written."""
    report = distill(settings(folder, output=tmp_path / "a.onnx", hidden=("/relu=a",), beta=0.5), QUIET)
    assert [(goal.kind, goal.widths) for goal in report.goals] == [("kl", None), ("hidden", (12, 48))]
    assert sum(t.dims[0] for t in onnx.load(tmp_path / "a.onnx").graph.initializer if t.name == "w1") == 64


def test_frozen_weights_do_not_move(folder: Path, tmp_path: Path) -> None:
    distill(settings(folder, output=tmp_path / "a.onnx", freeze=("w1", "/fc2")), QUIET)
    before, after = (
        {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
        for path in (folder / "student.onnx", tmp_path / "a.onnx")
    )
    assert {name for name in before if not np.array_equal(before[name], after[name])} == {"b1"}


def test_samples_that_run_at_once_give_what_they_give_one_by_one(folder: Path, tmp_path: Path) -> None:
    """A student that takes one sample at a time adds up gradients, and learns the same but for rounding."""
    model = onnx.load(folder / "student.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, tmp_path / "one.onnx")
    several = distill(settings(folder, output=tmp_path / "a.onnx"), QUIET)
    single = distill(settings(folder, student=tmp_path / "one.onnx", output=tmp_path / "b.onnx"), QUIET)
    np.testing.assert_allclose(single.held_back_losses, several.held_back_losses, rtol=1e-3)


def test_labels_that_do_not_fit_are_named(folder: Path, tmp_path: Path) -> None:
    x = np.load(folder / "few.npz")
    for label in ([10], [[1]]):
        np.savez(tmp_path / "wrong.npz", **dict(x), **{f"label/{i}": np.array(label) for i in range(200)})
        with pytest.raises(UsageError, match=r"labels of shape .* logits wants \d+ below 10"):
            distill(settings(folder, data=tmp_path / "wrong.npz", labels="label"), QUIET)


def test_quantized_weights_learn_through_their_rounding(folder: Path, tmp_path: Path) -> None:
    """A teacher whose weights lie on a grid of 2 bits comes nearer to itself again; the codes stay 2 bits."""
    text = (
        "geoc 1\ngraph @main(%x: f32[N,64]) -> (%logits: f32[N,10]) {\n"
        "  %w1: f32[64,48] = DequantizeLinear(%c1, %s1) {axis=1}\n  %h: f32[N,48] = Gemm(%x, %w1, %b1)\n"
        "  %a: f32[N,48] = Relu(%h)\n  %w2: f32[48,10] = DequantizeLinear(%c2, %s2) {axis=1}\n"
        "  %logits: f32[N,10] = Gemm(%a, %w2, %b2)\n}\n"
    )
    arrays = {t.name: numpy_helper.to_array(t) for t in onnx.load(folder / "teacher.onnx").graph.initializer}
    weights = []
    for index in ("1", "2"):
        weight = arrays[f"w{index}"]
        scale = np.abs(weight).max(0) / 2
        codes = np.clip(np.rint(weight / scale), -2, 1).astype(int)
        weights.append(f"  weight %c{index}: i2[{','.join(map(str, weight.shape))}] = {codes.reshape(-1).tolist()}\n")
        for name, array in ((f"s{index}", scale), (f"b{index}", arrays[f"b{index}"])):
            weights.append(f"  weight %{name}: f32[{len(array)}] = {[float(number) for number in array]}\n")
    head, rest = text.split("{\n", 1)
    (tmp_path / "coarse.gir").write_text(head + "{\n" + "".join(weights) + rest)
    report = distill(settings(folder, student=tmp_path / "coarse.gir", output=tmp_path / "fine.gir", epochs=6, lr=2e-2), QUIET)
    assert report.after[0].l2 < 0.7 * report.before[0].l2
    model = geoc.load(tmp_path / "fine.gir")
    kinds = [v.const.dtype.name for node in model.graph for v in node.inputs if v is not None and v.const is not None]
    assert kinds == ["i2", "f32", "f32", "i2", "f32", "f32"]


ENDS = {
    "softmax": [("Softmax", ["logits"], ["y"], {"axis": -1})],
    "handed on": [("Softmax", ["logits"], ["p"], {"axis": -1}), ("Identity", ["p"], ["y"], {})],
    "out of sight": [("Softmax", ["logits"], ["p"], {"axis": -1}), ("Abs", ["p"], ["y"], {})],
    "logarithms": [("LogSoftmax", ["logits"], ["y"], {"axis": -1})],
}


@pytest.mark.parametrize("end", ENDS)
def test_probabilities_are_compared_as_such(folder: Path, tmp_path: Path, end: str) -> None:
    """A teacher that ends in a softmax, however far behind, is the same teacher for a student that gives logits."""
    model = onnx.load(folder / "teacher.onnx")
    model.graph.node.extend(onnx.helper.make_node(op, i, o, **attrs) for op, i, o, attrs in ENDS[end])
    model.graph.output[0].name = "y"
    onnx.save(model, tmp_path / "teacher.onnx")
    plain = distill(settings(folder, output=tmp_path / "a.onnx", kl=("logits",)), QUIET)
    chosen = settings(folder, output=tmp_path / "b.onnx", kl=("logits",))
    found = distill(dataclasses.replace(chosen, teacher=str(tmp_path / "teacher.onnx")), QUIET)
    np.testing.assert_allclose(found.held_back_losses, plain.held_back_losses, rtol=1e-3)
    assert found.after[0].agreement == plain.after[0].agreement
