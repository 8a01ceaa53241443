"""`geoc inspect`: what is in a model of any format, without compiling or running it.

    facts = facts_of("model.onnx", load_any("model.onnx"))
    print(text_of(facts))

`facts` collects one dictionary, which --json prints; `weights` looks at constants, `forms` at how the model is
quantized, cached and fused, `text` prints. Weights stay mapped: their types and sizes are read, and of what could be
equal a sample of their bytes.
"""
