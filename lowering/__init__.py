"""IR and a target to files that a runtime loads. Imports `geoc.ir` and `geoc.passes`.

    from geoc.lowering.onnx import save_onnx
    save_onnx(model, "out.onnx", max_opset=26)
"""
