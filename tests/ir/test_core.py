"""The graph's own bookkeeping, against plain lists, under long random sequences of edits."""

from __future__ import annotations

import random

import networkx
import pytest

from geoc.ir.core import Graph, Model, Node, Value, constant
from geoc.ir.ops import op
from geoc.ir.tensor import Tensor
from geoc.ir.types import F32, tensor_type
from geoc.ir.verify import verify
from geoc.ir.walk import traverse

SCALAR = tensor_type(F32, ())


def relu(graph: Graph, x: Value, hint: str = "", before: Node | None = None) -> Node:
    return graph.insert(Node(op("Relu"), [x], [Value(SCALAR, hint)]), before)


def test_uses_are_operand_slots() -> None:
    graph = Graph()
    x = graph.add_input("x", SCALAR)
    node = graph.append(Node(op("Sum"), [x, None, x], [Value(SCALAR)]))
    assert list(x.uses) == [(node, 0), (node, 2)] and list(x.users) == [node] and x.sole_use is None
    node.set_input(0, None)
    assert x.sole_use == (node, 2)
    node.set_inputs([x])
    assert x.sole_use == (node, 0) and node.inputs == (x,) and node.input(5) is None
    graph.set_outputs([x, x], ["a", "b"])
    assert list(x.uses) == [(node, 0), (graph.ret, 0), (graph.ret, 1)]


def test_replacing_a_value_reaches_outputs_and_regions() -> None:
    graph, body = Graph(), Graph()
    x, y = graph.add_input("x", SCALAR), graph.add_input("y", SCALAR)
    inner = relu(body, x)
    body.set_outputs([x])
    graph.append(Node(op("If"), [y], [Value(SCALAR)], {}, {"then_branch": body}))
    graph.set_outputs([x])
    x.replace_with(y)
    assert not x.uses and inner.inputs == (y,) and body.outputs == graph.outputs == (y,)
    y.replace_with(y)
    assert len(y.uses) == 4


def test_a_replacement_without_a_name_takes_the_name() -> None:
    old, new, named = Value(SCALAR, "old"), Value(SCALAR), Value(SCALAR, "named")
    old.replace_with(new)
    old.replace_with(named)
    assert (new.hint, named.hint) == ("old", "named")


@pytest.mark.parametrize("seed", range(30))
def test_random_edits(seed: int) -> None:
    rng = random.Random(seed)
    graph = Graph("g")
    x = graph.add_input("x", SCALAR)
    model: list[Node] = []
    for _ in range(300):
        kind = rng.random()
        at = rng.randrange(len(model) + 1)
        before = model[at] if at < len(model) else None
        if kind < 0.5 or not model:
            source = rng.choice([x, *(n.output for n in model[:at])])
            model.insert(at, relu(graph, source, before=before))
        elif kind < 0.75:
            node = rng.choice(model)
            if node.in_use:
                with pytest.raises(ValueError):
                    graph.erase(node)
                node.output.replace_with(node.inputs[0] or x)
            graph.erase(node)
            model.remove(node)
            assert node.graph is None and node.inputs == ()
        else:
            node = rng.choice(model)
            low = max((model.index(p) + 1 for v in node.inputs if v and (p := v.producer)), default=0)
            high = min((model.index(u) for u in node.output.users), default=len(model))
            target = rng.randrange(low, high + 1)
            anchor = model[target] if target < len(model) else None
            graph.move(node, anchor)
            if anchor is not node:
                model.remove(node)
                model.insert(model.index(anchor) if anchor else len(model), node)
        assert len(graph) == len(model)
    assert list(graph) == model
    assert list(graph.reversed()) == model[::-1]
    assert set(graph.index.get(op("Relu"), {})) == set(model)
    for _ in range(50):
        a, b = rng.sample(model, 2)
        assert a.is_before(b) is (model.index(a) < model.index(b))
    verify(Model(graph))


def test_order_survives_many_insertions_at_one_place() -> None:
    graph = Graph()
    x = graph.add_input("x", SCALAR)
    last = relu(graph, x)
    nodes = [relu(graph, x, before=last) for _ in range(100)]
    for earlier, later in zip(nodes, [*nodes[1:], last]):
        assert earlier.is_before(later) and not later.is_before(earlier)
    first = graph.first
    assert first is not None
    more = [relu(graph, x, before=graph.first) for _ in range(100)]
    assert more[-1].is_before(more[0]) and more[0].is_before(first)


def test_editing_while_iterating() -> None:
    graph = Graph()
    x = graph.add_input("x", SCALAR)
    for index in range(6):
        relu(graph, x, str(index))
    seen = []
    for node in graph:
        seen.append(node.output.hint)
        if node.output.hint == "1":
            graph.erase(node)
        if node.output.hint == "3":
            relu(graph, x, "new", before=node.next)
    assert seen == ["0", "1", "2", "3", "new", "4", "5"]


def test_erasing_a_node_with_regions_releases_what_they_use() -> None:
    graph, body, inner = Graph(), Graph(), Graph()
    x = graph.add_input("x", SCALAR)
    half = constant(Tensor.of(0.5, F32))
    inner.append(Node(op("Mul"), [x, half], [Value(SCALAR)]))
    inner.set_outputs([x])
    body.append(Node(op("If"), [x], [Value(SCALAR)], {}, {"then_branch": inner}))
    body.set_outputs([half])
    node = graph.append(Node(op("If"), [x], [Value(SCALAR)], {}, {"then_branch": body}))
    assert len(x.uses) == 4
    graph.erase(node)
    assert not x.uses and not half.uses


def test_inputs() -> None:
    graph = Graph()
    x, y, z = (graph.add_input(n, SCALAR) for n in "xyz")
    graph.defaults[y] = Tensor.of(1.0, F32)
    relu(graph, x)
    with pytest.raises(ValueError, match="'x' is still used"):
        graph.remove_input(0)
    graph.remove_input(1)
    assert graph.inputs == [x, z] and graph.input_names == ["x", "z"] and not graph.defaults
    assert (x.index, z.index, y.graph) == (0, 1, None) and x.is_input and not y.is_input


def nested() -> tuple[Graph, list[Node]]:
    graph, then, other, deep = (Graph(n) for n in "gtod")
    x = graph.add_input("x", SCALAR)
    first = relu(graph, x, "first")
    in_deep = relu(deep, x, "in_deep")
    inner_if = then.append(Node(op("If"), [x], [Value(SCALAR, "inner")], {}, {"then_branch": deep}))
    after_inner = relu(then, x, "after_inner")
    in_other = relu(other, x, "in_other")
    regions = {"then_branch": then, "else_branch": other}
    outer_if = graph.append(Node(op("If"), [x], [Value(SCALAR, "outer")], {}, regions))
    last = relu(graph, x, "last")
    return graph, [first, outer_if, inner_if, in_deep, after_inner, in_other, last]


def test_walks() -> None:
    graph, nodes = nested()
    assert list(graph.walk()) == nodes
    assert [n for n in traverse(graph) if isinstance(n, Node)] == nodes
    assert [g.name for g in traverse(graph) if isinstance(g, Graph)] == ["g", "t", "d", "o"]
    assert [g.name for g in traverse(graph, by_name=True) if isinstance(g, Graph)] == ["g", "o", "t", "d"]
    assert sum(item is None for item in traverse(graph)) == 4
    assert {g.name for g in graph.graphs()} == set("gtod")
    deep = nodes[3].graph
    assert deep is not None
    assert [g.name for g in deep.ancestors()] == ["d", "t", "g"]
    assert graph.enclosing_node(nodes[3]) is nodes[1] and graph.enclosing_node(nodes[0]) is nodes[0]
    assert deep.enclosing_node(nodes[0]) is None
    model = Model(graph)
    assert model.node_count == 7 and list(model.walk()) == nodes


def test_walks_do_not_recurse() -> None:
    graph = innermost = Graph()
    x = graph.add_input("x", SCALAR)
    for _ in range(5000):
        body = Graph()
        innermost.append(Node(op("If"), [x], [Value(SCALAR)], {}, {"then_branch": body}))
        innermost = body
    assert len(graph.graphs()) == 5001 and len(list(graph.walk())) == 5000
    assert graph.first is not None
    graph.erase(graph.first)
    assert not x.uses


def test_networkx() -> None:
    graph = Graph("g")
    x = graph.add_input("x", SCALAR)
    half = constant(Tensor.of(0.5, F32), "half")
    product = graph.append(Node(op("Mul"), [x, half], [Value(SCALAR)], loc=("here",)))
    total = graph.append(Node(op("Add"), [product.output, product.output], [Value(SCALAR)]))
    graph.set_outputs([total.output], ["y"])
    result = graph.to_networkx()
    assert set(result.nodes) == {x, half, product, total, graph.ret}
    assert result.number_of_edges(product, total) == 2
    assert result.nodes[product] == {"op": "Mul", "name": "here"} and result.nodes[half]["kind"] == "constant"
    assert list(networkx.topological_sort(result))[-1] is graph.ret
