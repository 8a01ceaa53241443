"""Is the result right: comparing it with the unoptimized model, and finding the rewrite to blame if it is not.

    judge = Judge(source_path, model, write, shapes, seed=0)
    verdict = judge.compare(optimized)
"""
