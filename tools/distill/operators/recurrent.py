"""LSTM, GRU and RNN, one step after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from .base import Given, Lacking, Operator, at

_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "Relu": torch.relu,
    "Softsign": F.softsign,
    "Softplus": F.softplus,
}
Step = Callable[[Any, list[Any]], list[Any]]
"""What one step makes of its operand and the states: the new states, of which the first is the output."""


def _activations(node: Any, defaults: list[str], direction: int) -> list[Callable[[Any], Any]]:
    names = [str(name) for name in node.attr("activations") or []]
    names = names[direction * len(defaults) : (direction + 1) * len(defaults)] or defaults
    if missing := [name for name in names if name not in _ACTIVATIONS]:
        raise Lacking(f"the activation {missing[0]}")
    clip = node.attr("clip")
    return [_ACTIVATIONS[name] if not clip else _clipped(_ACTIVATIONS[name], clip) for name in names]


def _clipped(function: Callable[[Any], Any], clip: float) -> Callable[[Any], Any]:
    return lambda x: function(torch.clamp(x, -clip, clip))


def _lstm_step(node: Any, given: Given, direction: int) -> Step:
    """Gates in the order input, output, forget, cell."""
    w, r, bias, peepholes = given[1][direction], given[2][direction], at(given, 3), at(given, 7)
    f, g, h = _activations(node, ["Sigmoid", "Tanh", "Tanh"], direction)
    size = r.shape[1]
    b = 0 if bias is None else bias[direction][: 4 * size] + bias[direction][4 * size :]
    p_i, p_o, p_f = (0, 0, 0) if peepholes is None else peepholes[direction].split(size)

    def step(x: Any, states: list[Any]) -> list[Any]:
        hidden, cell = states
        i, o, forget, c = (x @ w.t() + hidden @ r.t() + b).split(size, -1)
        i = f(i + p_i * cell)
        forget = 1 - i if node.attr("input_forget") else f(forget + p_f * cell)
        cell = forget * cell + i * g(c)
        return [f(o + p_o * cell) * h(cell), cell]

    return step


def _gru_step(node: Any, given: Given, direction: int) -> Step:
    """Gates in the order update, reset, hidden."""
    w, r, bias = given[1][direction], given[2][direction], at(given, 3)
    f, g = _activations(node, ["Sigmoid", "Tanh"], direction)
    size = r.shape[1]
    own = torch.zeros(6 * size, dtype=w.dtype) if bias is None else bias[direction]
    wz, wr, wh = w.split(size)
    rz, rr, rh = r.split(size)
    b = own.split(size)
    before = node.attr("linear_before_reset")

    def step(x: Any, states: list[Any]) -> list[Any]:
        (hidden,) = states
        z = f(x @ wz.t() + hidden @ rz.t() + b[0] + b[3])
        reset = f(x @ wr.t() + hidden @ rr.t() + b[1] + b[4])
        recurrent = reset * (hidden @ rh.t() + b[5]) if before else (reset * hidden) @ rh.t() + b[5]
        return [(1 - z) * g(x @ wh.t() + recurrent + b[2]) + z * hidden]

    return step


def _rnn_step(node: Any, given: Given, direction: int) -> Step:
    w, r, bias = given[1][direction], given[2][direction], at(given, 3)
    (f,) = _activations(node, ["Tanh"], direction)
    size = r.shape[1]
    b = 0 if bias is None else bias[direction][:size] + bias[direction][size:]
    return lambda x, states: [f(x @ w.t() + states[0] @ r.t() + b)]


def _recurrence(make: Callable[[Any, Given, int], Step], count: int) -> Operator:
    """All directions of a cell with `count` states: every output, then the states after the last step."""

    def run(node: Any, given: Given) -> Any:
        x, lengths = given[0], at(given, 4)
        rows = bool(node.attr("layout"))  # the batch comes first
        x = x.transpose(0, 1) if rows else x
        kind, size = node.attr("direction"), given[2].shape[2]
        directions = 2 if kind == "bidirectional" else 1
        outputs, finals = [], []
        for direction in range(directions):
            states = []
            for index in range(count):
                first = at(given, 5 + index)
                if first is None:
                    states.append(torch.zeros(x.shape[1], size, dtype=x.dtype))
                else:
                    states.append(first.transpose(0, 1)[direction] if rows else first[direction])
            backwards = kind == "reverse" or direction == 1
            ys, states = _run(make(node, given, direction), x, states, lengths, backwards)
            outputs.append(ys)
            finals.append(states)
        y = torch.stack(outputs, 1)
        last = [torch.stack([states[index] for states in finals]) for index in range(count)]
        if rows:
            y, last = y.permute(2, 0, 1, 3), [state.transpose(0, 1) for state in last]
        return [y, *last][: len(node.outputs)]

    return Operator(run)


def _run(step: Step, x: Any, states: list[Any], lengths: Any, backwards: bool) -> tuple[Any, list[Any]]:
    """Outputs [steps, batch, size] and the last states; rows that have ended keep theirs and give zeros."""
    ys: list[Any] = [None] * x.shape[0]
    for t in reversed(range(x.shape[0])) if backwards else range(x.shape[0]):
        new = step(x[t], states)
        if lengths is None:
            states, ys[t] = new, new[0]
        else:
            runs = (t < lengths)[:, None]
            states = [torch.where(runs, a, b) for a, b in zip(new, states)]
            ys[t] = torch.where(runs, new[0], torch.zeros((), dtype=x.dtype))
    return torch.stack(ys), states


TABLE: dict[str, Operator] = {
    "LSTM": _recurrence(_lstm_step, 2),
    "GRU": _recurrence(_gru_step, 1),
    "RNN": _recurrence(_rnn_step, 1),
}
