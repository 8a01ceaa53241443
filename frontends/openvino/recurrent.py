"""LSTM, GRU and RNN sequences and cells: other axes in front and other orders of gates than ONNX has."""

from __future__ import annotations

from typing import Any

from ...ir.core import Value
from ...ir.infer import content_of
from ...ir.types import I32
from .table import Made, Reading, reads, refused
from .xml import Layer

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_USUAL = {"LSTM": "sigmoid,tanh,tanh", "GRU": "sigmoid,tanh", "RNN": "tanh"}
_ACTIVATIONS = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}
_DIRECTIONS = {name: name for name in ("forward", "reverse", "bidirectional")}


@reads("LSTMSequence", "GRUSequence", "RNNSequence")
def sequence(r: Reading, layer: Layer) -> Made:
    """x [batch, length, inputs], states [batch, directions, hidden], weights [directions, gates * hidden, ...]."""
    name = layer.type.removesuffix("Sequence")
    x, *rest = r.args(layer)
    count = 2 if name == "LSTM" else 1
    if len(rest) != count + 4:
        raise refused(layer, f"it has {len(rest) + 1} operands")
    direction = layer.choice("direction", _DIRECTIONS, "forward")
    made = _run(r, layer, name, x, rest[:count], rest[count], rest[count + 1 :], direction)
    return [r.transpose(made[0], [2, 1, 0, 3]), *(r.transpose(state, [1, 0, 2]) for state in made[1:])]


@reads("LSTMCell", "GRUCell", "RNNCell")
def cell(r: Reading, layer: Layer) -> Made:
    """One step: x [batch, inputs], states [batch, hidden], weights [gates * hidden, ...]."""
    name = layer.type.removesuffix("Cell")
    x, *rest = r.args(layer)
    count = 2 if name == "LSTM" else 1
    if len(rest) != count + 3 or (name == "LSTM" and layer.version == "opset1"):
        raise refused(layer, f"there is no form for {layer.version} with {len(rest) + 1} operands")
    states = [r.unsqueeze(state, [1]) for state in rest[:count]]
    weights = [r.unsqueeze(each, [0]) for each in rest[count:]]
    made = _run(r, layer, name, r.unsqueeze(x, [1]), states, None, weights, "forward")
    return [r.b.op("Squeeze", state, r.b.ints([0])) for state in made[1:]]


def _run(
    r: Reading, layer: Layer, name: str, x: Value, states: list[Value], lengths: Value | None, weights: list[Value],
    direction: str,
) -> list[Value]:  # fmt: skip
    """Y [length, directions, batch, hidden] and the last states [directions, batch, hidden]."""
    w, recurrence, bias = weights
    hidden, directions = layer.int("hidden_size"), 2 if direction == "bidirectional" else 1
    late = name == "GRU" and layer.flag("linear_before_reset")
    if name == "LSTM":
        w, recurrence, bias = (_onnx_order(r, value) for value in (w, recurrence, bias))
    said = [part.strip().lower() for part in layer.text("activations", _USUAL[name]).split(",")]
    if (
        any(part not in _ACTIVATIONS for part in said)
        or layer.floats("activations_alpha")
        or layer.floats("activations_beta")
    ):
        raise refused(layer, f"there is no form for its activations {', '.join(said)[:60]}")
    attrs: dict[str, Any] = {
        "hidden_size": hidden, "direction": direction, "clip": layer.float("clip", 0.0) or None,
    }  # fmt: skip
    if said != _USUAL[name].split(","):
        attrs["activations"] = tuple(_ACTIVATIONS[part] for part in said * directions)
    if name == "GRU":
        attrs["linear_before_reset"] = int(late)
    if directions * hidden * 8 > 1 << 24 or hidden < 1:
        raise refused(layer, f"there is no form for {hidden} elements of state")
    inner = r.transpose(x, [1, 0, 2])
    operands = [
        inner, w, recurrence, _bias(r, name, bias, directions, hidden, late), _lengths(r, lengths, x),
        *(r.transpose(state, [1, 0, 2]) for state in states),
    ]  # fmt: skip
    return list(r.b.node(name, operands, attrs, outputs=1 + len(states)).outputs)


def _onnx_order(r: Reading, weights: Value) -> Value:
    """[directions, 4 * hidden, ...] from the order of gates fico to ONNX's, iofc."""
    f, i, c, o = r.b.node("Split", [weights], {"axis": 1, "num_outputs": 4}, outputs=4).outputs
    return r.b.op("Concat", i, o, f, c, axis=1)


def _bias(r: Reading, name: str, bias: Value, directions: int, hidden: int, late: bool) -> Value:
    """[directions, 2 * gates * hidden], with zeros for the second half, which was added to the first."""
    if not late:
        zeros = r.b.const([[0.0] * (_GATES[name] * hidden)] * directions, bias.dtype)
        return r.b.op("Concat", bias, zeros, axis=1)
    first, last = r.b.node("Split", [bias, r.b.ints([3 * hidden, hidden])], {"axis": 1}, outputs=2).outputs
    zeros = r.b.const([[0.0] * (2 * hidden)] * directions, bias.dtype)
    return r.b.op("Concat", first, zeros, last, axis=1)


def _lengths(r: Reading, lengths: Value | None, x: Value) -> Value | None:
    """i32 [batch]; None where every row is as long as the input."""
    whole = None if x.shape is None else x.shape[1]
    if lengths is None or whole is None:
        return None if lengths is None else r.cast(lengths, I32)
    source = lengths
    while source.producer is not None and source.producer.op.key in ("Expand", "Cast") and source.producer.inputs[0]:
        source = source.producer.inputs[0]
    content = content_of(source)
    if content is not None and content and all(size == whole for size in content):
        return None
    return r.cast(lengths, I32)
