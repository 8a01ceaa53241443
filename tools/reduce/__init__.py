"""Making a failing model small, with the failure as the only guide: delta debugging on the graph.

    reducer = Reducer(run, "ort", outcome.kind)
    reducer.reduce(Candidate(model, feeds))
    reducer.best            # fails in the same way, with as few nodes as were needed
"""
