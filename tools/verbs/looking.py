"""The verbs that show: dump, passes, rules."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ...ir.errors import UsageError
from ..args import Arguments
from ..library import all_rows, all_rules, one_model, pipelines_of, read_model, registry_of, resolved

if TYPE_CHECKING:
    from ...ir.core import Model
    from ...ir.rewrite import Rule
    from ...ir.text.printer import Weights
    from ...passes.registry import Registry


_READABLE = 1 << 20  # bytes of weights that may be spelled out in what somebody reads


def dump_verb(arguments: Arguments) -> int:
    """``geoc dump MODEL``: the model as text."""
    from ...ir.text import print_model
    from ...lowering.emit import write_text
    from ..files import format_of, protect

    source = one_model(arguments)
    output = arguments.get("output")
    if output is not None and format_of(output) != "gir":
        raise UsageError("dump writes text; give a name that ends in .gir", source=output)
    model = read_model(arguments, source)
    folder = None if output is None else os.path.dirname(os.path.abspath(output))
    weights: Weights = "inline" if arguments.get("weights") == "inline" else "auto"
    if output is None and arguments.get("weights") is None and _computed_bytes(model) > _READABLE:
        weights = "spans"
        print("geoc: weights that no file has as they are stand as digests; -o FILE.gir writes them", file=sys.stderr)
    text = print_model(model, weights=weights, full=bool(arguments.get("full")), folder=folder)
    if output is None:
        sys.stdout.write(text)
    else:
        protect([output], [source])
        write_text(output, text)
    return 0


def _computed_bytes(model: Model) -> int:
    """Bytes of the constants that are not as they stand in a file, such as codes out of the blocks of a GGUF file."""
    operands = {value for node in model.walk() for value in node.inputs if value is not None}
    constants = {value.const for value in operands if value.const is not None}
    return sum(tensor.stored_bytes for tensor in constants if tensor.file is None)


def passes_verb(arguments: Arguments) -> int:
    """``geoc passes``: the list with the recipes, or with -O, --passes or --recipe resolved pipelines, one a line."""
    from ...passes.pipelines import render

    registry = registry_of(arguments)
    if "recipe" in arguments.values:
        print("\n".join(pipelines_of(arguments, registry)))
        return 0
    if any(key in arguments.values for key in ("level", "passes", "target", "skip", "only")):
        print(render(resolved(arguments, registry)))
        return 0
    from ..recipes.recipe import find_recipe, shipped

    for name in arguments.words:
        if name in shipped() or name.endswith(".toml"):
            print(find_recipe(name).text.rstrip("\n"))
        else:
            _print_pass(registry, name, full=True)
    if not arguments.words:
        for name in registry.names():
            _print_pass(registry, name, full=False)
        print("\nrecipes, for --recipe; `geoc passes NAME` prints one")
        for name in shipped():
            print(f"{name:<16}{find_recipe(name).description}")
    return 0


def _print_pass(registry: Registry, name: str, full: bool) -> None:
    from ...passes.pipelines import render_option
    from ...passes.registry import first_line, options_of

    cls = registry.find(name)
    doc = (cls.__doc__ or "").strip()
    options = ", ".join(f"{key}={render_option(value)}" for key, value in options_of(cls).items())
    if not full:
        print(f"{name:<16}{first_line(doc)}" + (f"  {{{options}}}" if options else ""))
        return
    print(f"{name}{{{options}}}" if options else name)
    print("\n".join("    " + line.strip() if line.strip() else "" for line in doc.splitlines()))
    rules = cls().rule_names()
    if rules:
        print(f"    rules: {', '.join(rules)}")


def rules_verb(arguments: Arguments) -> int:
    """``geoc rules``: one line per rule and capability row, or the text of those that are named.

    Rows are listed for a target, and found by name whichever runtime they are of: messages name them.
    """
    from ...lowering.targets import get_target
    from ...passes.registry import first_line, match_names

    registry = registry_of(arguments)
    found = all_rules(registry)
    target = None if arguments.words else get_target(arguments.get("target", "cpu"))
    found += all_rows(target)
    if target is not None:
        for owner, rule in found:
            print(f"{owner:<16}{rule.name:<32}{first_line(rule.doc)}")
        return 0
    wanted = match_names(arguments.words, sorted({rule.name for _, rule in found}), "rules")
    print("\n\n".join(_rule_text(owner, rule) for owner, rule in found if rule.name in wanted))
    return 0


def _rule_text(owner: str, rule: Rule) -> str:
    """A rule as it stands in its file, below a line that says where."""
    from ..view.rule_texts import rule_text

    if not rule.source.endswith(".rules"):
        return f"# {owner}: {rule.location}\n# {rule.doc}"
    return f"# {owner}: {rule.location}\n{rule_text(rule.location)}"
