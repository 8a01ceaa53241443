"""Pruning: channels, heads and neurons go and smaller dense layers are left (`prune`), or single weights become zero.

    geoc model.onnx --passes "@O1,prune{left=0.8},@O2" --calib samples.npz -o small.onnx

`labels` are sets of indices that are cut together, `follow` finds them with the rules of `layers`, `shapes` and
`reshaping`, `families` says what can go, `measures` and `scores` what is lost, `cut` takes it out; `prune` is the pass.
`sparsify` is the other one, `patterns` what its zeros look like.
"""
