"""What is decided by trying: lower precisions within a budget of accuracy, and what is faster, measured or estimated.

    model = within_budget(compilation, judge, model)     # the fastest that fits as a whole, else as much of it as fits
"""
