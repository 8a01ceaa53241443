"""Clean-up: passes that make any model smaller without changing what it computes, whatever the target.

    infer                types of all values, and elements of small integer tensors
    fold                 nodes with known results become constants, unless the file would grow
    constant-if          an If whose condition is known is replaced by its branch
    constant-loop        a Loop of no trip or one trip is replaced by what it computes
    dce                  nodes, outputs and loop state that nobody uses
    cse                  equal computations happen once
    share-weights        equal constants, and transposed copies of them, are stored once
    hoist                what does not change between trips is computed before the loop

    from geoc.passes.clean.dce import Dce
    changed = Dce().run(model, Context())

Each file holds one pass and its documentation. All of them work on the main graph, on all nested regions and on the
bodies of functions, in time linear in the number of nodes.
"""
