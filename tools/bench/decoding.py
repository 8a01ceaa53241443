"""Decoders with a key-value cache: a prompt, then one token after the other, each the likeliest, caches handed on.

    plan = plan_of(model)                        # None for a model without caches
    decoder = plan.decoder(running, batch=1)
    with Stopwatch(threads=1) as watch:
        first, each, tokens = decoder.generate(prompt, 64, watch)   # seconds to the first token, and of each behind it

Timed is the run of the model and the choice of the next token, not the making of masks and positions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ...ir.core import Model
from ...ir.types import TensorType
from ...passes.caches import caches
from ..inputs.maker import InputMaker, fill
from ..inputs.shapes import Shapes, evaluate
from ..running.contender import InOnnxruntime, InOpenvino, Running, place
from ..running.stopwatch import Stopwatch

BEAM = "beam_idx"  # of stateful models: which row of the cache each row continues
_HIDDEN = -1e4
Make = Callable[[int, int, int], Any]
"""(batch, new tokens, tokens before) -> the array of an input."""


@dataclass
class Plan:
    """How to call a decoder. `ids` is the input for tokens, `table` how many tokens there are, `caches` the empty cache
    of each cache input for a batch, `continued` the output that each goes on in; `others` make every other input.
    """

    ids: str
    table: int
    logits: str
    caches: dict[str, Callable[[int], Any]] = field(default_factory=dict)
    continued: dict[str, str] = field(default_factory=dict)
    others: dict[str, Make] = field(default_factory=dict)

    def decoder(self, running: Running, batch: int) -> Decoder:
        """For a model that is loaded."""
        kind = _Openvino if isinstance(running, InOpenvino) else _Onnxruntime
        return kind(self, running, batch)

    def prompt(self, batch: int, length: int, seed: int) -> np.ndarray:
        """Made-up tokens."""
        return np.random.default_rng(seed).integers(0, min(self.table, 1000), (batch, length))

    def feeds(self, ids: np.ndarray, past: int) -> dict[str, Any]:
        """All inputs but caches, for tokens behind `past` others."""
        batch, length = ids.shape
        return {self.ids: ids, **{name: make(batch, length, past) for name, make in self.others.items()}}


def plan_of(model: Model, seed: int = 0) -> Plan | None:
    """How to call a model with caches; None for one that has none, or no input for tokens."""
    graph = model.graph
    found = caches(graph)
    ids = None
    maker = InputMaker(model, Shapes(), seed)
    if not found or maker.problem:
        return None
    for name, value in maker.inputs:
        meaning = maker.meanings[name]
        is_ints = value.rank == 2 and value.dtype is not None and value.dtype.is_int
        if is_ints and meaning.bounds and not meaning.position:
            ids = ids or name
    logits = next((name for place, name in enumerate(graph.output_names) if place not in found.values()), None)
    if ids is None or logits is None:
        return None
    bounds = [bound for bound in maker.meanings[ids].bounds if isinstance(bound, int)]
    plan = Plan(ids, min(bounds, default=1000), logits)
    for place_in, place_out in found.items():
        name, value = graph.input_names[place_in], graph.inputs[place_in]
        plan.caches[name] = _empty(value.type)
        plan.continued[name] = graph.output_names[place_out]
    for name, value in maker.inputs:
        if name != ids and name not in plan.caches:
            plan.others[name] = _maker_of(name, value.type, maker)
    return plan


def stateful_plan(running: InOpenvino) -> Plan | None:
    """How to call a model that OpenVINO keeps the caches of, by the names that such models have; None for another."""
    ids = next((name for name in running.inputs if name.endswith("input_ids")), None)
    if not running.is_stateful or ids is None:
        return None
    plan = Plan(ids, 1000, running.outputs[0])
    for name in running.inputs:
        if name == BEAM:
            plan.others[name] = lambda batch, length, past: np.arange(batch, dtype=np.int32)
        elif "mask" in name:
            plan.others[name] = lambda batch, length, past: np.ones((batch, past + length), np.int64)
        elif "position" in name:
            plan.others[name] = _positions
        elif name != ids:
            return None
    return plan


def _positions(batch: int, length: int, past: int) -> Any:
    return np.tile(np.arange(past, past + length), (batch, 1))


def _empty(type: Any) -> Callable[[int], Any]:
    """[batch, heads, 0, size]; a size that the model fixes is filled with zeros."""

    def make(batch: int) -> Any:
        assert isinstance(type, TensorType) and type.shape is not None
        sizes = [dim if isinstance(dim, int) else (batch if axis == 0 else 0) for axis, dim in enumerate(type.shape)]
        return np.zeros(sizes, type.dtype.numpy)

    return make


def _maker_of(name: str, type: Any, maker: InputMaker) -> Make:
    """Masks that hide nothing but what comes later, positions that go on, and whatever else is made up."""
    meaning = maker.meanings[name]
    assert isinstance(type, TensorType)
    kinds = dict(maker.symbols)

    def make(batch: int, length: int, past: int) -> Any:
        of = {"batch": batch, "sequence": length, "past": past, "total": past + length, "sum": past + length}
        sizes = {symbol: of.get(kind, 1) for symbol, kind in kinds.items()}
        dims = [evaluate(dim, sizes) for dim in type.shape or ()]
        shape = tuple(1 if dim is None else dim for dim in dims)
        dtype = type.dtype.numpy
        if meaning.position:
            return np.broadcast_to(np.arange(past, past + length), shape).astype(dtype)
        if (meaning.mask or meaning.additive) and len(shape) == 2:
            return np.ones((batch, past + length), dtype)
        if (meaning.mask or meaning.additive) and len(shape) == 4:
            seen = np.tri(length, past + length, past, dtype=bool)
            values = np.where(seen, 0.0, _HIDDEN) if type.dtype.is_float else seen
            return np.broadcast_to(values, (batch, shape[1], length, past + length)).astype(dtype)
        return fill(meaning, type, shape, sizes, 0, np.random.default_rng(0))

    return make


class Decoder:
    """Generates. Subclasses hold caches, and run the model once for some tokens."""

    def __init__(self, plan: Plan, running: Running, batch: int) -> None:
        self.plan, self.batch, self.past = plan, batch, 0
        self._types = running.inputs

    def clear(self) -> None:
        """Forget all tokens."""
        raise NotImplementedError

    def run(self, feeds: Mapping[str, Any]) -> np.ndarray:
        """Logits of the new tokens, the caches grown by them."""
        raise NotImplementedError

    def generate(self, prompt: np.ndarray, tokens: int, watch: Stopwatch) -> tuple[float, list[float], np.ndarray]:
        """Seconds to the first token, of each one behind it, and all that were chosen, [batch, tokens]."""
        self.clear()
        self.past = 0
        ids, seconds = prompt, []
        chosen: list[np.ndarray] = []
        for _ in range(tokens):
            made = self.plan.feeds(ids, self.past)
            feeds = {name: array.astype(self._types[name]) for name, array in made.items() if name in self._types}
            seconds.append(watch.time(partial(self._add_next, chosen, feeds)))
            self.past += ids.shape[1]
            ids = chosen[-1]
        return seconds[0], seconds[1:], np.concatenate(chosen, 1)

    def _add_next(self, chosen: list[np.ndarray], feeds: Mapping[str, Any]) -> None:
        """The likeliest token behind each row, [batch, 1]."""
        logits = self.run(feeds)
        chosen.append(logits.reshape(self.batch, -1, logits.shape[-1])[:, -1].argmax(-1)[:, None])


class _Onnxruntime(Decoder):
    def __init__(self, plan: Plan, running: Running, batch: int) -> None:
        super().__init__(plan, running, batch)
        assert isinstance(running, InOnnxruntime)
        self._session = running.session
        self._wanted = [plan.logits, *plan.continued.values()]
        self._state: dict[str, Any] = {}

    def clear(self) -> None:
        from onnxruntime import OrtValue

        empty = {name: make(self.batch) for name, make in self.plan.caches.items()}
        self._state = {name: OrtValue.ortvalue_from_numpy(array) for name, array in empty.items()}

    def run(self, feeds: Mapping[str, Any]) -> np.ndarray:
        from onnxruntime import OrtValue

        values = {name: OrtValue.ortvalue_from_numpy(array) for name, array in feeds.items()}
        logits, *grown = self._session.run_with_ort_values(self._wanted, {**values, **self._state})
        self._state = dict(zip(self.plan.continued, grown))
        found: np.ndarray = logits.numpy()
        return found


class _Openvino(Decoder):
    """Two requests take turns: each reads the caches where the other one left them."""

    def __init__(self, plan: Plan, running: Running, batch: int) -> None:
        super().__init__(plan, running, batch)
        assert isinstance(running, InOpenvino)
        self._requests = [running.request]
        if plan.caches:
            self._requests.append(running.compiled.create_infer_request())
        self._stateful = not plan.caches
        self._turn = 0

    def clear(self) -> None:
        self._turn = 0
        if self._stateful:
            self._requests[0].reset_state()
        else:
            place(self._requests[0], {name: make(self.batch) for name, make in self.plan.caches.items()})

    def run(self, feeds: Mapping[str, Any]) -> np.ndarray:
        now = self._requests[self._turn % len(self._requests)]
        self._turn += 1
        place(now, feeds)
        now.start_async()
        now.wait()
        if not self._stateful:
            following = self._requests[self._turn % 2]
            for name, output in self.plan.continued.items():
                following.set_tensor(name, now.get_tensor(output))
        found: np.ndarray = now.get_tensor(self.plan.logits).data
        return found
