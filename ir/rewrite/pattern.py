"""A pattern by itself as a rule that only matches, for searching.

    find_matches(pattern_rule("Softmax(Add(%x, %m: const))"), model)
"""

from __future__ import annotations

import re

from ..errors import TextError
from .load import parse_rules
from .native import NATIVES
from .rule import Rule
from .syntax import problem

_DEFINITION = re.compile(r"\s*(%[A-Za-z_]|\(\s*(%|_\s*,)[^()]*\)\s*=)")
_HEAD = 'rule pattern : shared {\n"""A pattern."""\nmatch\n'
_LINES = _HEAD.count("\n")  # that stand before the text


def pattern_rule(text: str, source: str = "") -> Rule:
    """A rule for a term, or for definitions ``%y = ...``, with or without a ``where`` clause.

    Inner values may have other uses. Raises TextError with line and column inside `text`.
    """
    from .analyse import Analysis
    from .expand import expand
    from .transform import parse_surface

    lead = "" if _DEFINITION.match(text) else "%match = "
    body = f"{_HEAD}{lead}{text}\n"
    try:
        (declared,) = parse_surface(f"{body}rewrite %match = 0\n}}\n", source)
        roots = Analysis(expand(declared, {}, source), source).roots
        rewrites = [f"%{out.name} = 0" for root in roots for out in root.outs if out.name != "_"]
        (rule,) = parse_rules(body + "rewrite\n" + "\n".join(rewrites) + "\n}\n", source, NATIVES)
    except TextError as error:
        line, _, column = error.place.partition(":")
        number = int(line) - _LINES
        shift = len(lead) if number == 1 else 0
        raise problem(error.message, source, (number, int(column) - shift)) from None
    return rule
