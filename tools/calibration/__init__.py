"""Samples of the user, ``--calib``, and what is seen of a model's values while it runs on them.

    samples = open_samples("data.npz", model)
    observe(model, {value: observer}, samples.calibration(), write)
"""
