"""What must hold before a replacement takes effect: its types fit, and it stands before its users."""

from __future__ import annotations

from ..core import Graph, Node, Value
from ..types import TensorType, Type, is_refinement, merge
from .build import Refused

MAX_MOVED = 256  # nodes that are moved to make room for one replacement

Pairs = list[tuple[Value, Value]]


def check_types(pairs: Pairs) -> None:
    """Raise Refused where a new value provably has another type than the old one."""
    for old, new in pairs:
        if new is old:
            raise Refused(f"%{old.hint} would replace itself")
        reason = _contradiction(old.type, new.type)
        if reason:
            raise Refused(f"%{old.hint}: {old.type} would become {new.type}: {reason}")


def _contradiction(old: Type | None, new: Type | None) -> str:
    if old is new or old is None or new is None:
        return ""
    if not isinstance(old, TensorType) or not isinstance(new, TensorType):
        fits = is_refinement(new, old) or is_refinement(old, new)
        return "" if fits else "another kind of type"
    if old.dtype is not new.dtype:
        return "another element type"
    if old.shape is None or new.shape is None:
        return ""
    if len(old.shape) != len(new.shape):
        return "another rank"
    for a, b in zip(old.shape, new.shape):
        if isinstance(a, int) and isinstance(b, int) and a != b:
            return "another shape"
    return ""


def settle(pairs: Pairs, created: list[Node]) -> None:
    """Give the new values the names of the old ones, and what was known of them and inference lost."""
    for old, new in pairs:
        if new.const is not None:
            continue
        if new.producer is not None and new.producer in created:
            new.type = merge(old.type, new.type)  # the names in use around it stay
            new.hint = old.hint or new.hint
        else:
            new.type = merge(new.type, old.type)
        if new.content is None:
            new.content = old.content


def move_before_users(pairs: Pairs, matched: list[Node], created: list[Node]) -> None:
    """Move what was built, and what it needs, before the first user of the values it replaces.

    Raises Refused where that cannot be: an operand depends on one of these users, or would have to be
    moved and is not pure. Needed only where more than the one root is replaced.
    """
    olds = {old: None for old, _ in pairs}
    for node in created:
        for value in node.inputs:
            if value in olds:
                raise Refused(f"%{value.hint} would become an operand of its own replacement")
    dying = dying_nodes(matched, olds)
    late = {new.producer: None for _, new in pairs if new.producer is not None}
    moves: list[tuple[Node, list[Node]]] = []  # all are planned before one is made
    for node in late:
        graph = node.graph
        assert graph is not None
        users = [(old, user) for old, new in pairs if new.producer is node for user in old.users]
        first = _first_user(graph, [user for _, user in users if user not in dying])
        if first is not None and not node.is_before(first):
            moves.append((first, _to_move(graph, node, first, olds, created)))
    for first, nodes in moves:
        for node in nodes:
            if not node.is_before(first):
                first.graph.move(node, first)  # type: ignore[union-attr]


def dying_nodes(matched: list[Node], olds: dict[Value, None]) -> dict[Node, None]:
    """The matched nodes that nothing needs once the old values are replaced."""
    dying = dict.fromkeys(matched)
    changed = True
    while changed:
        changed = False
        for node in list(dying):
            for value in node.outputs:
                if value not in olds and any(user not in dying for user, _ in value.uses):
                    del dying[node]
                    changed = True
                    break
    return dying


def _first_user(graph: Graph, users: list[Node]) -> Node | None:
    first: Node | None = None
    for user in users:
        place = graph.enclosing_node(user)
        if place is None or place is graph.ret:
            continue
        if first is None or place.is_before(first):
            first = place
    return first


def _to_move(
    graph: Graph, node: Node, first: Node, olds: dict[Value, None], created: list[Node]
) -> list[Node]:
    """A node and what it needs that does not stand before `first`, in order."""
    needed: dict[Node, None] = {node: None}
    for current in needed_before(graph, needed, first):
        if current is first or any(value in olds for value in current.inputs if value is not None):
            raise Refused("an operand of the replacement depends on what it replaces")
        if current not in created and (not current.op.pure or current.regions):
            raise Refused(f"{current!r} would have to be moved and is not pure")
        if len(needed) > MAX_MOVED:
            raise Refused(f"more than {MAX_MOVED} nodes would have to be moved")
    order: list[Node] = []
    for current in needed:
        at = len(order)
        while at and current.is_before(order[at - 1]):
            at -= 1
        order.insert(at, current)
    return order


def needed_before(graph: Graph, needed: dict[Node, None], first: Node) -> list[Node]:
    """Extend `needed` by all producers in `graph` that do not yet stand before `first`."""
    waiting = list(needed)
    for current in waiting:  # grows while we go
        for value in current.inputs:
            producer = None if value is None else value.producer
            if producer is None or producer.graph is not graph or producer in needed:
                continue
            if not producer.is_before(first):
                needed[producer] = None
                waiting.append(producer)
                if len(needed) > MAX_MOVED:
                    return waiting
    return waiting
