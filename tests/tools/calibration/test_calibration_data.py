"""Samples that ranges cannot be taken of, and those whose ranges are odd, through the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import geoc
from geoc.passes.quantize.observers import METHODS
from geoc.tools.cli import main

SIZE = 96


def model_file(folder: Path, before: str) -> str:
    """A product of what an operator makes of the input."""
    rng = np.random.default_rng(0)
    numbers = ", ".join(f"{x:.5f}" for x in rng.normal(size=SIZE * SIZE) / np.sqrt(SIZE))
    path = folder / "m.gir"
    path.write_text(f"""geoc 1
opset "" 17

graph @main(%x: f32[B,{SIZE}]) -> (%y) {{
  weight %w: f32[{SIZE},{SIZE}] = [{numbers}]
  %inner = {before}(%x)
  %y = MatMul(%inner, %w)
}}
""")
    return str(path)


def samples_file(folder: Path, arrays: list[np.ndarray]) -> str:
    path = folder / "s.npz"
    np.savez(path, **{f"x/{i}": array.astype(np.float32) for i, array in enumerate(arrays)})
    return str(path)


def passes(method: str) -> str:
    return f"@O1,quantize{{method={method},correct=2}},ort-quantized,fold,cse,dce"


@pytest.mark.parametrize("before, value, kind", [("Exp", 200.0, "infinity"), ("Sqrt", -1.0, "NaN")])
@pytest.mark.parametrize("options", [["--precision=int8"], ["--passes", passes("minmax")], ["--passes", passes("entropy")]])
def test_what_is_no_number_is_named_with_tensor_and_sample(
    before: str, value: float, kind: str, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the sample's own number: one in five is not among those that are measured on."""
    arrays = [np.full((2, SIZE), 0.5) for _ in range(9)]
    arrays[6][1, 7] = value
    data, out = samples_file(tmp_path, arrays), tmp_path / "o.onnx"
    assert main([model_file(tmp_path, before), *options, "--calib", data, "-o", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"sample 6 of {data}, tensor %inner: it holds {kind}" in said
    assert not out.exists()


def outputs(path: str | Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": x})[0]
    return found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["zero", "constant", "negative", "empty", "tiny"])
def test_odd_ranges(method: str, kind: str, tmp_path: Path) -> None:
    """Always zero, always one number, nothing at all in a sample, numbers near the smallest there are."""
    arrays = [{
        "zero": np.zeros((2, SIZE)), "constant": np.full((2, SIZE), 3.0), "negative": np.full((2, SIZE), -3.0),
        "empty": np.zeros((0, SIZE)) if i % 2 else np.full((2, SIZE), 1.0), "tiny": np.full((2, SIZE), 1e-38),
    }[kind] for i in range(5)]  # fmt: skip
    source, model = tmp_path / "source.onnx", model_file(tmp_path, "Neg")
    geoc.compile(model, source, level=0, check="off")
    made = tmp_path / "o.onnx"
    geoc.compile(model, made, passes=passes(method), check="off", calib=samples_file(tmp_path, arrays))
    assert any("Integer" in node.op.name for node in geoc.load(str(made)).graph)
    x = arrays[0].astype(np.float32)
    expected, found = outputs(source, x), outputs(made, x)
    assert np.isfinite(found).all() and found.shape == expected.shape
    if kind == "tiny":  # below the smallest scale nothing is left
        assert np.abs(found).max() <= 1e-30
    else:
        np.testing.assert_allclose(found, expected, atol=0.02 * max(1e-30, float(np.abs(expected).max())))


def test_nothing_but_empty_samples(tmp_path: Path) -> None:
    """Ranges of nothing are zeros; the model is written and runs."""
    made = tmp_path / "o.onnx"
    data = samples_file(tmp_path, [np.zeros((0, SIZE))] * 3)
    geoc.compile(model_file(tmp_path, "Neg"), made, passes=passes("mse"), check="off", calib=data)
    assert np.isfinite(outputs(made, np.ones((2, SIZE), np.float32))).all()
