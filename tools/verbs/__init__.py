"""The verbs that only look: dump, passes, rules, explain, match, targets, estimate, doctor.

    $ geoc dump model.onnx
"""
