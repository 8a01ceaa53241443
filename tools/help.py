"""The texts of --help, made from the table of options."""

from __future__ import annotations

import textwrap

from .args import EVERYWHERE, OPTIONS, VERBS, Option

_WIDTH = 96
_COLUMN = 30

_COMPILE = """\
geoc: a compiler for trained models.

  geoc MODEL [options]          optimize a model and write it
  geoc VERB ...                 look inside; `geoc VERB --help` says more

    geoc bert.onnx                            writes bert.geoc.onnx, checked against the original
    geoc bert.onnx -O1 -o small.onnx          clean up in standard operators only
    geoc yolo.onnx --shape images=1,3,640,640 fix the shape, so that more can be computed ahead
    geoc bert.onnx -o bert.gir                write readable text; geoc bert.gir -o back.onnx reads it

  when something is wrong, or did not happen:
    geoc bert.onnx --check=each               which pass changes results?
    geoc bert.onnx --time-passes              where does the time go?
    geoc bert.onnx --dump-dir steps           the model after every pass, and each rewrite
    geoc explain bert.onnx --rule NAME        why did this rule not fire?
"""
_VERB_HELP = {
    "dump": """\
geoc dump MODEL [-o OUT.gir]: print a model as text that `geoc OUT.gir -o MODEL.onnx` reads back.

    geoc dump model.onnx | less
    diff <(geoc dump a.onnx) <(geoc dump b.onnx)
""",
    "passes": """\
geoc passes [-O2] [--target T]: what passes there are, or what a level runs.

    geoc passes                       every pass, with what it does and its options
    geoc passes fold                  one pass in full
    geoc passes -O2 --target cpu      the pipeline of a level, as --passes takes it
    geoc model.onnx --passes "$(geoc passes -O2),dce"
""",
    "rules": """\
geoc rules [NAME...]: the rewrite rules, or the text of those named (* allowed).

    geoc rules
    geoc rules 'transpose*'
    geoc rules --rules mine.rules     checks and lists your own as well
""",
    "targets": """\
geoc targets [NAME...]: what geoc compiles for, and what each stands for on this machine.
""",
    "explain": """\
geoc explain MODEL --rule NAME [--node NODE]: why a rule fires or does not.

    geoc explain bert.onnx --rule conv_batch_norm
    geoc explain bert.onnx --rule conv_batch_norm --node /layer1/conv1/Conv

The model is first brought to where the rule would run: as it is before the first pass with that rule.
""",
}
_SHORT = {
    "dump": "print a model as text",
    "passes": "list passes, or print the pipeline of a level",
    "rules": "list rewrite rules, or print some",
    "targets": "list what can be compiled for",
    "explain": "say why a rule fires or does not",
}
_GROUPS = (
    ("compile", "compile"),
    ("passes", "which passes run"),
    ("look", "looking inside"),
    ("verbs", "what to show"),
    ("other", "always"),
)
_END = "exit codes: 0 done; 1 compared and wrong, nothing written; 2 bad use or bad input"


def help_text(verb: str) -> str:
    """The help of a verb; "compile" is the command itself."""
    parts = [_COMPILE if verb == "compile" else _VERB_HELP[verb]]
    if verb == "compile":
        parts.append("verbs\n" + "".join(f"  {v:<10}{text}\n" for v, text in _SHORT.items()))
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
    lines = textwrap.wrap(option.text, _WIDTH - _COLUMN)
    head = f"  {head}"
    if len(head) >= _COLUMN:
        lines.insert(0, "")
    head = f"{head:<{_COLUMN}}"
    return "\n".join([head + lines[0], *(" " * _COLUMN + line for line in lines[1:])]).rstrip() + "\n"
