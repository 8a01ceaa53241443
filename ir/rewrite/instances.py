"""Graphs that rules are to be tried on where their left sides cannot be made up: given beside the natives.

    @instance_for("mask_causal")
    def causal(pick: Pick) -> str:
        \"\"\"A causal mask, computed.\"\"\"
        size = pick(2, 3, 5)
        return f\'\'\'
    graph @main(%q: f32[1,2,{size},4], ...) -> (%y) {{
      ...
    }}\'\'\'

A function gives a graph in .gir text in which the rule is to fire. What may vary is asked of `pick`, the simplest
option first. `geoc rulecheck` tries these graphs beside those that it makes up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

Pick = Callable[..., Any]
Make = Callable[[Pick], str]
F = TypeVar("F", bound=Make)

INSTANCES: Final[dict[str, list[Make]]] = {}
"""By the name of the rule, in the order in which they were given."""


def instance_for(*rules: str) -> Callable[[F], F]:
    """Register a function that makes instances of these rules."""

    def register(make: F) -> F:
        for rule in rules:
            known = INSTANCES.setdefault(rule, [])
            known[:] = [m for m in known if m.__qualname__ != make.__qualname__ or m.__module__ != make.__module__]
            known.append(make)
        return make

    return register
