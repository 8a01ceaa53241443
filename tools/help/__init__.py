"""The texts of --help: what a verb is for, with examples (`texts/VERB.txt`), and its rows of the table of options."""

from __future__ import annotations

import textwrap
from pathlib import Path

from ..args import EVERYWHERE, OPTIONS, VERBS, Option

_WIDTH = 96
_COLUMN = 30
_TEXTS = Path(__file__).parent / "texts"

_SHORT = {
    "dump": "print a model as text",
    "passes": "list passes and recipes, or print the pipeline of a level",
    "rules": "list rewrite rules, or print some",
    "targets": "list what can be compiled for",
    "doctor": "say what is installed here, and whether it works",
    "estimate": "estimate time and memory on a target",
    "inspect": "say what is in a model, and what no target could take",
    "explain": "say why a rule fires or does not",
    "match": "find where a rule or a pattern matches",
    "diff": "show what two models differ in, by structure",
    "compare": "run two models and show how far their outputs are apart",
    "quant-report": "show what quantization costs each layer",
    "distill": "train a student to give what a teacher gives",
    "view": "write a page that shows a model, two models, or the steps of a run",
    "profile": "show where the time of a model goes, node by node",
    "bench": "time models beside each other, and compare with the last time",
    "bisect": "find the one rewrite that breaks a model",
    "reduce": "make a failing model as small as can be",
    "tune": "search for the best form within a bound, trial by trial",
    "rulecheck": "try rewrite rules, and show where one is wrong",
}
_GROUPS = (
    ("compile", "compile"),
    ("training", "training"),
    ("running", "how it runs"),
    ("tuning", "the search"),
    ("passes", "which passes run"),
    ("look", "looking inside"),
    ("verbs", "what to show"),
    ("other", "always"),
)
_END = "exit codes: 0 done; 1 compared and wrong, or over a limit: nothing written; 2 bad use or bad input"


def help_text(verb: str) -> str:
    """The help of a verb; "compile" is the command itself."""
    parts = [(_TEXTS / f"{verb}.txt").read_text(encoding="utf-8")]
    if verb == "compile":
        parts.append("verbs\n" + "".join(f"  {v:<14}{text}\n" for v, text in _SHORT.items()))
    for group, title in _GROUPS:
        rows = [o for o in OPTIONS if o.group == group and (o.key in VERBS[verb] or o.key in EVERYWHERE)]
        if rows:
            parts.append(title + "\n" + "".join(_row(o) for o in rows))
    return "\n".join([*parts, _END])


def _row(option: Option) -> str:
    if option.key == "level":
        head = "-O0 -O1 -O2 -O3"
    else:
        joint = "=" if option.flags[-1].startswith("--") and option.takes else " "
        head = ", ".join(option.flags) + (joint + option.takes if option.takes else "")
    lines = textwrap.wrap(option.text, _WIDTH - _COLUMN, break_on_hyphens=False)
    head = f"  {head}"
    if len(head) >= _COLUMN:
        lines.insert(0, "")
    head = f"{head:<{_COLUMN}}"
    return "\n".join([head + lines[0], *(" " * _COLUMN + line for line in lines[1:])]).rstrip() + "\n"
