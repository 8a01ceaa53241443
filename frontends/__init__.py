"""Model files to IR, one folder a format. Frontends import `geoc.ir` and nothing else of geoc.

from geoc.frontends.onnx import load_onnx
model = load_onnx("model.onnx")
"""
