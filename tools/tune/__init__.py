"""`geoc tune`: a search among command lines, each tried in a process of its own, for the best within a bound.

    search = Search(order, space, executor, journal)
    search.run()                        # trials in batches, until the time or their number is over
    search.front()                      # what nothing else beats in both time (or size) and accuracy

`space` says what can be chosen, and the command line of each choice; `starts` are the choices that recipes and levels
make; `probe` finds once what the model offers; `worker` makes, weighs, times and scores one choice; `executors` run
workers here or through Dask; `journal` keeps what came out; `search` asks Optuna, `refine` looks beside the best;
`ending` times the best again in turn and writes the winner.
"""
