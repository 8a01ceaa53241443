"""Rewrites that leave a smaller graph in standard ONNX operators: rule files and the passes beside them.

    geoc model.onnx --passes identity,shapes,reshapes,transposes,pads,affine

A rule file holds one family of rules; a Python pass holds what needs more than a local pattern.
"""
