"""Palettes: weights as codes of a few bits that say which of a few numbers each one is.

    geoc model.onnx --passes "@O2,palettize{bits=4}" --calib samples.npz -o small.onnx

`kmeans` finds the numbers, `lookup` writes the look-up in standard operators, which a runtime computes once when it
loads the model, and finds it again; `palettize` is the pass.
"""
