"""Lossless fusions into standard ONNX operators: one rule file a family, with its natives in the module beside it.

    geoc model.onnx --passes @O1,activations,norms,attention

The result does not depend on which exporter spelled the model out; which runtime form an operator takes is for a
target's lowering to say.
"""
