"""An instance of a rule: a graph that is given for it, or its left side made up."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ...ir.infer import infer_graph
from ...ir.rewrite import Rule
from ...ir.rewrite.instances import INSTANCES, Pick
from ...ir.text import parse_model
from ...ir.verify import verify
from .choices import Choices
from .given import Maker, graphs
from .instance import Left
from .sketch import Instance, Sketch
from .wanted import FREE


def build(rule: Rule, choices: Choices) -> Instance:
    """An instance of the left side, which may still fail to match. Raises Infeasible where there is none.

    Made from the pattern, or by a function that was given for the rule with `instance_for`.
    """
    given = given_for(rule)
    which = choices.pick("given", (*given, None)) if given else None
    if which is not None:
        return which(Sketch(choices))
    left = Left(rule, choices)
    for guard in rule.where:
        left.hints.activate(guard)
    for root in rule.analysis.roots:
        left.define(root, FREE)
    return left.finish()


def given_for(rule: Rule) -> list[Maker]:
    """What makes whole graphs for a rule: from the library, and from text of a plugin."""
    found: list[Maker] = [partial(_from_text, make) for make in INSTANCES.get(rule.name, ())]
    made = graphs().get(rule.name)
    return found if made is None else [made, *found]


def _from_text(make: Callable[[Pick], str], sketch: Sketch) -> Instance:
    text = make(sketch.pick)
    model = parse_model(text if text.lstrip().startswith("geoc ") else f"geoc 1\n\n{text}", source=make.__name__)
    for graph in model.roots():
        infer_graph(graph)
    verify(model)
    return Instance(model, list(model.graph))
