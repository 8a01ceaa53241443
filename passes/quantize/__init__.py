"""Quantization: which nodes compute in 8-bit integers, with which scales, and what repairs the accuracy.

`scheme` is the arithmetic, `observers` are the statistics that scales come from, `quantize` puts QuantizeLinear and
DequantizeLinear into the graph, and a lowering turns those into what its runtime executes.

    geoc model.onnx --passes "@O2,quantize{static=false}"
"""
