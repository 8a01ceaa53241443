"""A decoder that gives the logits of the last token alone: the head is the largest product of a prompt."""

from __future__ import annotations

from ..ir.builder import Builder
from ..ir.core import Graph, Model, Node, Value
from ..ir.errors import UnsupportedModel
from .caches import caches

_ONE_BY_ONE = frozenset(("Add", "Cast", "Div", "Mul", "Sub", "Tanh"))


def keep_last_logits(model: Model) -> bool:
    """Let the logits of a decoder, f[batch, tokens, vocabulary], be those of the last token, f[batch, 1, vocabulary].

    The rows before it are left out in front of the product that makes them. False where there is one row already.
    Raises UnsupportedModel for a model whose logits are made in another way.
    """
    graph = model.graph
    logits = _logits(graph)
    assert logits.shape is not None
    if logits.shape[1] == 1:
        return False
    chain, operand = _behind_product(logits)
    product = chain[0]
    rows = product.inputs[operand]
    assert rows is not None
    b = Builder(graph, product, product.loc)
    last = b.op("Gather", rows, b.ints([-1]), axis=1)
    before = rows
    for node in chain:
        again = Builder(graph, node, node.loc)
        inputs = [last if value is before else value for value in node.inputs]
        before, last = node.output, again.node(node.op, inputs, dict(node.attrs)).output
    last.hint = logits.hint
    logits.replace_with(last)
    for node in reversed(chain):
        if not node.output.uses:
            graph.erase(node)
    return True


def _logits(graph: Graph) -> Value:
    """The first output that continues no cache."""
    continued = set(caches(graph).values())
    for place, value in enumerate(graph.outputs):
        if place not in continued and value.rank == 3 and value.producer is not None and value.sole_use is not None:
            return value
    raise UnsupportedModel("--logits last: no output is [batch, tokens, vocabulary]")


def _behind_product(logits: Value) -> tuple[list[Node], int]:
    """From the product that makes the logits to what is done to them one by one, and the rows' place in the product."""
    chain: list[Node] = []
    node = logits.producer
    while node is not None and len(node.outputs) == 1 and not node.op.domain:
        chain.insert(0, node)
        if node.op.key == "MatMul" and node.inputs[0] is not None and node.inputs[0].rank == 3:
            matrix = node.inputs[1]
            if matrix is not None and matrix.rank == 2:
                return chain, 0
        full = [v for v in node.inputs if v is not None and v.rank == 3]
        plain = [v for v in node.inputs if v is not None and v.rank is not None and v.rank <= 1]
        if node.op.key not in _ONE_BY_ONE or len(full) != 1 or len(full) + len(plain) != len(node.inputs):
            break
        node = full[0].producer
    where = f" at {logits.producer.loc[0]}" if logits.producer is not None and logits.producer.loc else ""
    raise UnsupportedModel(f"--logits last: no product with a matrix makes {logits.hint or 'the first output'}{where}")
