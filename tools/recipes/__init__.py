"""Recipes, goals and limits: several forms of one model, made and measured beside each other, and the best one taken.

    recipe = find_recipe("edge")                       # or a file of the user's
    model = FormSearch(compilation, judge).model()     # the best for the goal within the budget and the limits

`recipe` reads files, `forms` says what a compilation runs for each form, `gains` guesses what it would gain, `clock`
times it, `limits` weighs it, `search` tries and chooses.
"""
