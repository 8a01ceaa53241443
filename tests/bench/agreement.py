"""Does a rewritten model still compute what its source computes?

    python agreement.py SOURCE RESULT

Both run in onnxruntime without its optimizations on the same made-up inputs. An optimizer that
deletes what it should have kept leaves few nodes too; its count is worth nothing. Prints JSON:
{"error": largest relative L2 error of an output} when both ran, {"unknown": why} when the source
itself does not run on these inputs, {"failure": why} when only the result does not.
"""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

# sizes that fit together: past + seq = total; others are tried until the source runs
NAMED = {"batch": 2, "seq": 3, "past": 8, "total": 11, "ctx": 5}
UNNAMED = (1, 2, 32, 64, 96, 160, 320, 512, 1280, 16000, 44100)
INTEGERS = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
}
FLOATS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}

# onnxruntime's errors have no common base below Exception
REFUSALS: tuple[type[Exception], ...] = (
    *(c for c in vars(state).values() if isinstance(c, type) and issubclass(c, Exception)),
    ValueError,
    RuntimeError,
)


def dim(size: object, unnamed: int) -> int:
    if isinstance(size, int):
        return size
    return NAMED.get(str(size), unnamed)


def feed(name: str, dtype: str, shape: list[int], seed: int) -> np.ndarray:
    """An input with a meaning: masks with a zero, positions that grow, small ids, a sample rate."""
    rng = np.random.default_rng(seed)
    if dtype in FLOATS:
        return (rng.standard_normal(shape) * 0.5).astype(FLOATS[dtype])
    if dtype == "tensor(bool)":
        return np.zeros(shape, bool)
    kind = INTEGERS[dtype]
    if not shape:
        return np.array(16000 if re.search(r"\bsr\b", name) else 1, kind)
    if "mask" in name:
        mask = np.ones(shape, kind)
        mask[-1, :1] = 0
        return mask
    if "position" in name:
        start = NAMED["past"]
        return np.zeros(shape, kind) + np.arange(start, start + shape[-1], dtype=kind)
    return rng.integers(0, 2 if "type" in name else 100, shape).astype(kind)


def feeds(session: ort.InferenceSession, unnamed: int) -> dict[str, np.ndarray]:
    made = {}
    for seed, x in enumerate(session.get_inputs()):
        made[x.name] = feed(x.name, x.type, [dim(d, unnamed) for d in x.shape], seed)
    return made


def load(path: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 2
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_source(path: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Inputs on which the source runs, and its outputs by name."""
    session = load(path)
    reason: Exception | None = None
    for unnamed in UNNAMED:
        inputs = feeds(session, unnamed)
        try:
            values = session.run(None, inputs)
        except REFUSALS as error:
            reason = reason or error
            continue
        names = [o.name for o in session.get_outputs()]
        return inputs, dict(zip(names, values, strict=True))
    raise RuntimeError(f"no inputs found: {reason}")


def relative_error(expected: np.ndarray, got: np.ndarray) -> float:
    """|got - expected| / |expected|, L2 norm; infinite if shape, type or place of NaN differ."""
    if expected.shape != got.shape or expected.dtype != got.dtype:
        return float("inf")
    a, b = expected.astype(np.float64), got.astype(np.float64)
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return float("inf")
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    difference, norm = float(np.linalg.norm(a - b)), float(np.linalg.norm(a))
    return difference / norm if norm else difference


def compare(source: str, result: str) -> dict[str, object]:
    try:
        inputs, expected = run_source(source)
    except REFUSALS as error:
        return {"unknown": str(error).splitlines()[0][:200]}
    try:
        session = load(result)
        given = {x.name: inputs[x.name] for x in session.get_inputs() if x.name in inputs}
        got = dict(zip(expected, session.run(list(expected), given), strict=True))
    except REFUSALS as error:
        return {"failure": str(error).splitlines()[0][:200]}
    return {"error": max(relative_error(expected[name], got[name]) for name in expected)}


if __name__ == "__main__":
    print(json.dumps(compare(sys.argv[1], sys.argv[2])))
