"""Precision: which nodes compute in half precision, from the ranges of values and a minimum cut.

    geoc model.onnx --passes "@O2,autocast{to=fp16}"
"""
