"""Layers by the names that users know: those of the source's nodes and of weights, with * and ?."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from ..ir.core import Node
from ..ir.errors import UsageError


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
        if not is_named(names, (pattern,)):
            raise UsageError(f"{option} of {pass_name}: {pattern!r} names no {kind}", source="--passes")
