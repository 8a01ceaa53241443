"""Made-up inputs for a model that have a meaning, and the sizes of its symbolic dimensions.

    maker = InputMaker(model, Shapes(), seed=0)
    feeds = maker.feeds(sizes, run=0)      # ids below the table they index, masks with zeros, pages of text
"""
