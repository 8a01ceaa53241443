"""Normalizations and softmax, in the forms that openvino's plugins fuse into one kernel."""

from __future__ import annotations

from typing import Any

from ...ir.core import Node
from .movement import positive
from .table import NoMapping, Translation, maps


@maps("Softmax")
def softmax(t: Translation, node: Node) -> Any:
    return t.o.softmax(t.arg(node, 0), node.attr("axis"))


@maps("LogSoftmax")
def log_softmax(t: Translation, node: Node) -> Any:
    return t.o.log_softmax(t.arg(node, 0), node.attr("axis"))


@maps("BatchNormalization")
def batch_normalization(t: Translation, node: Node) -> Any:
    if node.attr("training_mode"):
        raise NoMapping("it is in training mode")
    x = t.arg(node, 0)
    gamma, beta, mean, variance = (t.same_type(t.arg(node, i), x) for i in range(1, 5))
    return t.o.batch_norm_inference(x, gamma, beta, mean, variance, node.attr("epsilon"))


@maps("LayerNormalization")
def layer_normalization(t: Translation, node: Node) -> Any:
    x, scale, bias = t.arg(node, 0), t.arg(node, 1), t.option(node, 2)
    rank = t.rank(x)
    axes = t.i64(list(range(positive(node.attr("axis"), rank), rank)))
    made = t.o.mvn(x, axes, True, node.attr("epsilon"), "inside_sqrt")
    made = t.o.multiply(made, scale)
    made = made if bias is None else t.o.add(made, bias)
    if not any(value.uses for value in node.outputs[1:]):
        return [made]
    mean = t.o.reduce_mean(x, axes, True)
    spread = t.o.subtract(x, mean)
    variance = t.o.reduce_mean(t.o.multiply(spread, spread), axes, True)
    root = t.o.sqrt(t.o.add(variance, t.number(node.attr("epsilon"), x)))
    return [made, mean, t.o.divide(t.number(1, x), root)]


@maps("RMSNormalization", "SimplifiedLayerNormalization")
def rms_normalization(t: Translation, node: Node) -> Any:
    """As RMSFusion looks for it: x * (1 / sqrt(mean(x ** 2) + epsilon)) * scale."""
    if any(value.uses for value in node.outputs[1:]):
        raise NoMapping("its second output is used")
    x, scale = t.arg(node, 0), t.arg(node, 1)
    rank = t.rank(x)
    axes = t.i64(list(range(positive(node.attr("axis"), rank), rank)))
    mean = t.o.reduce_mean(t.o.power(x, t.number(2, x)), axes, True)
    root = t.o.sqrt(t.o.add(mean, t.number(node.attr("epsilon"), x)))
    made = t.o.multiply(x, t.o.divide(t.number(1, x), root))
    return t.o.multiply(made, scale)


@maps("GroupNormalization")
def group_normalization(t: Translation, node: Node) -> Any:
    """Over [batch, groups, rest], which GroupNormalizationFusion recognises; the CPU plugin would take its operator
    apart into more."""
    x, groups = t.arg(node, 0), node.attr("num_groups")
    dims = t.dims(x)
    made = t.o.mvn(t.reshape(x, [0, groups, -1]), t.i64([2]), True, node.attr("epsilon"), "inside_sqrt")
    open_sizes = dims[2:].count(None)
    if dims[1] is None:
        raise NoMapping("the number of channels is not fixed")
    if open_sizes <= 1:
        made = t.reshape(made, [0, dims[1], *(-1 if size is None else size for size in dims[2:])])
    else:
        made = t.o.reshape(made, t.shape_of(x), False)
    scale, bias = (t.shaped(node, index, [1, -1] + [1] * (len(dims) - 2)) for index in (1, 2))
    return t.o.add(t.o.multiply(made, scale), bias)


@maps("InstanceNormalization")
def instance_normalization(t: Translation, node: Node) -> Any:
    x = t.arg(node, 0)
    rank = t.rank(x)
    if rank < 3:
        raise NoMapping("there is nothing but channels")
    made = t.o.mvn(x, t.i64(list(range(2, rank))), True, node.attr("epsilon"), "inside_sqrt")
    scale, bias = (t.shaped(node, index, [1, -1] + [1] * (rank - 2)) for index in (1, 2))
    return t.o.add(t.o.multiply(made, scale), bias)


@maps("MeanVarianceNormalization")
def mean_variance_normalization(t: Translation, node: Node) -> Any:
    axes = node.attr("axes")
    return t.o.mvn(t.arg(node, 0), t.i64(list(axes if axes is not None else (0, 2, 3))), True, 1e-9, "outside_sqrt")


@maps("LpNormalization")
def lp_normalization(t: Translation, node: Node) -> Any:
    x = t.arg(node, 0)
    write = t.o.reduce_l1 if node.attr("p") == 1 else t.o.reduce_l2
    norm = write(x, t.i64([node.attr("axis")]), True)
    return t.o.divide(x, t.o.maximum(norm, t.number(1e-37, x)))  # zeros stay zeros


@maps("LRN")
def lrn(t: Translation, node: Node) -> Any:
    x = t.arg(node, 0)
    return t.o.lrn(
        x, t.i64([1]), node.attr("alpha"), node.attr("beta"), node.attr("bias"), node.attr("size")
    )
