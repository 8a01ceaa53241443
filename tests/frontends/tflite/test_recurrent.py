"""Recurrent operators over several runs, whose states LiteRT keeps itself, against LiteRT or loops of numpy."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from geoc.frontends.tflite import load_tflite
from geoc.ir.errors import UnsupportedModel

from .building import File
from .running import run_model, runs

RNG = np.random.default_rng(6)
STEPS, INPUTS, HIDDEN = 5, 3, 4


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _weights(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def _lstm(clip: float, coupled: bool, peepholes: bool, time_major: bool, steps: int = STEPS) -> tuple[bytes, dict[str, Any]]:
    f, first = File(), int(coupled)
    p = {"w": _weights(4, HIDDEN, INPUTS), "r": 2 * _weights(4, HIDDEN, HIDDEN), "b": _weights(4, HIDDEN), "p": _weights(3, HIDDEN)}
    shape = (steps, 2, INPUTS) if time_major else (2, steps, INPUTS)
    absent = [-1] * first
    operands = [f.input("float32", shape)]
    for name in "wr":
        operands += absent + [f.const(part) for part in p[name][first:]]
    operands += absent + [f.const(part) for part in p["p"][first:]] if peepholes else [-1] * 3
    operands += absent + [f.const(part) for part in p["b"][first:]]
    operands += [-1, -1, *(f.tensor("float32", (2, HIDDEN), variable=True, name=name) for name in ("h", "c"))]
    y = f.op("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, [f.tensor("float32", (*shape[:2], HIDDEN))], "UnidirectionalSequenceLSTMOptions",
             FusedActivationFunction=4, CellClip=clip, TimeMajor=time_major)  # fmt: skip
    return f.data(y), p


def _lstm_by_hand(p: dict[str, Any], clip: float, coupled: bool, peepholes: bool, x: Any, h: Any, c: Any) -> Any:
    """x [steps, batch, inputs]; gates in the order i, f, c, o."""
    found = []
    for step in x.astype(np.float64):
        i, f, g, o = (step @ w.T + h @ r.T + b for w, r, b in zip(p["w"], p["r"], p["b"]))
        if peepholes:
            i, f = i + c * p["p"][0], f + c * p["p"][1]
        f = _sigmoid(f)
        i = 1 - f if coupled else _sigmoid(i)
        c = f * c + i * np.tanh(g)
        c = np.clip(c, -clip, clip) if clip else c
        h = _sigmoid(o + c * p["p"][2] if peepholes else o) * np.tanh(c)
        found.append(h)
    return np.stack(found), h, c


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("peepholes", [False, True])
@pytest.mark.parametrize(("clip", "steps"), [(0.0, STEPS), (0.6, STEPS), (0.6, 1)])
def test_lstm_over_three_runs(clip: float, steps: int, coupled: bool, peepholes: bool, time_major: bool) -> None:
    data, p = _lstm(clip, coupled, peepholes, time_major, steps)
    shape = (steps, 2, INPUTS) if time_major else (2, steps, INPUTS)
    feeds = [_weights(*shape) for _ in range(3)]
    found = runs(data, feeds)
    h = c = np.zeros((2, HIDDEN))
    for x, y in zip(feeds, found):
        expected, h, c = _lstm_by_hand(p, clip, coupled, peepholes, x if time_major else x.transpose(1, 0, 2), h, c)
        np.testing.assert_allclose(y, expected if time_major else expected.transpose(1, 0, 2), atol=1e-5)
    if clip and steps > 1:
        assert np.isclose(np.abs(c), clip).any()


def test_an_lstm_is_one_node_where_no_cell_is_cut_off() -> None:
    names = [node.op.name for node in load_tflite(_lstm(0.0, False, False, True)[0]).walk()]
    assert "LSTM" in names and "Loop" not in names
    model = load_tflite(_lstm(0.6, False, False, True)[0])
    assert "Loop" in [node.op.name for node in model.walk()]
    assert json.loads(model.metadata["state c"]) == {"input": "c", "output": "c_next", "initial": 0}


def test_an_lstm_of_integers_is_refused() -> None:
    f = File()
    operands = [f.input("int8", (1, 2, 3), scale=0.1), *(f.const(_weights(4, 3)) for _ in range(4)), *(f.const(_weights(4, 4)) for _ in range(4))]
    operands += [-1] * 3 + [f.const(_weights(4)) for _ in range(4)] + [-1, -1] + [f.tensor("int8", (1, 4), variable=True, scale=0.1) for _ in range(2)]
    y = f.op("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, [f.tensor("int8", (), scale=0.1)], "UnidirectionalSequenceLSTMOptions", FusedActivationFunction=4)
    with pytest.raises(UnsupportedModel, match="computes with integers"):
        load_tflite(f.data(y))


@pytest.mark.parametrize(("code", "function"), [(0, lambda x: x), (1, lambda x: np.maximum(x, 0)), (4, np.tanh)])
@pytest.mark.parametrize("time_major", [False, True])
def test_rnn_over_three_runs(code: int, function: Any, time_major: bool) -> None:
    f, w, r, b = File(), _weights(HIDDEN, INPUTS), 0.3 * _weights(HIDDEN, HIDDEN), _weights(HIDDEN)
    shape = (STEPS, 2, INPUTS) if time_major else (2, STEPS, INPUTS)
    operands = [f.input("float32", shape), f.const(w), f.const(r), f.const(b), f.tensor("float32", (2, HIDDEN), variable=True)]
    y = f.op("UNIDIRECTIONAL_SEQUENCE_RNN", operands, [f.tensor("float32", (*shape[:2], HIDDEN))], "SequenceRNNOptions",
             FusedActivationFunction=code, TimeMajor=time_major)  # fmt: skip
    feeds = [_weights(*shape) for _ in range(3)]
    h: Any = np.zeros((2, HIDDEN))
    for x, found in zip(feeds, runs(f.data(y), feeds)):
        expected = []
        for step in x if time_major else x.transpose(1, 0, 2):
            h = function(step @ w.T + h @ r.T + b)
            expected.append(h)
        np.testing.assert_allclose(found, np.stack(expected, 0 if time_major else 1), atol=1e-5)


@pytest.mark.parametrize("biased", [False, True])
def test_svdf_over_five_runs(biased: bool) -> None:
    rank, units, memory = 2, 3, 4
    f, w, t, b = File(), _weights(rank * units, INPUTS), _weights(rank * units, memory), _weights(units)
    operands = [f.input("float32", (2, INPUTS)), f.const(w), f.const(t), f.const(b) if biased else -1,
                f.tensor("float32", (2, rank * units * memory), variable=True)]  # fmt: skip
    y = f.op("SVDF", operands, [f.tensor("float32", (2, units))], "SVDFOptions", Rank=rank, FusedActivationFunction=1)
    feeds = [_weights(2, INPUTS) for _ in range(5)]
    held = np.zeros((2, rank * units, memory))
    for x, found in zip(feeds, runs(f.data(y), feeds)):
        held = np.concatenate([held[:, :, 1:], (x @ w.T)[:, :, None]], 2)
        sums = (held * t).sum(2).reshape(2, units, rank).sum(2) + (b if biased else 0)
        np.testing.assert_allclose(found, np.maximum(sums, 0), atol=1e-5)


def test_codes_of_a_variable_begin_with_the_zero_point() -> None:
    f = File()
    w, t = RNG.integers(-127, 128, (6, 3)).astype(np.int8), RNG.integers(-127, 128, (6, 4)).astype(np.int16)
    operands = [f.input("int8", (1, 3), scale=0.05, zero=3), f.const(w, scale=0.02), f.const(t, scale=0.01),
                f.const(np.array([100, -50, 7]), scale=0.0001), f.tensor("int16", (1, 24), variable=True, scale=0.01, name="held")]  # fmt: skip
    y = f.op("SVDF", operands, [f.tensor("int8", (1, 3), scale=0.1, zero=-128)], "SVDFOptions", Rank=2, FusedActivationFunction=1)
    feeds = [RNG.integers(-128, 128, (1, 3)).astype(np.int8) for _ in range(5)]
    assert len(runs(f.data(y), feeds)) == 5  # within a step of LiteRT's
    model = load_tflite(f.data(y))
    assert run_model(model, feeds[0], np.zeros((1, 24), np.int16))[1].dtype == np.int16
