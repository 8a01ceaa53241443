"""If and Loop: bodies are openvino models of their own, whose outer values come in as parameters."""

from __future__ import annotations

from typing import Any

from ...ir.core import Graph, Node
from .table import Translation, maps


def body(t: Translation, graph: Graph, stacked: int = 0) -> tuple[Any, Translation, list[Any], list[Any]]:
    """A region as an openvino model: with its translation, the parameters of its inputs, and its Results.

    The last `stacked` outputs get an axis in front, along which a loop joins them.
    """
    from .graph import translate

    inner = Translation(t)
    parameters = [inner.parameter(value) for value in graph.inputs]
    for value, parameter in zip(graph.inputs, parameters):
        inner.values[value] = parameter.output(0)
    translate(inner, graph)
    results = []
    for index, value in enumerate(graph.outputs):
        output = inner.value(value)
        if index >= len(graph.outputs) - stacked:
            output = inner.unsqueeze(output, [0])
        results.append(t.o.result(output))
    made = t.ov.Model(results, [*parameters, *inner.captured.values()], graph.name or "body")
    return made, inner, parameters, results


@maps("If")
def if_(t: Translation, node: Node) -> Any:
    made = t.o.if_op(t.arg(node, 0))
    sides = [body(t, node.regions[name]) for name in ("then_branch", "else_branch")]
    made.set_then_body(sides[0][0])
    made.set_else_body(sides[1][0])
    captured = {**sides[0][1].captured, **sides[1][1].captured}
    for value in captured:
        made.set_input(t.value(value), *(side[1].captured.get(value) for side in sides))
    return [made.set_output(a, b) for a, b in zip(sides[0][3], sides[1][3])]


@maps("Loop")
def loop(t: Translation, node: Node) -> Any:
    graph = node.regions["body"]
    carried = len(graph.inputs) - 2
    scans = len(graph.outputs) - 1 - carried
    count, going = t.option(node, 0), t.option(node, 1)
    count = t.i64(-1) if count is None else count
    going = t.ov.op.Constant(t.ov.Type.boolean, t.ov.Shape([]), [True]) if going is None else going
    inside, inner, parameters, results = body(t, graph, scans)
    ends = [result.input_value(0) for result in results]
    made = t.o.loop(t.out(count), t.out(going))
    made.set_function(inside)
    made.set_special_body_ports([0, 0])
    if graph.inputs[1].uses:
        made.set_merged_input(parameters[1], t.out(going), ends[0])
    else:
        inside.remove_parameter(parameters[1])
    for index in range(carried):
        made.set_merged_input(parameters[index + 2], t.arg(node, index + 2), ends[index + 1])
    for value, parameter in inner.captured.items():
        made.set_invariant_input(parameter, t.value(value))
    outputs = [made.get_iter_value(end, -1) for end in ends[1 : 1 + carried]]
    outputs += [made.get_concatenated_slices(end, 0, 1, 1, -1, 0) for end in ends[1 + carried :]]
    return outputs
