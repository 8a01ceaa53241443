"""Recurrent operators. Their states are variables, which become inputs and outputs of the graph (`variables`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...ir.builder import Builder
from ...ir.core import Graph, Value
from ...ir.errors import InvalidModel, UnsupportedModel
from ...ir.infer import infer_nodes
from ...ir.types import BOOL, F32, I64, tensor_type
from .call import Call, converts

_TANH = 4
# Operands of UNIDIRECTIONAL_SEQUENCE_LSTM (tensorflow/lite/kernels/lstm_shared.h), of gates in the order i, f, c, o.
_WEIGHTS, _RECURRENT, _PEEPHOLES, _BIASES = (1, 2, 3, 4), (5, 6, 7, 8), (9, 10, None, 11), (12, 13, 14, 15)
_PROJECTION, _STATES, _NORMS = (16, 17), (18, 19), (20, 21, 22, 23)
# The activations of ONNX's RNN by numbers of ActivationFunctionType; none is the line through zero.
_ACTIVATIONS = {0: "Affine", 1: "Relu", _TANH: "Tanh"}


@converts("UNIDIRECTIONAL_SEQUENCE_LSTM")
def _lstm(call: Call) -> None:
    """LSTM, where cells are cut off at `cell_clip` a loop: ONNX's operator cuts what enters the gates instead."""
    if any(map(call.has, (*_PROJECTION, *_NORMS))) or call.option("diagonal_recurrent_tensors"):
        raise UnsupportedModel("has a projection, or normalizes its layers")
    if call.option("activation") != _TANH:
        raise UnsupportedModel(f"has activation {call.option('activation')}")
    if call.info(0).quantization is not None:
        raise UnsupportedModel("computes with integers, whose tables of functions nothing else has")
    b, time_major = call.builder, call.option("time_major")
    x = call.real(0)
    if call.rank(0) != 3:
        raise InvalidModel(f"takes sequences of {call.rank(0)} dimensions")
    x = x if time_major else b.op("Transpose", x, perm=(1, 0, 2))
    gates = _gates(call)
    states = [call.state(index) for index in _STATES]
    clip, steps = call.option("cell_clip"), call.extent(x, 0)
    if not clip:
        outputs, hidden, cell = _by_operator(b, gates, x, states)
    elif steps == 1:
        given = b.op("Squeeze", _projected(b, gates, x), b.ints([0]))
        hidden, cell = _step(b, gates, given, states[0], states[1], clip)
        outputs = b.op("Unsqueeze", hidden, b.ints([0]))
    else:
        outputs, hidden, cell = _by_loop(b, gates, x, states, clip)
    for index, value in zip(_STATES, (hidden, cell)):
        call.keep(index, value)
    call.give(outputs if time_major else b.op("Transpose", outputs, perm=(1, 0, 2)))


class _Gates(NamedTuple):
    """In the order i, f, c, o. Where a file lacks i, it is what f leaves: 1 - sigmoid(z) = sigmoid(-z)."""

    weights: list[Value]  # [hidden, inputs] each
    recurrent: list[Value]  # [hidden, hidden] each
    biases: list[Value]  # [hidden] each
    peepholes: list[Value]  # of i, f and o, [hidden] each, or none
    hidden: int


def _gates(call: Call) -> _Gates:
    first = 0 if call.has(_WEIGHTS[0]) else 1
    shape = call.info(_RECURRENT[1]).shape
    if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
        raise InvalidModel(f"has recurrent weights of {list(shape)}")
    wanted = [(shape[0], s.shape[-1] if (s := call.info(_WEIGHTS[1])).shape else 0), shape, (shape[0],)]
    found = []
    for places, size in zip((_WEIGHTS, _RECURRENT, _BIASES), wanted):
        for place in places[first:]:
            if call.info(place).shape != size:
                raise InvalidModel(f"has {list(call.info(place).shape)} as operand {place}, not {list(size)}")
        found.append([call.real(place) for place in places[first:]])
    peepholes = [call.real(place) for place in _PEEPHOLES[first:] if place is not None and call.has(place)]
    if len(peepholes) not in (0, 3 - first):
        raise InvalidModel(f"has {len(peepholes)} peepholes")
    for parts in [*found, peepholes] if first else []:
        parts[:0] = [call.builder.op("Neg", part) for part in parts[:1]]
    return _Gates(found[0], found[1], found[2], peepholes, shape[0])


def _joined(b: Builder, parts: Sequence[Value]) -> Value:
    return b.op("Concat", *parts, axis=0)


def _by_operator(b: Builder, gates: _Gates, x: Value, states: list[Value]) -> tuple[Value, Value, Value]:
    """All outputs [steps, batch, hidden] and the last states, by ONNX's LSTM, whose gates are i, o, f, c."""

    def ordered(parts: list[Value]) -> list[Value]:
        i, f, c, o = parts
        return [i, o, f, c]

    zeros = b.const([0.0] * (4 * gates.hidden), F32)
    peepholes = None
    if gates.peepholes:
        of_input, of_forget, of_output = gates.peepholes
        peepholes = b.op("Unsqueeze", _joined(b, [of_input, of_output, of_forget]), b.ints([0]))
    lead = b.ints([0])
    operands = [
        x,
        *(b.op("Unsqueeze", _joined(b, ordered(parts)), lead) for parts in (gates.weights, gates.recurrent)),
        b.op("Unsqueeze", _joined(b, [*ordered(gates.biases), zeros]), lead),
        None,
        *(b.op("Unsqueeze", state, lead) for state in states),
        peepholes,
    ]
    attrs = {"hidden_size": gates.hidden}
    outputs, hidden, cell = b.node("LSTM", operands, attrs, outputs=3).outputs
    return b.op("Squeeze", outputs, b.ints([1])), b.op("Squeeze", hidden, lead), b.op("Squeeze", cell, lead)


def _projected(b: Builder, gates: _Gates, x: Value) -> Value:
    """What the inputs of all steps add to the gates."""
    product = b.op("MatMul", x, b.op("Transpose", _joined(b, gates.weights), perm=(1, 0)))
    return b.op("Add", product, _joined(b, gates.biases))


def _step(
    b: Builder, gates: _Gates, given: Value, hidden: Value, cell: Value, clip: float, recurrent: Value | None = None
) -> tuple[Value, Value]:
    """The next states, from what the inputs add to the gates [batch, 4 * hidden]."""
    if recurrent is None:
        recurrent = b.op("Transpose", _joined(b, gates.recurrent), perm=(1, 0))
    sums = b.op("Add", given, b.op("MatMul", hidden, recurrent))
    i, f, c, o = b.node("Split", [sums, b.ints([gates.hidden] * 4)], {"axis": 1}, outputs=4).outputs
    if gates.peepholes:
        i, f = (b.op("Add", z, b.op("Mul", cell, p)) for z, p in zip((i, f), gates.peepholes))
    cell = b.op("Add", b.op("Mul", b.op("Sigmoid", f), cell), b.op("Mul", b.op("Sigmoid", i), b.op("Tanh", c)))
    cell = b.op("Clip", cell, b.const(-clip, F32), b.const(clip, F32))
    if gates.peepholes:
        o = b.op("Add", o, b.op("Mul", cell, gates.peepholes[2]))
    return b.op("Mul", b.op("Sigmoid", o), b.op("Tanh", cell)), cell


def _by_loop(b: Builder, gates: _Gates, x: Value, states: list[Value], clip: float) -> tuple[Value, Value, Value]:
    given = _projected(b, gates, x)
    recurrent = b.op("Transpose", _joined(b, gates.recurrent), perm=(1, 0))
    body = Graph("step")
    place = body.add_input("iteration", tensor_type(I64, ()))
    going = body.add_input("going", tensor_type(BOOL, ()))
    before = [body.add_input(name, state.type) for name, state in zip(("hidden", "cell"), states)]
    inner = Builder(body, loc=b.loc)
    hidden, cell = _step(inner, gates, inner.op("Gather", given, place, axis=0), before[0], before[1], clip, recurrent)
    results = [inner.op("Identity", going), hidden, cell, inner.op("Identity", hidden)]
    body.set_outputs(results, ["going_on", "next_hidden", "next_cell", "output"])
    steps = b.op("Squeeze", b.op("Shape", x, start=0, end=1), b.ints([0]))
    node = b.node("Loop", [steps, None, *states], outputs=3, regions={"body": body})
    infer_nodes([node])
    return node.outputs[2], node.outputs[0], node.outputs[1]


@converts("UNIDIRECTIONAL_SEQUENCE_RNN")
def _rnn(call: Call) -> None:
    """Operands: x, weights [hidden, inputs], recurrent weights [hidden, hidden], a bias, the state."""
    activation = call.option("activation")
    if activation not in _ACTIVATIONS:
        raise UnsupportedModel(f"has activation {activation}")
    shape = call.info(2).shape
    if call.rank(0) != 3 or len(shape) != 2 or not shape[0]:
        raise InvalidModel(f"has recurrent weights of {list(shape)}")
    b, time_major = call.builder, call.option("time_major")
    x = call.real(0) if time_major else b.op("Transpose", call.real(0), perm=(1, 0, 2))
    lead = b.ints([0])
    weights = [b.op("Unsqueeze", call.real(place), lead) for place in (1, 2)]
    bias = b.op("Unsqueeze", _joined(b, [call.real(3), b.const([0.0] * shape[0], F32)]), lead)
    attrs: dict[str, object] = {"hidden_size": shape[0], "activations": (_ACTIVATIONS[activation],)}
    if activation == 0:
        attrs |= {"activation_alpha": (1.0,), "activation_beta": (0.0,)}
    state = b.op("Unsqueeze", call.state(4), lead)
    outputs, hidden = b.node("RNN", [x, *weights, bias, None, state], attrs, outputs=2).outputs
    call.keep(4, b.op("Squeeze", hidden, lead))
    outputs = b.op("Squeeze", outputs, b.ints([1]))
    call.give(outputs if time_major else b.op("Transpose", outputs, perm=(1, 0, 2)))


@converts("SVDF")
def _svdf(call: Call) -> None:
    """A convolution over time of low rank (Nakkiran et al., Interspeech 2015), one step of it.

    Each of `rank` * units filters turns x into a number; the state has the last ones of each, the newest behind. A
    unit is the sum of its filters' numbers, weighted by their age.
    """
    rank = call.option("rank")
    filters, memory = call.info(2).shape if len(call.info(2).shape) == 2 else (0, 0)
    if rank < 1 or not filters or filters % rank or not memory or call.rank(0) != 2:
        raise InvalidModel(f"has {filters} filters of rank {rank}")
    b, info = call.builder, call.info(4)
    old = call.dequantized(call.state(4), info)
    old = b.op("Reshape", old, b.ints([-1, filters, memory]))
    newest = b.op("Unsqueeze", b.op("MatMul", call.real(0), call.weights(1, (1, 0))), b.ints([2]))
    kept = b.op("Slice", old, b.ints([1]), b.ints([memory]), b.ints([2]))
    state = call.quantized(b.op("Reshape", b.op("Concat", kept, newest, axis=2), b.ints([-1, filters * memory])), info)
    call.keep(4, state)
    held = b.op("Reshape", call.dequantized(state, info), b.ints([-1, filters // rank, rank, memory]))
    weights = b.op("Reshape", call.real(2), b.ints([filters // rank, rank, memory]))
    result = b.op("ReduceSum", b.op("Mul", held, weights), b.ints([2, 3]), keepdims=0)
    if call.has(3):
        result = b.op("Add", result, call.real(3))
    call.give_real(result, 0, call.option("activation"))
