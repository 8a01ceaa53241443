"""Capability rows: what a runtime does not run, as rules that refuse.

    found = refused_by(model, {"trt-limits": ("limits.rules", "")})
    found[0].reason, found[0].row               # "axes must be constant", "limits.rules: reduce_axes"
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from ..ir.core import Model
from .backend import Unsupported, in_main_graph

if TYPE_CHECKING:
    from ..ir.rewrite import Rule, RuleSet


@cache
def load_rows(path: str, module: str) -> RuleSet:
    """The rules of a file, once `module` with their natives ("" for none) is imported. Raises TextError, OSError."""
    from ..ir.rewrite import load_rules

    if module:
        importlib.import_module(module)
    return load_rules(path)


def refused_by(model: Model, sets: Mapping[str, tuple[str, str]]) -> list[Unsupported]:
    """The nodes of the main graph that a row of these sets refuses, or that hold such a node in a region."""
    return [refused for path, module in sets.values() for refused in refused_by_rules(model, load_rows(path, module))]


def refused_by_rules(model: Model, rules: RuleSet) -> list[Unsupported]:
    """As `refused_by`, by the rows of one set of rules."""
    from ..ir.rewrite import refusals

    found = refusals(rules, model)
    return in_main_graph(model, [Unsupported(node, reason, name_of(rule)) for node, rule, reason in found])


def name_of(rule: Rule) -> str:
    """How a message names a row: ``limits.rules: reduce_axes``."""
    return f"{os.path.basename(rule.source)}: {rule.name}"
