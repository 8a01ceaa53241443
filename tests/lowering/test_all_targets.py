"""What no target may receive, over all targets and small exports of many architectures.

Targets that resolve to the same passes, precisions and limits give the same graphs, so one of each kind is compiled for.
"""

from __future__ import annotations

import json
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import geoc
from geoc.ir.types import BF16, F16
from geoc.lowering.targets import Target, get_target, list_targets
from geoc.tools.inputs.maker import InputMaker
from geoc.tools.inputs.shapes import Shapes
from geoc.tools.precision import attempts

ARCHIVE = Path(__file__).parents[1] / "models" / "exports.zip"
with zipfile.ZipFile(ARCHIVE) as _archive:
    MODELS = [Path(name).stem for name in _archive.namelist()]


def kind(target: Target) -> str:
    """What decides the graph: the runtime, the edits of the levels, the precisions, the newest opset."""
    return json.dumps(
        [target.runtime, target.pipeline, [a.precision for a in attempts(target, None, 3)], target.max_opset], sort_keys=True
    )


KINDS: dict[str, list[str]] = {}
for _name in list_targets():
    KINDS.setdefault(kind(get_target(_name)), []).append(_name)


@cache
def source(name: str) -> bytes:
    with zipfile.ZipFile(ARCHIVE) as archive:
        return archive.read(f"{name}.onnx")


def test_kinds_cover_every_target() -> None:
    assert sorted(name for names in KINDS.values() for name in names) == list_targets()
    assert len(KINDS) <= 8


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("target", [names[0] for names in KINDS.values()])
def test_no_target_receives_what_it_cannot_run(target: str, name: str) -> None:
    chosen = get_target(target)
    report = geoc.compile(source(name), None, target=target, level=3, check="off")
    model = report.model
    types = {value.dtype for node in model.walk() for value in node.outputs}
    domains = {node.op.domain for node in model.walk()}
    if chosen.runtime == "tensorrt":
        assert domains == {""} and not chosen.backend.unsupported(model, chosen)
    else:
        assert not types & {F16, BF16}, "half precision on what computes in single precision"
    if chosen.runtime == "openvino":
        assert domains == {""}
    assert not any(t is not None and t.is_float and t.bits == 8 for t in types)


@pytest.mark.parametrize("name", MODELS)
def test_half_precision_stays_close_and_finite_on_inputs_scaled_up(name: str, tmp_path: Path) -> None:
    """Within 1e-2 of single precision, and numbers wherever single precision has numbers on inputs a hundred times larger."""
    report = geoc.compile(source(name), tmp_path / "half.onnx", target="a100", level=3)
    assert report.ok and report.precision == "fp16" and report.accuracy.error < 1e-2
    (tmp_path / "single.onnx").write_bytes(source(name))
    maker = InputMaker(geoc.load(source(name)), Shapes(), seed=77)
    sizes = next(maker.sizes())
    feeds = {n: v * np.asarray(100, v.dtype) if v.dtype.kind == "f" else v for n, v in maker.feeds(sizes, 0).items()}
    expected, found = (run(tmp_path / f"{kind}.onnx", feeds) for kind in ("single", "half"))
    for a, b in zip(expected, found):
        if a.dtype.kind == "f":
            assert np.isfinite(b[np.isfinite(a)]).all()


def run(path: Path, feeds: dict[str, Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


@pytest.mark.parametrize("name", ["bert-ts", "bert-dynamo", "llama-ts", "vit-ts"])
@pytest.mark.parametrize("target", ["cpu", "openvino-cpu"])
def test_attention_is_found_at_small_fixed_shapes_as_well(target: str, name: str) -> None:
    """Where data is small a launch is what an operator costs, and one costs less than four."""
    model = geoc.load(source(name))
    sizes = dict.fromkeys(InputMaker(model, Shapes()).symbols, 2)
    report = geoc.compile(source(name), None, target=target, check="off", shape=[f"{s}={n}" for s, n in sizes.items()])
    assert report.after.fused["attention"] == 2, report.refused
