"""Values inside two models that correspond, compared in groups so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import prod

from ...ir.core import Model, Node, Value
from ...ir.types import TensorType
from ...passes.portions import within
from ..calibration.observing import MEMORY, Groups, part_of
from ..diff import match_models
from .engines import Feeds, open_part
from .errors import Errors
from .ports import Port
from .sides import Side

_UNKNOWN = MEMORY // 16  # bytes that a value of unknown size is taken to have, where all are computed at once


@dataclass
class Twins:
    """A value of the first model, the one of the second that corresponds, and how far they are apart."""

    node: Node
    value: Value
    twin: Value
    by: str  # structure or name
    errors: Errors = field(default_factory=Errors)


def twins_of(before: Model, after: Model) -> list[Twins]:
    """Results of nodes of main graphs that correspond, in the order of the first: by structure, then by name.

    What takes the place of a node keeps the name of its result, in what geoc wrote as in most other tools' output.
    """
    matching = match_models(before, after)
    found = {u: v for u, v in matching.values.items() if v.producer is not None}
    taken = set(found.values())
    by_name: dict[str, Value] = {}
    for node in after.graph:
        by_name.update((value.hint, value) for value in node.outputs if value.hint and value not in taken)
    result = []
    for node in before.graph:
        for value in node.outputs:
            twin, by = found.get(value), "structure"
            if twin is None:
                twin, by = by_name.pop(value.hint, None), "name"
            if twin is not None and twin.scope is after.graph and _comparable(value, twin):
                result.append(Twins(node, value, twin, by))
    return result


def departing(twins: list[Twins], beyond: set[Value], wrong: set[Value]) -> set[Value]:
    """Of the values `beyond` their limits those that reach an output in `wrong` through nothing that is within.

    What an optimizer moves about (a bias added elsewhere, a scale folded into weights) makes other values on the way,
    and the same ones behind it: they depart from nothing.
    """
    graph = twins[0].node.graph if twins else None
    if graph is None:
        return set()
    compared = {each.value for each in twins}
    harmful = set(wrong)
    for node in graph.reversed():
        for value in node.outputs:
            users = (graph.enclosing_node(user) for user, _ in value.uses)
            results = (result for user in users if user is not None for result in user.outputs)
            if any(r in harmful and (r in beyond or r not in compared) for r in results):
                harmful.add(value)
    return beyond & harmful


def _comparable(a: Value, b: Value) -> bool:
    """Tensors whose elements are of one kind and whose known sizes agree."""
    both = isinstance(a.type, TensorType) and isinstance(b.type, TensorType)
    return both and Port("", a.type).fits(Port("", b.type))


def compare_inside(
    sides: tuple[Side, Side], twins: list[Twins], runs: Callable[[], Iterable[tuple[str, Feeds, Feeds]]], folder: str,
    detail: Callable[[str, float], None],
) -> None:  # fmt: skip
    """Run both models on all inputs and fill in the errors. `runs` gives the shape and both feeds of each run, anew
    each time. Raises UsageError where a part of a model does not load, DoesNotRun where it does not run.
    """
    a, b = sides
    assert a.model is not None and b.model is not None
    one_part = a.runtime == b.runtime == "ort"
    # Runtimes that give all outputs at once are asked for as many as memory has room for.
    chunks = [twins] if one_part else list(within(twins, _bytes, MEMORY))
    done = 0
    for chunk in chunks:
        ours, names = part_of(a.model, [t.value for t in chunk])
        theirs, other = part_of(b.model, [t.twin for t in chunk])
        by_name = {names[t.value]: (t, other[t.twin]) for t in chunk}
        with open_part(a, ours, folder) as first, open_part(b, theirs, folder) as second:
            groups = Groups(a.model, {t.value: names[t.value] for t in chunk}, MEMORY // 2)
            for shape, x, y in runs():
                for group in groups.of(x) if one_part else [list(by_name)]:
                    results = second([by_name[name][1] for name in group], y)
                    for name, left, right in zip(group, first(group, x), results):
                        groups.note(name, left)
                        by_name[name][0].errors.add(left, right, shape)
                    detail(f"nodes, {shape}", done / len(twins))
        done += len(chunk)


def _bytes(each: Twins) -> int:
    """Of one value, as far as its type says."""
    shape = each.value.shape
    known = [dim for dim in shape or () if isinstance(dim, int)]
    return 4 * prod(known) if shape is not None and len(known) == len(shape) else _UNKNOWN
