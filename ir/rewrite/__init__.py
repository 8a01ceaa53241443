"""The rewrite engine: rules as text (`.rules`) or as Python classes, a matcher and a driver.

    rules = parse_rules('''
    rule drop_double_neg {
      \"\"\"-(-x) is x.\"\"\"
      match   %y = Neg(Neg(%x))
      rewrite %y = %x
    }''')
    count = RewriteDriver(rules).run(model)

`docs/rules.md` describes the language.
"""

from __future__ import annotations

from .driver import Hooks, RewriteDriver, RewriteLoop
from .explain import Match, NearMiss, explain, find_matches
from .functions import ABSENT
from .load import load_rules, parse_rules
from .native import NATIVES, memo, native
from .refuse import Refusal, refusals
from .rule import Rule, RuleSet

__all__ = [
    "ABSENT",
    "NATIVES",
    "Hooks",
    "Match",
    "NearMiss",
    "Refusal",
    "RewriteDriver",
    "RewriteLoop",
    "Rule",
    "RuleSet",
    "explain",
    "find_matches",
    "load_rules",
    "memo",
    "native",
    "parse_rules",
    "refusals",
]
