"""Trained models: their structure survives every form, and -O2 changes their outputs by rounding only.

The small ones come with the repository, with onnx and with magika. More are taken from the folder $GEOC_MODELS or
~/.cache/geoc-models where there is one, those under 60 MB only unless GEOC_TEST_ALL=1.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import geoc
from geoc.frontends.onnx import load_onnx
from geoc.ir.core import Model
from geoc.ir.equal import difference
from geoc.ir.text import load_model, print_model
from geoc.ir.types import F16
from geoc.ir.verify import verify
from geoc.lowering.onnx import save_onnx
from geoc.lowering.targets import get_target
from geoc.tools.inputs.maker import InputMaker
from geoc.tools.inputs.shapes import Shapes

LIMIT = 60_000_000  # bytes of file and weights
SHAPES = 2
# A quantizer makes whole steps, or none, of the rounding before it. onnxruntime's own default optimizations move the
# output of moonshine-tiny-encoder-int8 by 2.9e-2; so do inputs that move by a few units in the last place.
QUANTIZED_UNITS = 8
QUANTIZED = frozenset(("DynamicQuantizeLinear", "QuantizeLinear", "MatMulInteger", "ConvInteger", "QLinearConv"))


def paths() -> list[Any]:
    """Every model that is here, as a parameter named after its file."""
    found = sorted((Path(__file__).parent.parent / "models").glob("*.onnx"))
    found += sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))
    spec = importlib.util.find_spec("magika")
    if spec is not None and spec.origin is not None:
        found += sorted(Path(spec.origin).parent.glob("models/*/model.onnx"))
    params = [pytest.param(path, id=path.stem) for path in found]
    folder = Path(os.environ.get("GEOC_MODELS", Path.home() / ".cache/geoc-models"))
    for path in sorted(folder.rglob("*.onnx")) if folder.is_dir() else ():
        name = str(path.relative_to(folder).with_suffix(""))
        params.append(pytest.param(path, id=name, marks=pytest.mark.slow))
    return params


every_model = pytest.mark.parametrize("path", paths())


def load(path: Path) -> Model:
    """The model; skips the test if that would take long."""
    loaded = load_onnx(path)
    files = {path.resolve(): path.stat().st_size}
    for graph in loaded.graphs():
        for node in [*graph, graph.ret]:
            for value in node.inputs:
                if value is not None and value.const is not None and value.const.file is not None:
                    files[Path(value.const.file.path).resolve()] = value.const.file.size
    total = sum(files.values())
    if total > LIMIT and os.environ.get("GEOC_TEST_ALL") != "1":
        pytest.skip(f"{total / 1e6:.0f} MB; GEOC_TEST_ALL=1 runs it")
    return loaded


@every_model
def test_onnx_to_text_to_onnx(path: Path, tmp_path: Path) -> None:
    loaded = load(path)
    verify(loaded)
    text = tmp_path / "model.gir"
    text.write_text(print_model(loaded, folder=str(tmp_path)), encoding="utf-8")
    from_text = load_model(str(text), roots=(str(path.resolve().parent),))
    assert difference(loaded, from_text) is None
    save_onnx(from_text, tmp_path / "again.onnx", weights="reuse")
    again = load_onnx(tmp_path / "again.onnx")
    verify(again)
    assert difference(loaded, again) is None


@every_model
def test_o2_changes_rounding_only(path: Path, tmp_path: Path) -> None:
    loaded = load(path)
    limit = tolerance(loaded)
    quantized = quantizes(loaded)
    before = session(path)
    runs = inputs_and_outputs(loaded, before)
    geoc.optimize(loaded, level=2, check="off")
    verify(loaded)
    target = get_target("cpu")
    after_path = tmp_path / "optimized.onnx"
    save_onnx(loaded, after_path, max_opset=target.max_opset, max_ir=target.max_ir)
    del before
    after = session(after_path)
    assert [(o.name, o.type) for o in after.get_outputs()] == [
        (o.name, o.type) for o in session(path).get_outputs()
    ]
    names = [o.name for o in after.get_outputs()]
    for feeds, expected in runs:
        errors = [relative_error(a, b) for a, b in zip(expected, after.run(None, feeds))]
        noise = conditioning(path, feeds, expected) if quantized and max(errors) > limit else [0.0] * len(errors)
        for name, error, moves in zip(names, errors, noise):
            assert error <= max(limit, 4 * moves), f"{name}: {error:.2e} at {shapes(feeds)}"


def tolerance(model: Model) -> float:
    """1e-4 of an output's largest value in single precision; one step of rounding where a model rounds more coarsely."""
    if quantizes(model):
        return 2e-2
    halves = any(value.dtype is F16 for node in model.walk() for value in node.outputs)
    return 1e-2 if halves else 1e-4


def quantizes(model: Model) -> bool:
    return any(node.op.name in QUANTIZED for node in model.walk())


def session(path: Path, level: str = "ORT_DISABLE_ALL") -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def inputs_and_outputs(
    model: Model, reference: onnxruntime.InferenceSession
) -> list[tuple[dict[str, Any], list[Any]]]:
    """Feeds at two shapes (or two feeds of one shape, where nothing is symbolic) and what the source gives."""
    maker = InputMaker(model, Shapes())
    assert not maker.problem
    found: list[tuple[dict[str, Any], list[Any]]] = []
    candidates = list(maker.sizes()) if maker.symbols else [{}, {}]
    reasons = []
    for sizes in candidates:
        try:
            feeds = with_cache(maker, sizes, len(found), reference)
            found.append((feeds, reference.run(None, feeds)))
        except Exception as error:  # sizes are guesses; the source says which it takes
            reasons.append(str(error)[:200])
        if len(found) == SHAPES:
            break
    assert found, reasons[:1]
    assert len(found) == SHAPES or len(reasons) == len(candidates) - 1
    return found


def with_cache(
    maker: InputMaker, sizes: dict[str, int], run: int, reference: onnxruntime.InferenceSession
) -> dict[str, Any]:
    """Feeds of these sizes. A cache of keys and values is not made up but computed by the model itself from a first
    sequence: no decoder ever sees one of random numbers, on which some are badly conditioned.
    """
    kinds = {kind: name for name, kind in maker.symbols.items()}
    if not {"past", "sequence"} <= set(kinds):
        return maker.feeds(sizes, run)
    length = sizes[kinds["sequence"]]
    first = {**sizes, kinds["past"]: 0} | ({kinds["total"]: length} if "total" in kinds else {})
    cache = reference.run(None, maker.feeds(first, run + 100))[1:]
    then = {**sizes, kinds["past"]: length} | ({kinds["total"]: 2 * length} if "total" in kinds else {})
    feeds = maker.feeds(then, run)
    names = [name for name in feeds if name.startswith("past")]
    assert len(names) == len(cache) and all(feeds[n].shape == c.shape for n, c in zip(names, cache))
    return {**feeds, **dict(zip(names, cache))}


def relative_error(expected: Any, found: Any) -> float:
    """The largest difference over the largest value; infinite where the two are not alike."""
    a, b = np.asarray(expected), np.asarray(found)
    if a.shape != b.shape or a.dtype != b.dtype:
        return float("inf")
    if a.dtype.kind not in "fc":
        return 0.0 if np.array_equal(a, b) else float("inf")
    x, y = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(x)
    if not np.array_equal(x[~finite], y[~finite], equal_nan=True) or not np.isfinite(y[finite]).all():
        return float("inf")
    if not finite.any():
        return 0.0
    worst, largest = np.abs(x - y)[finite].max(), np.abs(x[finite]).max()
    return float(worst / largest) if largest else float(worst)


def conditioning(path: Path, feeds: dict[str, Any], expected: list[Any]) -> list[float]:
    """How far each output of the source itself moves under changes that mean nothing: when each number of its inputs
    changes by `QUANTIZED_UNITS` in the last place, and when onnxruntime optimizes it.
    """
    rng = np.random.default_rng(0)
    source = session(path)
    found = [session(path, "ORT_ENABLE_ALL").run(None, feeds)]
    for _ in range(3):
        nudged = {
            name: (v + np.spacing(v) * QUANTIZED_UNITS * rng.choice((-1, 1), v.shape)).astype(v.dtype) if v.dtype.kind == "f" else v
            for name, v in feeds.items()
        }
        found.append(source.run(None, nudged))
    moves = [[relative_error(a, run[i]) for run in found] for i, a in enumerate(expected)]
    return [max((error for error in each if np.isfinite(error)), default=0.0) for each in moves]


def shapes(feeds: dict[str, Any]) -> str:
    return ", ".join(f"{k}{list(np.shape(v))}" for k, v in feeds.items())


def test_there_are_models_to_test() -> None:
    assert len(paths()) >= 10
