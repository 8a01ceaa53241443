"""Weights are converted on their way from file to file: memory does not grow with them."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from geoc.ir.evaluate import DeferredTensor
from geoc.ir.tensor import MappedFile, Tensor
from geoc.ir.types import F16, F32

SIZE = 3000
LAYERS = 12  # of 36 MB each
PEAK = """
import sys
import geoc
from geoc.tools import compiler
compiler.LOSSY_CHECK_MAX = 0  # as for models too large to be run: no ranges are measured
report = geoc.compile(sys.argv[1], sys.argv[2], target="a100", level=3, check="off")
assert report.precision == "fp16" and report.after.low == report.after.products, report
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the memory in use")
def test_weights_of_432_mb_take_150_mb_at_most(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = []
    with open(tmp_path / "w.bin", "wb") as file:
        for i in range(LAYERS):
            tensor = TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT, dims=[SIZE, SIZE])
            tensor.data_location = TensorProto.EXTERNAL
            for key, entry in (("location", "w.bin"), ("offset", str(file.tell())), ("length", str(4 * SIZE * SIZE))):
                tensor.external_data.add(key=key, value=entry)
            weights.append(tensor)
            first = (rng.standard_normal((SIZE, SIZE)) / 64).astype(np.float32)
            file.write(first.tobytes())
    names = ["x", *(f"h{i}" for i in range(LAYERS - 1)), "y"]
    nodes = [helper.make_node("MatMul", [a, f"w{i}"], [b]) for i, (a, b) in enumerate(pairwise(names))]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", SIZE]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "main", ends[:1], ends[1:], weights)
    (tmp_path / "m.onnx").write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    out = tmp_path / "out.onnx"
    done = subprocess.run([sys.executable, "-c", PEAK, str(tmp_path / "m.onnx"), str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 150 * 1024
    last = next(t for t in onnx.load(out).graph.initializer if t.name == f"w{LAYERS - 1}")
    assert np.array_equal(numpy_helper.to_array(last), first.astype(np.float16))


def test_pieces_are_the_elements_in_order(tmp_path: Path) -> None:
    array = np.arange(1000, dtype=np.float32)
    (tmp_path / "w.bin").write_bytes(b"1234" + array.tobytes())
    lying = Tensor(F32, (10, 100), file=MappedFile(tmp_path / "w.bin"), offset=4)
    for tensor in (lying, Tensor.from_array(array.reshape(10, 100))):
        pieces = list(tensor.pieces(300))
        assert [len(piece) for piece in pieces] == [300, 300, 300, 100]
        assert np.array_equal(np.concatenate(pieces), array)
    half = DeferredTensor(F16, (10, 100), lying, "half", lambda a: a.astype(np.float16), elementwise=True)
    whole = DeferredTensor(F16, (100, 10), lying, "turned", lambda a: a.T.astype(np.float16))
    assert np.array_equal(np.concatenate(list(half.pieces(300))), array.astype(np.float16))
    assert np.array_equal(np.concatenate(list(whole.pieces(300))), array.reshape(10, 100).T.reshape(-1).astype(np.float16))


def test_a_file_that_ends_early_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(bytes(4000))
    tensor = Tensor(F32, (1000,), file=MappedFile(path), offset=0)
    with open(path, "r+b") as file:
        file.truncate(100)
    with pytest.raises(Exception, match="file changed while it was in use"):
        list(tensor.pieces())
