"""Graphs that rows of dla.rules refuse, where `geoc rulecheck` does not make them up by itself: inputs and nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ...ir.rewrite.instances import Pick, instance_for

_SMALL = "%x: f16[1,4,32,32]"
_KERNEL = "weight %w: f16[4,4,3,3] = splat(1)\n"
_TWICE = "weight %s: f32[4] = [1.0, 1.0, 2.0, 2.0]\n"
GRAPHS: Final[dict[str, tuple[str, str]]] = {
    "dla_dynamic": ("%x: f16[N,4,8,8]", "%y = Relu(%x)"),
    "dla_batch": ("%x: f16[4097,1,1,1]", "%y = Relu(%x)"),
    "dla_batch_result": ("%x: f16[1,3,5000,1]", "weight %t: i64[4] = [5000, 3, 1, 1]\n%y = Reshape(%x, %t)"),
    "dla_size": ("%x: f16[1,3,9000,2]", "%y = MaxPool(%x) {kernel_shape=[2, 2], strides=[2, 2]}"),
    "dla_size_result": (
        "%x: f16[1,3,2,5000]",
        "weight %s: f32[4] = [1.0, 1.0, 2.0, 2.0]\n"
        '%y = Resize(%x, none, %s) {coordinate_transformation_mode="asymmetric", nearest_mode="floor"}',
    ),
    "dla_conv_stride": (_SMALL, _KERNEL + "%y = Conv(%x, %w) {strides=[9, 1]}"),
    "dla_conv_dilation": ("%x: f16[1,4,99,99]", _KERNEL + "%y = Conv(%x, %w) {dilations=[1, 33]}"),
    "dla_deconv_kernel": (_SMALL, "weight %w: f16[4,4,33,2] = splat(1)\n%y = ConvTranspose(%x, %w)"),
    "dla_deconv_stride": (_SMALL, _KERNEL + "%y = ConvTranspose(%x, %w) {strides=[33, 2]}"),
    "dla_product_size": ("%x: f16[1,8]", "weight %w: f16[8,8193] = splat(1)\n%y = MatMul(%x, %w)"),
    "dla_pool_window": (_SMALL, "%y = MaxPool(%x) {kernel_shape=[9, 2]}"),
    "dla_pool_stride": (_SMALL, "%y = AveragePool(%x) {kernel_shape=[2, 2], strides=[1, 17]}"),
    "dla_softmax_size": ("%x: f16[1,2,4,1025]", "%y = Softmax(%x) {axis=3}"),
    "dla_resize_linear": (
        _SMALL,
        'weight %s: f32[4] = [1.0, 1.0, 5.0, 1.0]\n%y = Resize(%x, none, %s) {mode="linear"}',
    ),
    "dla_resize_nearest": (_SMALL, _TWICE + '%y = Resize(%x, none, %s) {nearest_mode="ceil"}'),
    "dla_resize_coordinates": (
        _SMALL,
        _TWICE + '%y = Resize(%x, none, %s) {mode="linear", coordinate_transformation_mode="align_corners"}',
    ),
}


def _maker(inputs: str, nodes: str) -> Callable[[Pick], str]:
    def make(pick: Pick) -> str:
        return f"graph @main({inputs}) -> (%y) {{\n{nodes}\n}}"

    return make


for _row, _graph in GRAPHS.items():
    instance_for(_row)(_maker(*_graph))
