"""Running nodes and small graphs at compile time: constant folding, and checks of rewrites by example.

    evaluate_node(node, [Tensor.of([1, 2], I64), Tensor.of(3, I64)])    # -> [Tensor(i64[2])]
    evaluate_graph(graph, [x, y])

Common operators run in numpy (numeric.py, movement.py), so that most models fold without loading a runtime. Others
run in onnxruntime as a model of one node, without optimizations (runtime.py). Both mean what onnxruntime's CPU
kernels mean. What can be run by neither raises CannotEvaluate with the reason.
"""

from __future__ import annotations

from .deferred import DeferredTensor, PackedTensor, reshaped
from .errors import CannotEvaluate
from .graphs import evaluate_graph
from .nodes import evaluate_node, is_absent, reads_nothing

__all__ = [
    "CannotEvaluate",
    "DeferredTensor",
    "PackedTensor",
    "evaluate_graph",
    "evaluate_node",
    "is_absent",
    "reads_nothing",
    "reshaped",
]
