"""``geoc profile MODEL``: where the time goes, node by node, and where the estimate was wrong.

    recorded = record_onnxruntime(prepared, feeds, 1, Budget(3.0), seed=0, said=print)     # `events`
    record = profile_of(prepared, recorded, ...)                                          # `data`
"""
