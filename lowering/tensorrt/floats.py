"""What TensorRT multiplies in floats of 8 and 4 bits: E4M3 from compute capability 8.9 on, blocks from 10.0 on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...passes.quantize.small_floats import Floats

if TYPE_CHECKING:
    from ..targets import Hardware

# Of its ONNX parser, in which the first of each gives numbers and their scales.
_BLOCKS = {
    "nvfp4": ("trt::TRT_FP4DynamicQuantize", "DequantizeLinear"),
    "mxfp8": ("trt::TRT_MXFP8DynamicQuantize", "trt::TRT_MXFP8DequantizeLinear"),
}
# TensorRT-RTX 1.7 reads fp8 for a window of 4 x 8, and half precision for one of 7 x 7.
_TAPS = 32
# Product, softmax and product are one kernel for these sizes of a head (RTX 1.7: 8 to 256; NVIDIA's quantizer begins at
# 16).
_HEADS = (16, 256)
_LENGTH = 32  # of queries and keys from which on they are: 31 make 11 kernels, 32 make 5


def floats_on(hardware: Hardware) -> Floats:
    """As the rates of the hardware say."""
    if hardware.dla or "fp8" not in hardware.rates:
        return Floats()
    has_blocks = "fp4" in hardware.rates
    formats = frozenset({"fp8", *(_BLOCKS if has_blocks else ())})
    return Floats(formats, taps=_TAPS, heads=_HEADS, length=_LENGTH, blocks=_BLOCKS if has_blocks else {})
