"""What quantization costs, on samples: each quantized value by itself, and each layer beside the original's.

Which value of the original a value corresponds to is found by what they hold: names and nodes are not the same after a
compiler has been through a model. Both run on a sample or two, and of values of equal shapes the one is taken that is
nearest, as long as it is near at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ...ir.core import Model, Node, Value
from ...ir.tensor import Array, Tensor
from ...passes.base import Observe
from ...passes.quantize.difference import Distance, distance_of, distances
from ...passes.quantize.observers import Count, Several, Statistics
from .layers import Activation, Found, Layer

_POSITIONS = 256  # elements that values are compared by
_TRIED = 2  # samples on which corresponding values are looked for
_NEAR = 0.5  # relative distance up to which values correspond
_ACTIVE = 0.05  # of the numbers outside of what codes stand for, from which on the quantizer stands for an activation
_SIX = 0.1  # how far from 6 the codes of a Relu6 may end
_STEPS = 4  # nodes behind a layer whose result may correspond instead: a bias, an activation, another layout


class RoundTrip(Statistics):
    """An observer of a value in front of a quantizer: what is cut off, and how far what comes back is from it.

    QuantizeLinear and DynamicQuantizeLinear as ONNX defines them: saturate(round(x / scale) + zero point), ties to
    even, in float32.
    """

    grows = ("low", "high", "count", "outside", "plain", "active")

    def __init__(self, activation: Activation) -> None:
        self.activation = activation
        self.low, self.high = np.inf, -np.inf  # of what was seen
        self.count = self.outside = 0
        self.plain, self.active = np.zeros(3), np.zeros(3)  # cut off, squares of errors and of numbers
        bits = activation.bits
        signed = activation.dtype.startswith("i")
        self.least, self.most = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)

    @property
    def settings(self) -> str:
        given = self.activation
        numbers = [None if part is None else part.tobytes() for part in (given.scale, given.zero)]
        return f"RoundTrip {given.dtype} {given.axis} {numbers}"

    def add(self, array: Array) -> None:
        """Take in the value on one sample. Raises ValueError for NaN and infinity."""
        if not array.size:
            return
        x = array.astype(np.float32)
        if not np.isfinite(x).all():
            raise ValueError("it holds NaN or infinity")
        scale, zero = self._affine(x)
        self.count += x.size
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))
        self.plain = self.plain + self._trip(x, scale, zero)
        bounds = self._bounds()
        if bounds is not None:
            inside = np.clip(x, *bounds)
            self.outside += int((inside != x).sum())
            self.active = self.active + self._trip(inside, scale, zero)

    def _trip(self, x: Array, scale: Array, zero: Array) -> Array:
        """How many numbers are cut off, and the sums of squares of the errors and of the numbers."""
        with np.errstate(over="ignore"):  # what is beyond all codes is cut off, infinity as well
            codes = np.rint(x / scale) + zero
        clipped = int(((codes < self.least) | (codes > self.most)).sum())
        back = (np.clip(codes, self.least, self.most) - zero) * scale
        squares = (float(np.square(numbers, dtype=np.float64).sum()) for numbers in (x - back, x))
        return np.array([clipped, *squares])

    def _bounds(self) -> tuple[float, float] | None:
        """Of the activation that the quantizer may stand for: a Relu if codes begin at 0, a Relu6 if they end at 6."""
        ends = self.represented
        if ends is None or ends[0] != 0.0:
            return None
        return 0.0, 6.0 if abs(ends[1] - 6.0) < _SIX else np.inf

    @property
    def activates(self) -> bool:
        """True if so much lies outside of these bounds that cutting it off is what it is for."""
        return self.outside > _ACTIVE * self.count

    @property
    def clipped(self) -> float:
        """The share of the numbers that no code stands for, those apart that an activation takes away."""
        return float((self.active if self.activates else self.plain)[0] / self.count) if self.count else 0.0

    def _affine(self, x: Array) -> tuple[Array, Array]:
        given = self.activation
        if given.scale is None or given.zero is None:
            low, high = np.float32(min(0.0, float(x.min()))), np.float32(max(0.0, float(x.max())))
            scale = np.float32((high - low) / np.float32(self.most - self.least)) or np.float32(1)
            return np.asarray(scale), np.asarray(np.clip(np.rint(self.least - low / scale), self.least, self.most))
        if given.axis is None:
            return given.scale.reshape(()), given.zero.reshape(()).astype(np.float32)
        shape = [-1 if i == given.axis % x.ndim else 1 for i in range(x.ndim)]
        return given.scale.reshape(shape), given.zero.reshape(shape).astype(np.float32)

    @property
    def represented(self) -> tuple[float, float] | None:
        """The smallest and the largest number with a code; None where each run has its own."""
        if self.activation.scale is None or self.activation.zero is None:
            return None
        steps = np.array([self.least, self.most])[:, None] - self.activation.zero.reshape(-1)
        ends = steps * self.activation.scale.reshape(-1).astype(np.float64)
        return float(ends.min()), float(ends.max())

    @property
    def alone(self) -> Distance | None:
        """The error that this quantization makes by itself, of all samples together; None where nothing was seen."""
        _, noise, signal = self.active if self.activates else self.plain
        return None if not self.count else _distance(float(noise), float(signal))


@dataclass
class Measured:
    """What samples say. A layer or value that corresponds to nothing of the original is in no mapping."""

    samples: int = 0
    alone: dict[Node, RoundTrip] = field(default_factory=dict)  # by quantizer
    outputs: dict[Node, Distance] = field(default_factory=dict)  # by layer
    inputs: dict[Node, Distance] = field(default_factory=dict)  # by quantizer: its value, beside the original's
    weights: dict[Node, Distance] = field(default_factory=dict)  # by layer
    clipped: dict[Node, float] = field(default_factory=dict)  # by layer: the share of its weights without a near code
    total: Distance | None = None  # of the outputs of the model, the largest


def measure(
    found: Found, model: Model, original: Model | None, observe: Observe, limit: int | None = None
) -> Measured:
    """Run both on samples. Raises UsageError where one does not run, or the models have different inputs."""
    result = Measured()
    trips = {activation.quantizer: RoundTrip(activation) for activation in found.activations}
    counter = Count()
    by_value: dict[Value, list[Statistics]] = {}
    for trip in trips.values():
        by_value.setdefault(trip.activation.value, []).append(trip)
    observe(model, dict.fromkeys(model.graph.inputs[:1], counter), limit)
    observe(model, {value: Several(members) for value, members in by_value.items()}, limit)
    result.alone = {node: trip for node, trip in trips.items() if trip.count}
    result.samples = counter.count
    if original is not None:
        _compare(found, model, original, observe, limit, result)
    return result


def _compare(
    found: Found, model: Model, original: Model, observe: Observe, limit: int | None, result: Measured
) -> None:
    """Errors of layers, of quantized values, of weights and of outputs beside the original's."""
    chains = {layer.node: _chain(layer) for layer in found.layers}
    wanted = dict.fromkeys(value for chain in chains.values() for value in chain)
    wanted.update(dict.fromkeys(activation.value for activation in found.activations))
    twins = _twins(model, original, wanted, observe)
    pairs: dict[tuple[Value, Value], int | None] = {}
    of_layer = {node: next((v for v in chain if v in twins), None) for node, chain in chains.items()}
    for activation in found.activations:
        if activation.value in twins:
            pairs[twins[activation.value], activation.value] = None
    for node, value in of_layer.items():
        if value is not None:
            pairs[twins[value], value] = 1 if "Conv" in node.op.name else -1
    both = zip(original.graph.outputs, model.graph.outputs)
    outputs = [(a, b) for a, b in both if a.dtype is b.dtype and _is_float(a)]
    wholes = {pair: None for pair in outputs if pair not in pairs}
    numbers = dict(zip([*pairs, *wholes], distances(original, model, {**pairs, **wholes}, observe, limit)))
    of_value = {value: numbers[twin, value] for twin, value in pairs}
    result.outputs = {node: of_value[value] for node, value in of_layer.items() if value in of_value}
    result.inputs = {a.quantizer: of_value[a.value] for a in found.activations if a.value in of_value}
    result.total = max((numbers[pair] for pair in outputs), key=lambda distance: distance.l2, default=None)
    for layer in found.layers:
        value = of_layer[layer.node]
        weight = None if value is None else _weight_error(layer, twins[value])
        if weight is not None:
            result.weights[layer.node], result.clipped[layer.node] = weight


def _is_float(value: Value) -> bool:
    return value.dtype is not None and value.dtype.is_float and value.dtype.bits in (16, 32)


def _chain(layer: Layer) -> list[Value]:
    """A layer's result, and those of the nodes behind it that nobody else reads from."""
    found: list[Value] = []
    value = layer.output
    for _ in range(_STEPS):
        if value is None or not _is_float(value):
            break
        found.append(value)
        use = value.sole_use
        value = use[0].outputs[0] if use is not None and use[0].outputs and not use[0].regions else None
    return found


class _Print:
    """Some elements of a value, the same ones of all values of a shape."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.numbers: list[Array] = []

    def add(self, array: Array) -> None:
        self.shapes.append(array.shape)
        self.numbers.append(_some(array))

    def vector(self) -> Array:
        return np.concatenate(self.numbers) if self.numbers else np.zeros(0)


def _some(array: Array) -> Array:
    flat = array.reshape(-1)
    positions = np.random.default_rng(flat.size).integers(0, max(1, flat.size), _POSITIONS)
    return flat[positions].astype(np.float64) if flat.size else np.zeros(0)


def _twins(model: Model, original: Model, wanted: Iterable[Value], observe: Observe) -> dict[Value, Value]:
    """For values of the model the nearest of the original, where one is near."""
    ours = {value: _Print() for value in wanted}
    theirs = {value: _Print() for node in original.graph for value in node.outputs if _is_float(value)}
    theirs.update({value: _Print() for value in original.graph.inputs if _is_float(value)})
    if not ours or not theirs:
        return {}
    observe(model, ours, _TRIED)
    observe(original, theirs, _TRIED)
    by_shape: dict[tuple[tuple[int, ...], ...], list[Value]] = {}
    for value, found in theirs.items():
        by_shape.setdefault(tuple(found.shapes), []).append(value)
    result: dict[Value, Value] = {}
    for value, found in ours.items():
        vector = found.vector()
        size = np.linalg.norm(vector)
        near = [(_far(theirs[twin].vector(), vector), twin) for twin in by_shape.get(tuple(found.shapes), ())]
        best = min(near, key=lambda item: item[0], default=None)  # of equal ones the first
        if best is not None and size and best[0] <= _NEAR:
            result[value] = best[1]
    return result


def _far(expected: Array, got: Array) -> float:
    size = float(np.linalg.norm(expected))
    return float(np.linalg.norm(got - expected)) / size if size else np.inf


def _weight_error(layer: Layer, twin: Value) -> tuple[Distance, float] | None:
    """The weight beside that of the original's layer, found in front of the value that the layer's corresponds to.

    With it comes the share of the original's numbers that lie beyond all codes, by more than half a step.

    None where that has none of as many elements which is near: scales and channels may have been moved about.
    """
    decode = layer.weight.decode
    if decode is None:
        return None
    for constant in _constants_before(twin):
        if constant.size != layer.weight.count or not constant.dtype.is_float:
            continue
        (mine, low, high), original = decode(), constant.read().astype(np.float32)
        half = (high - low) / (2 * ((1 << layer.weight.bits) - 1))
        for candidate in (original, original.T):
            if candidate.shape == mine.shape and _far(_some(candidate), _some(mine)) <= _NEAR:
                noise = float(np.square(mine - candidate, dtype=np.float64).sum())
                clipped = ((candidate < low - half) | (candidate > high + half)).mean()
                return _distance(noise, float(np.square(candidate, dtype=np.float64).sum())), float(clipped)
    return None


def _constants_before(value: Value) -> Iterable[Tensor]:
    node = value.producer
    for _ in range(_STEPS):
        if node is None:
            return
        found = [v.const for v in node.inputs if v is not None and v.const is not None and len(v.const.shape) > 1]
        for v in node.inputs:  # a matrix may be turned by a node of its own
            maker = None if v is None else v.producer
            if maker is not None and maker.op.name == "Transpose" and maker.inputs[0] is not None:
                inner = maker.inputs[0].const
                found += [inner] if inner is not None else []
        yield from found
        first = next((v for v in node.inputs if v is not None and v.producer is not None), None)
        node = first.producer if first is not None else None


def _distance(noise: float, signal: float) -> Distance:
    return distance_of(np.array([noise]), np.array([signal]))
