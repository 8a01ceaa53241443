"""Low-rank splits: a weight W [inputs, outputs] becomes A [inputs, rank] and B [rank, outputs], two smaller products.

    geoc model.onnx --passes "@O1,low-rank{left=0.75},@O2" --calib samples.npz -o small.onnx

`layers` finds what can be split and puts the two products in its place, `factors` has the mathematics, `ranks` chooses
a rank for each layer, `lowrank` is the pass.
"""
