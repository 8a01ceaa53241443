"""The same pass for other runtimes: which kernels OpenVINO and TensorRT-RTX choose for what it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geoc.lowering.backend import Order
from geoc.lowering.targets import get_target, list_targets
from geoc.passes.quantize.kernels import PLAIN, Integers, integers_of

from .running import CONVOLUTIONS, PRODUCTS, context, feeds_of, model_of, outputs, run


@pytest.mark.parametrize("name", list_targets())
def test_every_target_says_what_it_computes_in_integers(name: str) -> None:
    found = integers_of(get_target(name))
    assert found is not PLAIN and found.layers and found.closed <= found.layers and found.dynamic <= found.layers


def test_unknown_targets() -> None:
    assert integers_of(None) is PLAIN
    assert isinstance(integers_of(object()), Integers)


@pytest.mark.parametrize(("text", "integer"), [(CONVOLUTIONS, 4), (PRODUCTS, 5)])
def test_openvino(tmp_path: Path, text: str, integer: int) -> None:
    openvino = pytest.importorskip("openvino")
    model = model_of(text)
    feeds = feeds_of(model, 6)
    expected, _ = outputs(model, tmp_path, feeds)
    target = get_target("openvino-cpu")
    assert run(model, "quantize{method=minmax}", context(feeds, target))
    path = str(tmp_path / "model.xml")
    target.backend.emitters()["openvino"].write(model, path, Order(target))
    compiled = openvino.Core().compile_model(path, "CPU")
    off = [np.linalg.norm(next(iter(compiled(f).values())) - e[0]) / np.linalg.norm(e[0]) for f, e in zip(feeds, expected)]
    assert np.mean(off) < 0.06
    kinds = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    layers = [k for k in kinds if k["layerType"].astype(str) in ("Convolution", "FullyConnected")]
    if "avx512_vnni" in Path("/proc/cpuinfo").read_text():
        assert sum(k["runtimePrecision"].astype(str) in ("u8", "i8") for k in layers) == integer


@pytest.mark.parametrize(("text", "integer"), [(CONVOLUTIONS, 4), (PRODUCTS, 4)])
def test_tensorrt_rtx(tmp_path: Path, text: str, integer: int) -> None:
    """Its convolutions and products read i8 (two that read one value are one product)."""
    pytest.importorskip("tensorrt_rtx")
    model = model_of(text.replace("[B,", "[2,").replace(",S]", ",3]"))
    target = get_target("a100")
    assert run(model, "quantize{method=minmax}", context(feeds_of(model, 4), target))
    written = target.backend.emitters()["rtx-engine"].write(model, str(tmp_path / "model.rtx"), Order(target))
    heavy = [k for k in written.engine["kernels"] if k["kind"] in ("correlation", "gemm") or "conv" in k["kind"]]
    assert sum("Int8" in k["inputs"] for k in heavy) >= integer
