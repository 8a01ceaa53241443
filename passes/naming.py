"""Layers by the names that users know: those of the source's nodes and of weights, with * and ?.

    chosen = choose_layers(self, found, lambda layer: [layer.node], ctx)    # as options `layers` and `keep` have it
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import ClassVar, Protocol, TypeVar

from ..ir.core import Node
from ..ir.errors import UsageError
from .base import Context, place_of

Item = TypeVar("Item")


class Choosing(Protocol):
    """A pass with these options."""

    name: ClassVar[str]

    @property
    def layers(self) -> tuple[str, ...]:
        """The only ones that it works on, by patterns; () for all."""

    @property
    def keep(self) -> tuple[str, ...]:
        """Those that it leaves alone."""


def names_of(nodes: Iterable[Node]) -> set[str]:
    """The nodes of the source that these were made of, and their constant operands."""
    found: set[str] = set()
    for node in nodes:
        found.update(node.loc)
        found.update(value.hint for value in node.inputs if value is not None and value.const is not None)
    return found


def is_named(names: Iterable[str], patterns: tuple[str, ...]) -> bool:
    """True if one of the patterns fits one of the names."""
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def check_patterns(
    pass_name: str, option: str, patterns: tuple[str, ...], names: Collection[str], kind: str = "layer"
) -> None:
    """Raise UsageError for a pattern of an option that fits none of the names, which are those of a kind of nodes."""
    for pattern in patterns:
        if not isinstance(pattern, str) or not is_named(names, (pattern,)):
            raise UsageError(f"{option} of {pass_name}: {pattern!r} names no {kind}", source="--passes")


def choose_layers(
    step: Choosing, found: Iterable[Item], nodes: Callable[[Item], Sequence[Node]], ctx: Context, kind: str = "layer"
) -> list[Item]:
    """As `choose_named`, of layers that are called by their `nodes`; the first stands for a layer."""
    return choose_named(step, [(item, nodes(item)[0], names_of(nodes(item))) for item in found], ctx, kind)


def choose_named(
    step: Choosing, found: Sequence[tuple[Item, Node, set[str]]], ctx: Context, kind: str = "layer"
) -> list[Item]:
    """Those of what was found that a pass works on, by its options `layers` (the only ones, if given) and `keep`.

    Each comes with its names, and with the node that stands for it where a budget keeps it as it is (`Context.kept`),
    which is a remark. Raises UsageError for a pattern that names nothing of this kind.
    """
    known = {name for _, _, names in found for name in names}
    for option, patterns in (("layers", step.layers), ("keep", step.keep)):
        check_patterns(step.name, option, patterns, known, kind)
    chosen = []
    for item, node, names in found:
        if (step.layers and not is_named(names, step.layers)) or is_named(names, step.keep):
            continue
        budget = ctx.kept.get(place_of(step.name, "", node))
        if budget is None:
            chosen.append(item)
        else:
            ctx.decline("refused", step.name, "", node, f"it stays whole: {budget}")
    return chosen
