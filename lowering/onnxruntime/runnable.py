"""Graphs that onnxruntime loads and then does not run, made runnable: for models that are run before their lowering."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ...ir.core import Model
from ...ir.rewrite import RewriteDriver, RuleSet, load_rules
from . import forms  # noqa: F401 (its natives)
from .blocks_of_floats import write_out_blocks

# Of the forms only those without which a kernel fails: masks of other shapes than it takes, scales of 0 and less.
_NEEDED = ("attention_scale", "mask_shape", "mask_shape_past")


@cache
def _rules() -> RuleSet:
    found = load_rules(str(Path(__file__).with_name("forms.rules")))
    return RuleSet([rule for rule in found.rules if rule.name in _NEEDED])


def make_runnable(model: Model) -> None:
    """Change a model in place so that onnxruntime's CPU provider runs it."""
    write_out_blocks(model)
    RewriteDriver(_rules()).run(model)
