"""The graph: its types, operators, text form, verifier, and the engine that rewrites it. Imports nothing else of geoc.

`core` holds values, nodes, graphs and models; `dims`, `types` and `tensor` what they are made of; `ops` the operators
as data; `infer` types and shapes; `builder` the one way to make nodes. On top of these stand `text` (the .gir form),
`equal`, `verify`, `evaluate` (running nodes at compile time) and `rewrite` (rules). `proto` is ONNX's wire format.

    >>> from geoc.ir.builder import Builder
    >>> from geoc.ir.core import Graph
    >>> from geoc.ir.dims import symbol
    >>> from geoc.ir.text import print_graph
    >>> from geoc.ir.types import F32, tensor_type
    >>> graph = Graph("main")
    >>> x = graph.add_input("x", tensor_type(F32, (symbol("B"), 3)))
    >>> b = Builder(graph)
    >>> graph.set_outputs([b.op("Mul", x, b.const(2.0, F32))], ["y"])
    >>> print(print_graph(graph))
    graph @main(%x: f32[B,3]) -> (%mul: f32[B,3] as "y") {
      weight %const: f32[] = 2.0
      %mul: f32[B,3] = Mul(%x, %const)
    }
"""
