"""One difference of two models."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...ir.core import Node, Value

INTERFACE = ("input", "output", "function")
"""Kinds of changes that stand before all others."""


@dataclass
class Change:
    """One difference.

    `kind`: ``removed``, ``added``, ``replaced`` (nodes went and others came), ``changed`` (a node has another
    attribute, operand or type), ``moved`` (nodes stand in another graph), ``weight``, ``input``, ``output``,
    ``function``. `before` and `after` are the nodes in question, of a weight its users and `weights` the pair;
    `details` say it in words; `rewired` are pairs of nodes that read from the new nodes what they read from the old.
    """

    kind: str
    where: str
    before: list[Node] = field(default_factory=list)
    after: list[Node] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    rewired: list[tuple[Node, Node]] = field(default_factory=list)
    weights: list[tuple[Value, Value]] = field(default_factory=list)
