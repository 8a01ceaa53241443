"""Normalizations as primitives, which the passes that look for norms take together with what scales them; softmax."""

from __future__ import annotations

from .table import Made, Reading, reads, refused
from .xml import Layer


@reads("SoftMax", "Softmax")
def softmax(r: Reading, layer: Layer) -> Made:
    return r.b.op("Softmax", r.arg(layer, 0), axis=layer.int("axis", 1))


@reads("LogSoftmax")
def log_softmax(r: Reading, layer: Layer) -> Made:
    return r.b.op("LogSoftmax", r.arg(layer, 0), axis=layer.int("axis", 1))


@reads("MVN")
def mvn(r: Reading, layer: Layer) -> Made:
    """(x - mean) / sqrt(variance + eps), or / (sqrt(variance) + eps)."""
    if len(layer.inputs) < 2:
        raise refused(layer, "there is no form for its first version")
    x, axes = r.arg(layer, 0), r.vector(r.arg(layer, 1))
    spread = r.b.op("Sub", x, r.b.op("ReduceMean", x, axes))
    if not layer.flag("normalize_variance", True):
        return spread
    variance = r.b.op("ReduceMean", r.b.op("Mul", spread, spread), axes)
    epsilon = r.number(layer.float("eps"), x)
    if layer.choice("eps_mode", {"inside_sqrt": "in", "outside_sqrt": "out"}) == "in":
        return r.b.op("Div", spread, r.b.op("Sqrt", r.b.op("Add", variance, epsilon)))
    return r.b.op("Div", spread, r.b.op("Add", r.b.op("Sqrt", variance), epsilon))


@reads("BatchNormInference")
def batch_norm(r: Reading, layer: Layer) -> Made:
    given = r.args(layer)
    if len(given) != 5:
        raise refused(layer, f"it has {len(given)} operands")
    if layer.version == "opset1":
        given = [given[2], given[0], given[1], *given[3:]]
    return r.b.op("BatchNormalization", *given, epsilon=layer.float("epsilon"))


@reads("GroupNormalization")
def group_normalization(r: Reading, layer: Layer) -> Made:
    attrs = {"num_groups": layer.int("num_groups"), "epsilon": layer.float("epsilon")}
    return r.b.op("GroupNormalization", r.arg(layer, 0), r.arg(layer, 1), r.arg(layer, 2), **attrs)


@reads("RMS")
def rms(r: Reading, layer: Layer) -> Made:
    """x / sqrt(mean(x ** 2) + epsilon) * scale, over the last axis."""
    return r.b.op("RMSNormalization", r.arg(layer, 0), r.arg(layer, 1), epsilon=layer.float("epsilon"))


@reads("NormalizeL2")
def normalize_l2(r: Reading, layer: Layer) -> Made:
    x, axes = r.arg(layer, 0), r.vector(r.arg(layer, 1))
    total, epsilon = r.b.op("ReduceSumSquare", x, axes), r.number(layer.float("eps"), x)
    write = layer.choice("eps_mode", {"add": "Add", "max": "Max"})
    return r.b.op("Div", x, r.b.op("Sqrt", r.b.op(write, total, epsilon)))


@reads("LRN")
def lrn(r: Reading, layer: Layer) -> Made:
    if r.known_ints(layer, 1) != (1,):
        raise refused(layer, "it goes over other axes than the channels")
    numbers = {name: layer.float(name) for name in ("alpha", "beta", "bias")}
    return r.b.op("LRN", r.arg(layer, 0), size=layer.int("size"), **numbers)
