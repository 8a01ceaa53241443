"""Quantization: nodes that compute in integers or floats of 8 bits, weights of few bits, and what repairs accuracy.

`scheme` is the arithmetic of 8-bit integers, `observers` are the statistics that scales come from, `quantize` puts
QuantizeLinear and DequantizeLinear into the graph; `blocks` is the arithmetic of weights in blocks, `weight_only` its
pass; `minifloats` is the arithmetic of floats of 8 and 4 bits, `quantize_floats` its pass. A lowering turns all into
what its runtime executes.

    geoc model.onnx --passes "@O2,quantize{static=false}"
    geoc model.onnx --passes "@O2,quantize-weights{bits=4,block=32,method=rtn}"
    geoc model.onnx --target=h100 --passes "@O2,quantize-floats,autocast{to=fp16},cse,dce" --calib data.npz
"""
