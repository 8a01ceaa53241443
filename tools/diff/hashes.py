"""Hashes of nodes: what a node is by itself, what it is computed from, and what it is used for.

Nodes of two models with equal hashes are taken to correspond; whether they are equal is compared afterwards, so that
hashes need not be proof against collisions. They are Python's, of tuples of numbers (64 bits), and hold within one
process only.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping

from ...ir.core import Graph, Node, Value
from ...ir.equal import attribute_key, same_attribute
from ...ir.tensor import Tensor
from ...ir.walk import traverse

TELLING = 8  # elements from which on a constant tells nodes apart
_MASK = (1 << 61) - 1


class Labels:
    """Hashes of nodes by themselves, and of constants; for all models that are compared, so that data are read once."""

    def __init__(self) -> None:
        self._spans: dict[tuple[object, ...], int] = {}
        self._tensors: dict[Tensor, int] = {}
        self._labels: dict[Node, int] = {}
        self._constants: dict[Node, int] = {}

    def tensor(self, tensor: Tensor) -> int:
        """A hash of dtype, shape and contents; data of one place in one file are read once."""
        found = self._tensors.get(tensor)
        if found is None:
            file = None if tensor.file is None else tensor.file.identity
            if file is None:
                found = hash(tensor.digest())
            else:
                key = (file, tensor.offset, tensor.dtype.name, tensor.shape)
                found = self._spans.get(key)
                if found is None:
                    found = self._spans[key] = hash(tensor.digest())
            self._tensors[tensor] = found
        return found

    def same_tensor(self, a: Tensor, b: Tensor) -> bool:
        """Equal dtype, shape and bytes, by their digests (BLAKE2b); a splat equals what it spells out."""
        if self.tensor(a) == self.tensor(b):
            return True
        # The digest of a large splat is another one than that of its elements.
        return (a.splat is not None) != (b.splat is not None) and a.same(b)

    def of(self, node: Node) -> int:
        """The operator, its attributes but for defaults, the number of results, the names of regions."""
        found = self._labels.get(node)
        if found is None:
            default = node.op.attr_default
            attributes = tuple(
                (name, attribute_key(value))
                for name, value in sorted(node.attrs.items())
                if not same_attribute(value, default(name))
            )
            found = hash((node.op, attributes, len(node.outputs), tuple(sorted(node.regions))))
            self._labels[node] = found
        return found

    def with_constants(self, node: Node) -> int:
        """`of`, and the contents of constant operands with their places."""
        found = self._constants.get(node)
        if found is None:
            constants = tuple(
                (0 if node.op.commutative else place, self.tensor(value.const))
                for place, value in enumerate(node.inputs)
                if value is not None and value.const is not None
            )
            found = self._constants[node] = hash((self.of(node), len(node.inputs), constants))
        return found


    def by_weights(self, node: Node) -> Hashable:
        """`with_constants`, if one is large enough to be found nowhere else by chance; else the node, alike to none."""
        large = any(v is not None and v.const is not None and v.const.size >= TELLING for v in node.inputs)
        return self.with_constants(node) if large else node


def forward(root: Graph, labels: Labels, inputs: Mapping[Value, int]) -> dict[Node, int]:
    """For each node in `root` and its regions a hash of all that it is computed from.

    `inputs` are hashes of the root's inputs. Operands of commutative operators count in any order.
    """
    values: dict[Value, int] = dict(inputs)
    nodes: dict[Node, int] = {}
    inside: dict[Node, list[int]] = {}  # hashes of the regions that were walked
    open_graphs: list[Graph] = []

    def of(value: Value | None) -> int:
        if value is None:
            return 1
        return labels.tensor(value.const) if value.const is not None else values.get(value, 2)

    def finish(node: Node, regions: tuple[int, ...] = ()) -> None:
        operands = [of(value) for value in node.inputs]
        if node.op.commutative:
            operands.sort()
        nodes[node] = whole = hash((labels.of(node), *operands, *regions))
        for index, value in enumerate(node.outputs):
            values[value] = hash((whole, index))

    for item in traverse(root, by_name=True):
        if item is None:
            graph = open_graphs.pop()
            parent = graph.parent
            if open_graphs and parent is not None:
                regions = inside.setdefault(parent, [])
                regions.append(hash(tuple([of(value) for value in graph.outputs])))
                if len(regions) == len(parent.regions):
                    finish(parent, tuple(regions))
        elif isinstance(item, Graph):
            if open_graphs:
                values.update({value: hash((3, index)) for index, value in enumerate(item.inputs)})
            open_graphs.append(item)
        elif not item.regions:
            finish(item)
    return nodes


def backward(root: Graph, labels: Labels, outputs: Mapping[int, int]) -> dict[Node, int]:
    """For each node in `root` and its regions a hash of all that its results are used for.

    `outputs` are hashes of the root's outputs, by their numbers. Uses count as a set with repetitions: their hashes
    are summed up, so that a value of many uses costs no more than these.
    """
    values: dict[Value, int] = {}
    nodes: dict[Node, int] = {}

    def use(value: Value | None, by: int) -> None:
        if value is not None and value.const is None:
            values[value] = (values.get(value, 0) + by) & _MASK

    for index, value in enumerate(root.outputs):
        use(value, hash((4, outputs.get(index, 5))))
    stack: list[Iterator[Node]] = [root.reversed()]
    while stack:
        for node in stack[-1]:
            results = [values.get(value, 0) for value in node.outputs]
            nodes[node] = whole = hash((labels.with_constants(node), *results))
            for place, operand in enumerate(node.inputs):
                use(operand, hash((whole, 0 if node.op.commutative else place)))
            if node.regions:
                for name, region in node.regions.items():
                    for index, value in enumerate(region.outputs):
                        use(value, hash((whole, name, index)))
                # What regions capture stands before the node: it is met when they are done.
                stack.extend(region.reversed() for region in node.regions.values())
                break
        else:
            stack.pop()
    return nodes


def neighbourhoods(
    nodes: list[Node], start: Mapping[Node, int], known: Mapping[Value, int], rounds: int
) -> dict[Node, int]:
    """Hashes of `nodes` with what lies up to `rounds` edges around them (Weisfeiler and Leman's refinement).

    `start` is what each node is by itself, `known` what is known of values at the edge of the set.
    """
    found = {node: start[node] for node in nodes}
    for _ in range(rounds):
        found = {node: _refined(node, found, known) for node in nodes}
    return found


def _refined(node: Node, found: Mapping[Node, int], known: Mapping[Value, int]) -> int:
    operands = []
    for value in node.inputs:
        if value is None:
            operands.append(1)
        elif value.const is not None:
            operands.append(2)
        else:
            maker = value.producer
            own = found.get(maker) if maker is not None else None
            operands.append(known.get(value, 3) if own is None else hash((own, value.index)))
    if node.op.commutative:
        operands.sort()
    users = 0
    for value in node.outputs:
        users = (users + known.get(value, 0)) & _MASK
        for user, place in value.uses:
            by = found.get(user, 4)
            users = (users + hash((by, value.index, 0 if user.op.commutative else place))) & _MASK
    return hash((found[node], *operands, users))
