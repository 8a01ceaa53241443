"""Inputs for both sides, running them, and comparing what they give.

The judge is onnxruntime without optimizations. Where it has no kernel, onnx's reference implementation is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...ir import dims
from ...ir.core import Model
from ...ir.errors import GeocError
from ...ir.tensor import Array
from ...ir.types import SequenceType, TensorType
from .arrays import drawn
from .choices import Infeasible, seed_of
from .reference import evaluator
from .worker import WORKER

Feeds = dict[str, Any]
Sizes = Mapping[str, int]

# By element type: a difference may be this part of the element, plus this part of the largest element of the result.
TOLERANCES = {
    "float64": (1e-6, 1e-7),
    "float32": (5e-5, 1e-5),
    "float16": (2e-2, 5e-3),
    "bfloat16": (1e-1, 3e-2),
}
_STEPS = {"float64": 2.0**-50, "float32": 2.0**-22, "float16": 2.0**-9, "bfloat16": 2.0**-6}
_SHAKEN = 5  # draws with shaken inputs
_AMPLIFIED = 16  # how much more than these a result may differ


class CannotRun(Exception):
    """Nothing at hand runs the model, or it refuses these inputs."""


class Runner:
    """One model, ready to run with whatever can run it."""

    def __init__(self, model: Model, reference: bool = False) -> None:
        """`reference`: onnx's implementation alone. Raises CannotRun, with what each of them said."""
        from ...lowering.onnx import model_bytes
        from ...lowering.targets import get_target

        self.model = model
        target = get_target("cpu")
        self.said: list[str] = []
        try:
            self.data = model_bytes(model, max_opset=target.max_opset, max_ir=target.max_ir)
        except GeocError as error:
            self.said.append(error.message)
            self.data = b""
        self.name = ""
        self._run: Any = None
        ways = [("onnx", self._reference)] if reference else [("onnxruntime", self._runtime), ("onnx", self._reference)]
        for name, open_ in ways:
            try:
                self._run = open_()
                self.name = name
                return
            except Exception as error:  # of classes that share no base
                self.said.append(
                    f"{name}: {str(error).strip().splitlines()[0][:160] if str(error).strip() else error!r}"
                )
        raise CannotRun("; ".join(self.said))

    def run(self, feeds: Feeds) -> list[Any]:
        """The outputs. Raises CannotRun where the model refuses the inputs."""
        known = {n: feeds[n] for n in self.model.graph.input_names}
        try:
            with np.errstate(all="ignore"):
                found: list[Any] = self._run(known)
            return found
        except Exception as error:
            raise CannotRun(str(error).strip().splitlines()[0][:200] if str(error).strip() else repr(error)) from None

    def _runtime(self) -> Any:
        data = self.data
        WORKER.ask(data, None)
        return lambda feeds: WORKER.ask(data, feeds)

    def _reference(self) -> Any:
        session = evaluator(self.data)
        return lambda feeds: session.run(None, feeds)


def feeds_for(model: Model, fills: Mapping[str, str], style: str, sizes: Sizes, shapes: Mapping[str, Any]) -> Feeds:
    """Values for all inputs in one style; `shapes` for those of unknown rank. Raises Infeasible."""
    feeds: Feeds = {}
    for name, value in zip(model.graph.input_names, model.graph.inputs):
        type_ = value.type
        if isinstance(type_, SequenceType):
            raise Infeasible("an input that is a sequence")
        assert isinstance(type_, TensorType)
        shape = shapes.get(name) if type_.shape is None else tuple(size_of(d, sizes) for d in type_.shape)
        assert shape is not None
        feeds[name] = drawn(type_.dtype, tuple(shape), fills.get(name, ""), style, seed_of(name, style))
    return feeds


def size_of(dim: Any, sizes: Sizes) -> int:
    """A dimension at given sizes of its symbols. Raises Infeasible where that is no number."""
    found = dims.substitute(dim, sizes.get) if not isinstance(dim, int) else dim
    if not isinstance(found, int):
        raise Infeasible(f"no size for {dim}")
    return found


def difference(found: Any, wanted: Any, slack: Any = 0.0) -> str:
    """How two results differ by more than rounding, or ""; `slack` is added to what an element may differ."""
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            return "sequences of different length"
        return next((d for d in (difference(a, b) for a, b in zip(found, wanted)) if d), "")
    a, b = np.asarray(found), np.asarray(wanted)
    if a.dtype != b.dtype:
        return f"elements are {a.dtype} and not {b.dtype}"
    if a.shape != b.shape:
        return f"the shape is {list(a.shape)} and not {list(b.shape)}"
    tolerance = TOLERANCES.get(b.dtype.name)
    if tolerance is None:
        wrong = np.asarray(a != b)
    else:
        x, y = a.astype(np.float64), b.astype(np.float64)
        wrong = _wrong(x, y, tolerance, slack)
    if not wrong.any():
        return ""
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    count = int(wrong.sum())
    return (
        f"{a[at]} and not {b[at]}"
        + (f" at {list(at)}" if at else "")
        + (f", {count} of {a.size} elements" if count > 1 else "")
    )


def _wrong(x: Array, y: Array, tolerance: tuple[float, float], slack: Any) -> Array:
    finite = np.isfinite(y)
    largest = np.abs(y[finite]).max() if finite.any() else 0.0
    with np.errstate(invalid="ignore"):
        near = np.abs(x - y) <= tolerance[0] * np.abs(y) + tolerance[1] * largest + slack
    return np.asarray(~(near | (x == y) | (np.isnan(x) & np.isnan(y))))


def slack_of(runner: Runner, feeds: Feeds, wanted: list[Any]) -> list[Any]:
    """By output and element: how far the model's own results move when its inputs move by a rounding, amplified."""
    rng = np.random.default_rng(0)
    slack: list[Any] = [0.0 for _ in wanted]
    for _ in range(_SHAKEN):
        moved = {name: _moved(rng, array) for name, array in feeds.items()}
        try:
            found = runner.run(moved)
        except CannotRun:
            return slack
        for index, (a, b) in enumerate(zip(found, wanted)):
            if isinstance(b, list) or np.asarray(b).dtype.kind != "f" or np.asarray(a).shape != np.asarray(b).shape:
                continue
            with np.errstate(invalid="ignore"):
                far = _AMPLIFIED * np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64))
            finite = far[np.isfinite(far)]
            # An element that did not move by chance moves as its neighbours do.
            least = finite.max() / 8 if finite.size else 0.0
            slack[index] = np.maximum(np.maximum(slack[index], least), np.where(np.isnan(far), np.inf, far))
    return slack


def _moved(rng: np.random.Generator, array: Any) -> Any:
    step = _STEPS.get(array.dtype.name)
    if step is None:
        return array
    with np.errstate(invalid="ignore", over="ignore"):
        moved = array.astype(np.float64) * (1 + step * rng.uniform(-1, 1, array.shape))
        return moved.astype(array.dtype)
