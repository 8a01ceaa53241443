"""`geoc distill TEACHER STUDENT`: trains the weights of a graph until it gives what another model gives.

    module = GraphModule(student, trainable(student))       # the graph as a module of torch
    train(module, ...)                                      # towards what the teacher gives
    module.put_back()                                       # the same graph with other weights, saved as any other

Needs torch (pip install 'geoc[distill]'); nothing here is imported before it is asked for.
"""
