"""Peak memory of a whole command that calibrates: below a bound that keeps large models under twice their size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import geoc
from geoc.ir.proto.read import read_model
from geoc.ir.tensor import MappedFile
from geoc.lowering.onnx.external import with_external_weights

LAYERS = 4
PIPELINE = "@O2,smooth{least=1.0},quantize{method=METHOD,correct=4},ort-quantized,fold,cse,dce"
# VmHWM and not ru_maxrss, which counts what the process was a copy of before it became this command.
CHILD = """
import sys
from geoc.tools.cli import main
code = main(sys.argv[1:])
print("peak", open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
sys.exit(code)
"""


def products(path: Path, width: int) -> int:
    """A chain of products, weights inline; their bytes."""
    rng = np.random.default_rng(0)
    nodes, weights, value = [], [], "x"
    for i in range(LAYERS):
        array = (rng.standard_normal((width, width)) / np.sqrt(width)).astype(np.float32)
        weights.append(numpy_helper.from_array(array, f"w{i}"))
        nodes.append(helper.make_node("MatMul", [value, f"w{i}"], [f"m{i}"]))
        nodes.append(helper.make_node("Relu" if i < LAYERS - 1 else "Identity", [f"m{i}"], [f"r{i}"]))
        value = f"r{i}"
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 4, width])]
    outputs = [helper.make_tensor_value_info(value, TensorProto.FLOAT, None)]
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, weights), opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, path)
    return LAYERS * width * width * 4


def peak(folder: Path, width: int, method: str) -> tuple[int, int]:
    """Bytes of the weights, and those of the command at its peak."""
    model, data = folder / f"{width}.onnx", folder / f"{width}.npz"
    size = products(model, width)
    rng = np.random.default_rng(1)
    np.savez(data, **{f"x/{i}": rng.standard_normal((2, 4, width)).astype(np.float32) for i in range(6)})
    words = [str(model), "--passes", PIPELINE.replace("METHOD", method), "--check=end", "--max-error=99%", "--calib", str(data)]
    command = [sys.executable, "-c", CHILD, *words, "--cache=off", "-o", str(folder / f"{width}.out.onnx")]
    environment = {"PYTHONPATH": str(Path(geoc.__file__).parents[1]), "PATH": "", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "accuracy  CHECKED" in done.stdout
    return size, int(done.stdout.rpartition("peak ")[2]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's, and glibc gives memory back there")
@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_calibration_takes_little_more_than_the_weights_once(method: str, tmp_path: Path) -> None:
    """Of two models of the same graph the larger takes 1.6 times the difference of their sizes more, at most.

    Once are the weights that onnxruntime maps; a matrix that is being quantized comes on top. With weights inside the
    files that were run it was 5.6 times.
    """
    small, base = peak(tmp_path, 64, method)
    size, most = peak(tmp_path, 2048, method)
    assert most - base < 1.6 * (size - small)


def test_a_copy_with_its_weights_outside_is_the_same_model(tmp_path: Path) -> None:
    source, copy = tmp_path / "m.onnx", tmp_path / "copy.onnx"
    products(source, 192)
    assert with_external_weights(str(source), str(copy))
    assert copy.stat().st_size < 5000 < (tmp_path / "copy.onnx.data").stat().st_size
    expected, found = onnx.load(source), onnx.load(copy)
    for tensor in found.graph.initializer:
        numpy_helper.to_array(tensor)  # reads what is loaded already
        del tensor.external_data[:]
        tensor.ClearField("data_location")
    assert found == expected
    assert not with_external_weights(str(copy), str(tmp_path / "again.onnx"))  # they are outside
    assert not (tmp_path / "again.onnx").exists()


def test_small_and_typed_weights_stay_where_they_are(tmp_path: Path) -> None:
    """Floats in a field of their own go, integers of varints cannot."""
    floats = helper.make_tensor("f", TensorProto.FLOAT, [1 << 14], np.arange(1 << 14, dtype=np.float32))
    longs = helper.make_tensor("i", TensorProto.INT64, [1 << 14], np.arange(1 << 14))
    few = numpy_helper.from_array(np.ones(16, np.float32), "s")
    node = helper.make_node("Identity", ["f"], ["y"])
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph([node], "g", [], outputs, [floats, longs, few])
    source, copy = tmp_path / "m.onnx", tmp_path / "copy.onnx"
    onnx.save(helper.make_model(graph), source)
    assert with_external_weights(str(source), str(copy))
    graph_copy = read_model(MappedFile(str(copy)).buffer).graph
    assert graph_copy is not None
    assert [bool(tensor.external_data) for tensor in graph_copy.initializer] == [True, False, False]
    found = {t.name: numpy_helper.to_array(t) for t in onnx.load(copy).graph.initializer}
    np.testing.assert_array_equal(found["f"], np.arange(1 << 14, dtype=np.float32))
    np.testing.assert_array_equal(found["i"], np.arange(1 << 14))
