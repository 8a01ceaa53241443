"""LSTM, GRU and RNN as openvino's sequence operators, which have other axes in front and other orders of gates."""

from __future__ import annotations

from typing import Any

from ...ir.core import Node
from .table import NoMapping, Translation, maps

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_ACTIVATIONS = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}
_DIRECTIONS = {"forward": "FORWARD", "reverse": "REVERSE", "bidirectional": "BIDIRECTIONAL"}


@maps("LSTM", "GRU", "RNN")
def recurrent(t: Translation, node: Node) -> Any:
    """Y [length, directions, batch, hidden], the last state, and for an LSTM the last cell."""
    name, o = node.op.name, t.o
    gates, batch_first = _GATES[name], bool(node.attr("layout"))
    x, w, r = (t.arg(node, i) for i in range(3))
    directions = 2 if node.attr("direction") == "bidirectional" else 1
    hidden = node.attr("hidden_size") or t.static(r, 2, "the size of the state")
    x = x if batch_first else t.transpose(x, [1, 0, 2]).output(0)
    batch = t.size_at(x, 0)
    lengths = t.option(node, 4)
    if lengths is None:
        lengths = o.broadcast(t.size_at(x, 1), batch)
    states = [_state(t, node, i, x, batch, directions, hidden) for i in ((5, 6) if name == "LSTM" else (5,))]
    if name == "LSTM":
        if t.option(node, 7) is not None:
            raise NoMapping("it has peepholes")
        if node.attr("input_forget"):
            raise NoMapping("its input and forget gates are coupled")
        w, r = (_lstm_order(t, weights) for weights in (w, r))
    bias = _bias(t, node, x, directions, hidden, gates)
    given = {
        "hidden_size": hidden, "direction": _DIRECTIONS[node.attr("direction")],
        "activations": _activations(node, directions), "clip": node.attr("clip") or 0.0,
        "activations_alpha": list(node.attr("activation_alpha") or ()),
        "activations_beta": list(node.attr("activation_beta") or ()),
    }  # fmt: skip
    if name == "GRU":
        given["linear_before_reset"] = bool(node.attr("linear_before_reset"))
    write = {"LSTM": o.lstm_sequence, "GRU": o.gru_sequence, "RNN": o.rnn_sequence}[name]
    all_steps, *last = write(x, *states, lengths, w, r, bias, **given).outputs()
    # [batch, directions, length, hidden], the last states [batch, directions, hidden]
    made = [t.transpose(all_steps, [0, 2, 1, 3] if batch_first else [2, 1, 0, 3])]
    made += [state if batch_first else t.transpose(state, [1, 0, 2]) for state in last]
    return made[: len(node.outputs)]


def _state(t: Translation, node: Node, index: int, x: Any, batch: Any, directions: int, hidden: int) -> Any:
    given = t.option(node, index)
    if given is not None:
        return given if node.attr("layout") else t.transpose(given, [1, 0, 2])
    return t.o.broadcast(t.number(0, x), t.o.concat([batch, t.i64([directions, hidden])], 0))


def _lstm_order(t: Translation, weights: Any) -> Any:
    """[directions, 4 * hidden, ...] from ONNX's order of gates, iofc, to openvino's, fico."""
    i, o, f, c = t.o.split(weights, t.i64(1), 4).outputs()
    return t.o.concat([f, i, c, o], 1)


def _bias(t: Translation, node: Node, x: Any, directions: int, hidden: int, gates: int) -> Any:
    """[directions, gates * hidden], for a GRU that resets late [directions, 4 * hidden]."""
    bias = t.option(node, 3)
    late = node.op.name == "GRU" and bool(node.attr("linear_before_reset"))
    if bias is None:
        return t.o.broadcast(t.number(0, x), t.i64([directions, (gates + late) * hidden]))
    of_input, of_state = t.o.split(bias, t.i64(1), 2).outputs()
    if late:
        two = t.i64([2 * hidden, hidden])
        first, own = t.o.variadic_split(of_input, t.i64(1), two).outputs()
        second, reset = t.o.variadic_split(of_state, t.i64(1), two).outputs()
        return t.o.concat([t.o.add(first, second), own, reset], 1)
    both = t.o.add(of_input, of_state)
    return _lstm_order(t, both) if node.op.name == "LSTM" else both


def _activations(node: Node, directions: int) -> list[str]:
    usual = _ACTIVATIONS[node.op.name]
    given = [name.lower() for name in node.attr("activations") or usual * directions][: len(usual) * directions]
    each = given[: len(usual)]
    if given != each * directions:
        raise NoMapping("its directions have different activations")
    if any(name not in ("sigmoid", "tanh", "relu") for name in each):
        raise NoMapping(f"its activations are {', '.join(each)}")
    return each
