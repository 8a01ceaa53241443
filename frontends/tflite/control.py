"""IF and WHILE, whose subgraphs become regions; composites, which become what they are made of."""

from __future__ import annotations

from ...ir.builder import Builder
from ...ir.core import Graph, Value
from ...ir.errors import FormatError, InvalidModel
from ...ir.infer import infer_nodes
from ...ir.types import BOOL, I64, tensor_type
from .call import Call, converts


@converts("IF")
def _if(call: Call) -> None:
    operands = [call.value(index) for index in range(1, len(call.inputs))]
    regions = {}
    for side in ("then", "else"):
        region = Graph(f"{side}_branch")
        results = call.scope.body(call.option(f"{side}_subgraph_index"), region, operands)
        _check_count(call, results)
        region.set_outputs(results, [f"{side}_{index}" for index in range(len(results))])
        regions[f"{side}_branch"] = region
    node = call.builder.node("If", [call.scalar(call.value(0))], outputs=len(call.outputs), regions=regions)
    for index, value in enumerate(node.outputs):
        call.give(value, index)


@converts("WHILE")
def _while(call: Call) -> None:
    """The condition is asked before the first round, and at the end of each one for the next."""
    condition, index = call.option("cond_subgraph_index"), call.option("body_subgraph_index")
    operands = [call.value(i) for i in range(len(call.inputs))]
    region = Graph("body")
    region.add_input("iteration", tensor_type(I64, ()))
    region.add_input("going", tensor_type(BOOL, ()))
    carried = [
        region.add_input(f"carried_{i}", tensor_type(info.dtype, info.dims()))
        for i, info in enumerate(call.scope.inputs_of(index))
        if info.dtype is not None
    ]
    results = call.scope.body(index, region, carried)
    _check_count(call, results)
    if len(results) != len(operands):
        raise InvalidModel(f"begins with {len(operands)} values, each round makes {len(results)}")
    going = _asked(call, condition, region, results)
    if going.producer is None or going.producer.graph is not region:
        going = Builder(region).op("Identity", going)
    region.set_outputs([going, *results], ["going_on", *(f"next_{i}" for i in range(len(results)))])
    first = _asked(call, condition, call.scope.graph, operands)
    node = call.builder.node("Loop", [None, first, *operands], outputs=len(results), regions={"body": region})
    infer_nodes([node])
    for place, value in enumerate(node.outputs):
        call.give(value, place)


def _asked(call: Call, index: int, graph: Graph, operands: list[Value]) -> Value:
    """What the subgraph of a condition says of these operands, a bool without dimensions."""
    found = call.scope.body(index, graph, operands)
    if len(found) != 1 or found[0].dtype not in (BOOL, None):
        raise FormatError(f"subgraph {index} is no condition")
    return call.scalar(found[0], Builder(graph))


def _check_count(call: Call, results: list[Value]) -> None:
    if len(results) != len(call.outputs):
        raise FormatError(f"has {len(call.outputs)} results, its subgraph {len(results)}")


@converts("STABLEHLO_COMPOSITE")
def _composite(call: Call) -> None:
    operands = [call.value(index) for index in range(len(call.inputs))]
    results = call.scope.body(call.option("decomposition_subgraph_index"), call.scope.graph, operands)
    _check_count(call, results)
    for index, value in enumerate(results):
        call.give(value, index)
