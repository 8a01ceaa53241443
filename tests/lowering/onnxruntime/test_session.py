"""Session options in the file's metadata, and the script that sets them."""

from __future__ import annotations

import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import geoc
from geoc.ir.errors import UnsupportedModel, UsageError
from geoc.lowering.onnxruntime.session import DISABLED, THREADS, disabled_optimizers, options_of
from geoc.tools.cli import main

from ...tools.toys import embedding, finish, relu_chain

WIDTH = 1024


def quantized(bias: bool = True, weight: bool = True, rank: int = 1) -> onnx.ModelProto:
    """x -> Q -> DQ -> MatMul with DQ(w) (or a plain weight) -> Add bias (or one number)."""
    rng = np.random.default_rng(0)
    constants = {
        "scale": np.float32(0.02), "zero": np.uint8(128), "w_scale": np.float32(0.01), "w_zero": np.int8(0),
        "w": rng.integers(-63, 64, (WIDTH, WIDTH)).astype(np.int8),  # no sum of two products is beyond 16 bits
        "plain": rng.standard_normal((WIDTH, WIDTH)).astype(np.float32),
        "b": rng.standard_normal((1,) * (rank - 1) + (WIDTH,)).astype(np.float32),
        "one": np.ones((1,), np.float32),
    }  # fmt: skip
    second = "wd" if weight else "plain"
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["wd"]),
        helper.make_node("MatMul", ["d", second], ["m"]),
        helper.make_node("Add", ["m", "b" if bias else "one"], ["y"]),
    ]
    shape: list[str | int] = ["N", WIDTH]
    result = [1, *shape] if rank == 3 else shape
    return finish(nodes, [("x", TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, result)],
                  [numpy_helper.from_array(a, name) for name, a in constants.items()])  # fmt: skip


def metadata(path: Path) -> dict[str, str]:
    props = onnx.load(path).metadata_props
    assert len({p.key for p in props}) == len(props)
    return {p.key: p.value for p in props}


def saved(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


def seconds(session: onnxruntime.InferenceSession, x: np.ndarray) -> float:
    session.run(None, {"x": x})
    times = []
    for _ in range(15):
        begun = time.perf_counter()
        session.run(None, {"x": x})
        times.append(time.perf_counter() - begun)
    return min(times)


def session_of(path: Path, disabled: list[str]) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"], disabled_optimizers=disabled)


def test_the_recorded_option_speeds_up_a_quantized_product_with_a_bias(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    geoc.compile(saved(quantized(), tmp_path / "m.onnx"), out)
    disabled, _ = options_of(metadata(out))
    assert disabled == ["MatMulAddFusion"]
    x = np.random.default_rng(1).standard_normal((1, WIDTH)).astype(np.float32)
    plain, better = session_of(out, []), session_of(out, disabled)
    (a,), (b,) = plain.run(None, {"x": x}), better.run(None, {"x": x})
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
    assert seconds(plain, x) > 2 * seconds(better, x)


@pytest.mark.parametrize(
    "model", [quantized(bias=False), quantized(weight=False), quantized(rank=3), relu_chain()]
)
def test_nothing_is_disabled_where_nothing_harms(model: onnx.ModelProto, tmp_path: Path) -> None:
    assert disabled_optimizers(geoc.load(model)) == []
    geoc.compile(saved(model, tmp_path / "m.onnx"), tmp_path / "out.onnx")
    assert DISABLED not in metadata(tmp_path / "out.onnx")


def test_metadata_says_where_a_file_comes_from(tmp_path: Path) -> None:
    model = relu_chain()
    helper.set_model_props(model, {"author": "somebody", "empty": "", "geoc.target": "old"})
    path = saved(model, tmp_path / "m.onnx")
    geoc.compile(path, tmp_path / "out.onnx", threads=3)
    assert metadata(tmp_path / "out.onnx") == {
        "author": "somebody", "empty": "", "geoc.target": "cpu", "geoc.version": geoc.__version__, THREADS: "3",
        "geoc.command": "geoc m.onnx -O2 --target=cpu --threads 3 -o out.onnx --seed 0",
        "geoc.source": f"m.onnx sha256:{sha256(path.read_bytes()).hexdigest()}",
    }  # fmt: skip


def test_import_and_export_alone_add_nothing(tmp_path: Path) -> None:
    geoc.compile(saved(relu_chain(), tmp_path / "m.onnx"), tmp_path / "out.onnx", level=0)
    assert metadata(tmp_path / "out.onnx") == {}


def test_a_written_file_read_and_written_again_keeps_its_metadata(tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{name}.onnx" for name in ("first", "second", "third"))
    geoc.compile(saved(quantized(), tmp_path / "m.onnx"), first, threads=2)
    geoc.save(geoc.load(first), second)
    assert metadata(second) == metadata(first)
    geoc.compile(first, third)
    again = metadata(third)
    assert again[THREADS] == "2" and again[DISABLED] == "MatMulAddFusion" and "first.onnx" in again["geoc.command"]


def test_an_option_that_no_longer_applies_goes(tmp_path: Path) -> None:
    model = relu_chain()
    helper.set_model_props(model, {DISABLED: "MatMulAddFusion"})
    geoc.compile(saved(model, tmp_path / "m.onnx"), tmp_path / "out.onnx")
    assert DISABLED not in metadata(tmp_path / "out.onnx")


def test_the_flatbuffer_keeps_it(tmp_path: Path) -> None:
    geoc.compile(saved(quantized(), tmp_path / "m.onnx"), tmp_path / "out.ort")
    found = onnxruntime.InferenceSession(str(tmp_path / "out.ort")).get_modelmeta().custom_metadata_map
    assert options_of(found) == (["MatMulAddFusion"], None)


def run_script(path: Path) -> str:
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, cwd="/", timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_script_runs_as_it_is(tmp_path: Path) -> None:
    report = geoc.compile(saved(quantized(), tmp_path / "m.onnx"), tmp_path / "out.run.py", threads=1)
    assert sorted(Path(f).name for f in report.files) == ["out.onnx", "out.run.py"]
    text = (tmp_path / "out.run.py").read_text()
    assert "options.intra_op_num_threads = 1" in text and "disabled_optimizers=['MatMulAddFusion']" in text
    assert run_script(tmp_path / "out.run.py") == f"y float32 (2, {WIDTH})\n"


@pytest.mark.parametrize("check", ["end", "off"])
def test_integers_stay_inside_the_table_they_index(check: str, tmp_path: Path) -> None:
    path = saved(embedding(), tmp_path / "tokens.onnx")
    assert main([str(path), "--emit=run,gir", f"--check={check}", "-o", str(tmp_path / "all"), "-q"]) == 0
    assert sorted(p.name for p in (tmp_path / "all").iterdir()) == ["tokens.gir", "tokens.onnx", "tokens.run.py"]
    assert run_script(tmp_path / "all" / "tokens.run.py") == "y float32 (2, 16, 3)\n"
    assert "disabled" not in (tmp_path / "all" / "tokens.run.py").read_text()


def test_inputs_of_other_kinds(tmp_path: Path) -> None:
    kinds = {"s": TensorProto.STRING, "b": TensorProto.BOOL, "h": TensorProto.FLOAT16, "d": TensorProto.DOUBLE}
    shapes: dict[str, list[str | int]] = {name: [2, 3] for name in kinds}
    kinds |= {"empty": TensorProto.INT64, "scalar": TensorProto.INT32}
    shapes |= {"empty": [2, 0], "scalar": []}
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in kinds]
    model = finish(nodes, [(n, k, shapes[n]) for n, k in kinds.items()],
                   [(f"{n}_out", k, shapes[n]) for n, k in kinds.items()])  # fmt: skip
    geoc.compile(saved(model, tmp_path / "m.onnx"), tmp_path / "out.run.py")
    assert run_script(tmp_path / "out.run.py").splitlines() == [
        "s_out object (2, 3)", "b_out bool (2, 3)", "h_out float16 (2, 3)", "d_out float64 (2, 3)",
        "empty_out int64 (2, 0)", "scalar_out int32 ()",
    ]  # fmt: skip


def test_where_there_is_no_script(tmp_path: Path) -> None:
    bfloat = finish([helper.make_node("Identity", ["x"], ["y"])], [("x", TensorProto.BFLOAT16, ["n"])],
                    [("y", TensorProto.BFLOAT16, ["n"])])  # fmt: skip
    with pytest.raises(UnsupportedModel, match="takes no bf16 from numpy: output 'y'"):
        geoc.compile(saved(bfloat, tmp_path / "m.onnx"), tmp_path / "out.run.py", check="off")
    assert not (tmp_path / "out.onnx").exists()
    with pytest.raises(UsageError, match="not 'run'"):
        geoc.compile(tmp_path / "m.onnx", tmp_path / "out.run.py", target="a100", emit="run")


def test_a_model_in_memory_is_saved_with_its_script(tmp_path: Path) -> None:
    files = geoc.save(geoc.load(embedding()), tmp_path / "m.run.py")
    assert files == [str(tmp_path / "m.run.py"), str(tmp_path / "m.onnx")]
    assert run_script(tmp_path / "m.run.py").startswith("y float32 ")


@pytest.mark.parametrize(("target", "output", "held"), [("cpu", "m.onnx", True), ("openvino-cpu", "m.xml", False),
                                                        ("cpu", "m.gir", False)])  # fmt: skip
def test_a_form_without_threads_says_so(target: str, output: str, held: bool, tmp_path: Path) -> None:
    path = saved(relu_chain(), tmp_path / "source.onnx")
    notes = geoc.compile(path, tmp_path / output, target=target, threads=2).notes
    assert any("--threads is not in" in note for note in notes) != held


def test_threads_are_a_number_from_one_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(relu_chain(), tmp_path / "m.onnx")
    assert main([str(path), "--threads", "0"]) == 2
    assert "--threads takes a number from 1 on" in capsys.readouterr().err
