"""Quantization: nodes that compute in 8-bit integers, weights of few bits, their scales, and what repairs accuracy.

`scheme` is the arithmetic of 8-bit integers, `observers` are the statistics that scales come from, `quantize` puts
QuantizeLinear and DequantizeLinear into the graph; `blocks` is the arithmetic of weights in blocks, `weight_only` its
pass. A lowering turns both into what its runtime executes.

    geoc model.onnx --passes "@O2,quantize{static=false}"
    geoc model.onnx --passes "@O2,quantize-weights{bits=4,block=32,method=rtn}"
"""
