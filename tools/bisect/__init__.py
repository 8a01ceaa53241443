"""Which rewrite breaks a model: a test that is repeated over ever fewer rewrites, and the one shown before and after.

    with opened_case(settings, "ort", log) as case:
        found = search(case)            # Found: the rewrite, what confirms it, its region before and after
"""
