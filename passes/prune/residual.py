"""Layers that can be left out whole: what stands between two values of a stream, which come out of equal types.

    for layer in layers_of(graph):
        layer.end.replace_with(layer.start)

A block is what a residual Add adds to what it read: x + f(x) without f is x. Where a normalization stands behind each
Add (post-norm, as in BERT), a block ends behind that, where the next one begins. A layer is one block, or attention
with the blocks behind it that have none, up to the next attention: a transformer's layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...ir.core import Graph, Node, Value

_ATTENTION = frozenset({"Attention", "Softmax"})
_WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})


@dataclass(frozen=True, eq=False)
class Layer:
    """What makes `end` of `start` and of nothing else that changes along the stream; `nodes` in order."""

    start: Value
    end: Value
    nodes: tuple[Node, ...]

    @property
    def node(self) -> Node:
        """The first node of it that has weights."""
        return self.weighted[0]

    @property
    def weighted(self) -> list[Node]:
        """Its products and convolutions with constant weights."""
        return [node for node in self.nodes if _has_weights(node)]

    def copied(self, of: Mapping[Value, Value]) -> Layer:
        """The same layer of a copy of the model, `of` as `clone_model` gives it."""
        makers = (of[node.outputs[0]].producer for node in self.nodes)
        return Layer(of[self.start], of[self.end], tuple(node for node in makers if node is not None))


def layers_of(graph: Graph, whole: bool = True) -> list[Layer]:
    """The layers of a main graph in order, none of which is part of another; `whole` False: the blocks themselves."""
    place = {node: number for number, node in enumerate(graph)}
    blocks = _apart(_closed(_blocks(graph, place), place))
    if not whole:
        return blocks
    groups: list[list[Layer]] = []
    for block in blocks:
        follows = bool(groups) and groups[-1][-1].end is block.start and _attends(groups[-1][0]) and not _attends(block)
        if follows:
            groups[-1].append(block)
        else:
            groups.append([block])
    return [_joined(group) for group in groups]


def drop(layers: Iterable[Layer]) -> None:
    """Leave layers of one graph out, given in its order; what nothing reads then is gone."""
    for layer in reversed(list(layers)):  # the end of one may be where the next begins
        layer.end.replace_with(layer.start)
        for node in reversed(layer.nodes):
            if not node.in_use and node.graph is not None:
                node.graph.erase(node)


def readers_of(value: Value) -> list[Node]:
    """The products and convolutions that read a value, at once or through what has no weights and is no sum."""
    found: dict[Node, None] = {}
    work = [value]
    while work:
        for user in work.pop().users:
            if user in found or user.graph is not value.scope:
                continue
            if _has_weights(user):
                found[user] = None
            elif user.op.key != "Add" or any(v is not None and v.const is not None for v in user.inputs):
                work += user.outputs
    return list(found)


def _joined(blocks: Sequence[Layer]) -> Layer:
    nodes = tuple(node for block in blocks for node in block.nodes)
    return Layer(blocks[0].start, blocks[-1].end, nodes)


def _attends(block: Layer) -> bool:
    return any(node.op.key in _ATTENTION for node in block.nodes)


def _has_weights(node: Node) -> bool:
    weight = node.input(1)
    return node.op.key in _WEIGHTED and weight is not None and weight.const is not None


def _blocks(graph: Graph, place: Mapping[Node, int]) -> list[Layer]:
    """What each residual Add adds to, in the order of the Adds."""
    found = []
    for node in graph:
        if node.op.key != "Add":
            continue
        for start, added in (node.inputs, node.inputs[::-1]):
            if start is None or added is None or start.type != node.output.type or len(start.uses) < 2:
                continue
            block = _between(start, node, place)
            if added.producer in block and any(map(_has_weights, block)):
                found.append(Layer(start, node.output, (*block, node)))
                break
    return found


def _between(start: Value, end: Node, place: Mapping[Node, int]) -> dict[Node, None]:
    """The nodes in front of `end` that it reads and that read `start`, in order."""
    behind: dict[Node, None] = {}
    work = [start]
    while work:
        for user in work.pop().users:
            if user not in behind and user in place and place[user] < place[end]:
                behind[user] = None
                work += user.outputs
    read: set[Node] = set()
    nodes = [end]
    while nodes:
        for value in nodes.pop().inputs:
            maker = None if value is None else value.producer
            if maker in behind and maker not in read:
                assert maker is not None
                read.add(maker)
                nodes.append(maker)
    return dict.fromkeys(sorted(read, key=place.__getitem__))


def _closed(blocks: Sequence[Layer], place: Mapping[Node, int]) -> list[Layer]:
    """The blocks with the normalizations behind them, without those whose inner values are read from outside."""
    found: list[Layer] = []
    tail: list[str] = []
    for number, block in enumerate(blocks):
        following = blocks[number + 1].start if number + 1 < len(blocks) else None
        behind: tuple[Node, ...] = ()
        if following is not None and following is not block.end:
            behind = _tail(block.end, following, place)
            tail = [node.op.key for node in behind]
        elif following is None and tail:  # the last one: what stood behind the one before stands behind it
            behind = _tail_like(block.end, tail)
        end = behind[-1].output if behind else block.end
        nodes = (*block.nodes, *behind)
        if end.type == block.start.type and _is_closed(nodes, end):
            found.append(Layer(block.start, end, nodes))
        else:
            tail = []
    return found


def _tail(start: Value, end: Value, place: Mapping[Node, int]) -> tuple[Node, ...]:
    """What stands between two values where all that reads the first one ends in the second; else nothing."""
    last = end.producer
    if last is None or last not in place or start.type != end.type:
        return ()
    nodes = (*_between(start, last, place), last)
    return () if any(map(_has_weights, nodes)) or not _is_closed(nodes, end) else nodes


def _tail_like(start: Value, ops: Sequence[str]) -> tuple[Node, ...]:
    """The nodes behind a value, where they are of these operators and nothing else reads what they make."""
    found: list[Node] = []
    made = {start}
    graph = start.scope
    node = None if start.producer is None else start.producer.next
    while node is not None and node.graph is graph and len(found) < len(ops):
        if any(value in made for value in node.inputs):
            if node.op.key != ops[len(found)]:
                return ()
            found.append(node)
            made.update(node.outputs)
        node = node.next
    is_whole = len(found) == len(ops) and _is_closed((*found,), found[-1].output)
    is_alone = all(user in found for user in start.users)
    return tuple(found) if is_whole and is_alone else ()


def _is_closed(nodes: Sequence[Node], end: Value) -> bool:
    """True if nothing but `end` is read from outside."""
    inner = set(nodes)
    return all(user in inner for node in nodes for value in node.outputs if value is not end for user in value.users)


def _apart(blocks: Sequence[Layer]) -> list[Layer]:
    """Without those that hold another one: a shortcut over several blocks."""
    starts = {block: set(block.nodes) for block in blocks}
    return [
        block for block in blocks
        if not any(other is not block and starts[other] < starts[block] for other in blocks)
    ]  # fmt: skip
