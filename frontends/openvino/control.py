"""If, Loop and TensorIterator: bodies become regions, which use the values around them directly."""

from __future__ import annotations

from typing import NamedTuple
from xml.etree.ElementTree import Element

from ...ir.builder import Builder
from ...ir.core import Graph, Value
from ...ir.errors import FormatError, InvalidModel
from ...ir.infer import infer_nodes
from ...ir.types import BOOL, I64, TensorType, tensor_type
from .table import Made, Reading, reads, refused
from .xml import Layer, Net, number


class Link(NamedTuple):
    """A line of a port map: a port outside, a layer inside, and for slices the axis and the direction."""

    outer: int
    inner: int
    axis: int | None
    backwards: bool
    purpose: str


def _body(layer: Layer, name: str) -> Net:
    found = layer.element.find(name)
    if found is None:
        raise FormatError(f"{layer} has no {name}")
    return Net(found)


def _links(layer: Layer, group: str, tag: str) -> list[Link]:
    found = layer.element.find(group)
    return [_link(layer, each) for each in (() if found is None else found.findall(tag))]


def _link(layer: Layer, element: Element) -> Link:
    what = f"the port map of {layer}"
    axis = element.get("axis")
    if axis is not None and element.get("part_size", "1") != "1":
        raise refused(layer, "it goes by more than one element at a time")
    stride = number(element.get("stride", "1"), what)
    ends = element.get("start", "0"), element.get("end", "-1")
    if axis is not None and (stride, *ends) not in ((1, "0", "-1"), (-1, "-1", "0")):
        raise refused(layer, "it goes over a part of an axis")
    return Link(
        number(element.get("external_port_id"), what), number(element.get("internal_layer_id"), what),
        None if axis is None else number(axis, what), stride < 0, element.get("purpose", ""),
    )  # fmt: skip


def _outer(r: Reading, layer: Layer, link: Link) -> Value:
    if link.outer not in layer.inputs:
        raise FormatError(f"the port map of {layer} names port {link.outer}, which it does not have")
    return r.arg(layer, layer.inputs.index(link.outer))


@reads("If")
def if_(r: Reading, layer: Layer) -> Made:
    from .importer import read_body

    regions = {}
    for side in ("then", "else"):
        net, graph = _body(layer, f"{side}_body"), Graph(f"{side}_branch")
        given = {link.inner: _outer(r, layer, link) for link in _links(layer, f"{side}_port_map", "input")}
        results = read_body(r, net, graph, given)
        ends = {link.outer: link.inner for link in _links(layer, f"{side}_port_map", "output")}
        values = []
        for port in layer.outputs:
            if ends.get(port.id) not in results:
                raise FormatError(f"the {side} branch of {layer} gives nothing for port {port.id}")
            values.append(results[ends[port.id]])
        graph.set_outputs(values, [f"{side}_{place}" for place in range(len(values))])
        regions[f"{side}_branch"] = graph
    condition = r.arg(layer, 0)
    return r.b.node("If", [r.scalar(condition)], outputs=len(layer.outputs), regions=regions).outputs


@reads("Loop", "TensorIterator")
def loop(r: Reading, layer: Layer) -> Made:
    """Values that an edge leads back are carried, slices are taken inside, all other operands are used as they are."""
    from .importer import read_body

    net, body = _body(layer, "body"), Graph("body")
    step = body.add_input("iteration", tensor_type(I64, ()))
    body.add_input("condition", tensor_type(BOOL, ()))
    back = layer.element.find("back_edges")
    edges = {
        number(edge.get("to-layer"), f"an edge of {layer}"): number(edge.get("from-layer"), f"an edge of {layer}")
        for edge in (() if back is None else back.findall("edge"))
    }
    inner = Builder(body, loc=(layer.name,))
    inside = Reading(r.net, body, r.weights, r.root)
    inside.b = inner
    given: dict[int, Value] = {}
    carried: list[tuple[int, Value]] = []  # layers inside, and initial values
    trip: Value | None = None
    for link in _links(layer, "port_map", "input"):
        if link.inner not in net.layers or net.layers[link.inner].type != "Parameter":
            raise FormatError(f"the port map of {layer} names layer {link.inner}, which is no parameter inside")
        parameter = net.layers[link.inner]
        if link.purpose == "current_iteration":
            given[link.inner] = _like(inside, step, parameter)
            continue
        value = _outer(r, layer, link)
        if link.axis is not None:
            axis = r.axis(layer, link.axis, r.rank(layer, value))
            trip = r.scalar(r.size_at(value, axis)) if trip is None else trip
            place = step
            if link.backwards:
                last = r.b.op("Sub", r.scalar(r.size_at(value, axis)), r.number(1, step))
                place = inner.op("Sub", last, step)
            given[link.inner] = inner.op("Gather", value, inside.reshape(place, [1]), axis=axis)
        elif link.inner in edges:
            given[link.inner] = body.add_input(f"carried_{len(carried)}", _declared(parameter, value))
            carried.append((link.inner, value))
        else:
            given[link.inner] = value
    results = read_body(r, net, body, given)
    going: Value | None = None
    outer_condition: Value | None = None
    links = _links(layer, "port_map", "output")
    if layer.type == "Loop":
        count = r.scalar(r.cast(r.arg(layer, 0), I64))
        trip = None if count.const is not None and count.const.item() < 0 else count
        outer_condition = r.scalar(r.arg(layer, 1))
        if outer_condition.const is not None and outer_condition.const.item():
            outer_condition = None
        going = next((results.get(link.inner) for link in links if link.purpose == "execution_condition"), None)
    elif trip is None:
        raise refused(layer, "nothing says how often it runs")
    condition = inner.const(True, BOOL) if going is None else inside.scalar(going)
    scans: list[tuple[Link, Value]] = []
    places: dict[int, int] = {}  # ports outside to outputs of the node
    ends = [result for parameter, _ in carried for result in [edges[parameter]]]
    for end in ends:
        if end not in results:
            raise FormatError(f"an edge of {layer} leads from layer {end}, which is no result inside")
    for link in links:
        if link.purpose == "execution_condition":
            continue
        if link.inner not in results:
            raise FormatError(f"the port map of {layer} names layer {link.inner}, which is no result inside")
        if link.axis is None and link.inner in ends:
            places[link.outer] = ends.index(link.inner)
            continue
        value = results[link.inner]
        if link.axis is not None:
            axis = r.axis(layer, link.axis, r.rank(layer, value))
            value = inner.op("Squeeze", value, inner.ints([axis]))
        places[link.outer] = len(carried) + len(scans)
        scans.append((link, value))
    values = [inner.op("Identity", condition) if condition.const is not None else condition]
    values += [results[end] for end in ends] + [value for _, value in scans]
    body.set_outputs(values, [f"result_{place}" for place in range(len(values))])
    node = r.b.node(
        "Loop",
        [trip, outer_condition, *(value for _, value in carried)],
        outputs=len(values) - 1,
        regions={"body": body},
    )
    infer_nodes([node])
    return [_result(r, layer, node.outputs, places, port.id, len(carried), scans) for port in layer.outputs]


def _result(
    r: Reading, layer: Layer, made: tuple[Value, ...], places: dict[int, int], port: int, carried: int,
    scans: list[tuple[Link, Value]],
) -> Value:  # fmt: skip
    """An output of a Loop: a carried value, what a scan joined along its axis, or the last of it."""
    if port not in places:
        raise InvalidModel(f"nothing inside {layer} leads to its port {port}")
    place = places[port]
    if place < carried:
        return made[place]
    link, value = made[place], scans[place - carried][0]
    stacked = link
    if value.axis is None:
        return r.b.op("Gather", stacked, r.b.const(-1, I64), axis=0)
    if value.backwards:
        stacked = r.b.op("Slice", stacked, r.b.ints([-1]), r.b.ints([-(1 << 63) + 1]), r.b.ints([0]), r.b.ints([-1]))
    rank = r.rank(layer, stacked)
    axis = r.axis(layer, value.axis, rank)
    return r.transpose(stacked, [*range(1, axis + 1), 0, *range(axis + 1, rank)])


def _declared(parameter: Layer, value: Value) -> TensorType:
    """The type of a carried value: as declared, which holds for every iteration."""
    from .importer import parameter_type

    found = parameter_type(parameter)
    if isinstance(value.type, TensorType) and value.type.dtype is not found.dtype:
        raise InvalidModel(f"{parameter} of a body is {found}, what leads to it {value.type}")
    return found


def _like(r: Reading, step: Value, parameter: Layer) -> Value:
    """The number of the iteration in the element type and shape that a parameter has."""
    shape, made = parameter.shape("shape"), r.cast(step, parameter.dtype("element_type"))
    return made if not shape else r.reshape(made, [1] * len(shape))
