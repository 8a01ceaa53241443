"""``geoc bench A B ...``: how long models take beside each other, what they need, and what has changed since last time.

    found = compete({"a": a.run, "b": b.run}, Budget(seconds=10.0), seed=0)     # `rounds`: turns, ratios, intervals
"""
