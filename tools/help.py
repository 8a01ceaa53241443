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
    geoc bert.onnx -O3 --target=a100          fp16 for TensorRT, within 1 % of the original
    geoc bert.onnx --precision int8 --calib data.npz --metric score.py:f --max-drop 1%   integers
    geoc bert.onnx --recipe edge --calib data.npz      several forms, the smallest that fits the budget
    geoc bert.onnx --max-size 30MB --calib data.npz    the most exact form that is small enough
    geoc bert.onnx -o bert.gir                write readable text; geoc bert.gir -o back.onnx reads it

  when something is wrong, or did not happen:
    geoc bert.onnx --check=each               which pass changes results?
    geoc bert.onnx --time-passes              where does the time go?
    geoc bert.onnx --dump-dir steps           the model after every pass, and each rewrite
    geoc explain bert.onnx                    which rules came near, and what stopped them?
"""
_VERB_HELP = {
    "dump": """\
geoc dump MODEL [-o OUT.gir]: print a model as text that `geoc OUT.gir -o MODEL.onnx` reads back.

    geoc dump model.onnx | less
    diff <(geoc dump a.onnx) <(geoc dump b.onnx)
""",
    "passes": """\
geoc passes [-O2] [--target T]: what passes and recipes there are, or what a level or a recipe runs.

    geoc passes                       every pass, with what it does and its options
    geoc passes fold                  one pass in full
    geoc passes -O2 --target cpu      the pipeline of a level, as --passes takes it
    geoc passes edge                  a recipe, as a file that --recipe takes
    geoc passes --recipe edge         the pipelines of what it tries
    geoc model.onnx --passes "$(geoc passes -O2),dce"
""",
    "rules": """\
geoc rules [NAME...]: the rewrite rules and capability rows, or the text of those named (* allowed).

    geoc rules
    geoc rules 'transpose*'
    geoc rules --target a100          with the rules and rows of its runtime
    geoc rules --rules mine.rules     checks and lists your own as well
""",
    "targets": """\
geoc targets [NAME...]: what geoc compiles for and estimates, or all that is known of those named.

    geoc targets
    geoc targets a100 h100
    geoc targets cpu-vnni,cores=16,price=0.7     a number changed; also bandwidth, memory, launch, fp16, ...
""",
    "doctor": """\
geoc doctor: what is installed here, whether it works, and what geoc can do with it.

Exit codes: 0 the default target works; 1 it does not.
""",
    "estimate": """\
geoc estimate MODEL [--target T]: time, arithmetic, memory and price on a target, by its peak numbers.

    geoc estimate bert.onnx --target a100 --shape batch=8,seq=128
    geoc estimate bert.onnx --target graviton,price=2.31
    geoc estimate bert.onnx --json | jq .seconds

Nothing is run: every figure is an estimate, of the model as it is in the file.
""",
    "explain": """\
geoc explain MODEL [--rule NAME] [--node NODE]: why rules fire or do not.

    geoc explain bert.onnx                           which rules came near a match, and what stopped them
    geoc explain bert.onnx --rule conv_batch_norm    one rule: where it matches, where it came near
    geoc explain bert.onnx --node /layer1/Conv       what became of a node, and each rule's nearest miss there

Without --rule the model is the one that each rule's pass meets last, when the other rules have done what they
can for it; with --rule the one that its pass meets first.
""",
    "match": """\
geoc match RULE MODEL [--json]: where a rule would match; nothing is rewritten.

    geoc match conv_batch_norm bert.onnx
    geoc match my_rule bert.onnx --rules my.rules
    geoc match 'Softmax(Add(%x, %m: const)) {*}' bert.onnx
    geoc match '%y = MatMul(%a, %b: const) where dim(%b, 0) == 768' bert.onnx -O1

RULE is a name, or a pattern in the language of docs/rules.md, whose inner values may have other uses. A rule
looks at the model as its pass first meets it; a pattern at the model as it is in the file or, with -O or
--passes, at what these make of it. Exit codes: 0 found; 1 not found; 2 bad use or bad input.
""",
    "quant-report": """\
geoc quant-report MODEL [ORIGINAL] [--calib DATA]: what quantization costs, layer by layer.

    geoc quant-report bert.int8.onnx bert.onnx --calib data.npz
    geoc quant-report bert.int8.onnx bert.onnx -o report.html     with a plot; .png and .json as well
    geoc quant-report bert.int8.onnx                              without the original
    geoc quant-report bert.int8.onnx bert.onnx --json | jq .error.l2

MODEL is any quantized model: what geoc wrote, Q and DQ of another tool, operators on integers, weights in
blocks. For each layer: the bits and bytes of its weight; of its input the type, the range that was seen, the
share that is cut off because no code stands for it, and what rounding it makes alone; and, beside ORIGINAL,
how far the result of the layer is off: relative L2 error and signal-to-noise ratio (20 dB are 10 %).
The worst come first: `--passes '...quantize{keep=[...]}'` leaves layers in floats. Layers of the two models
are brought together by what they compute, so names do not matter; what corresponds to nothing has no error.
Without --calib inputs are made up, and the figures show little more than that it runs.
""",
    "distill": """\
geoc distill TEACHER STUDENT --data DATA [-o OUT]: train a student to give what a teacher gives.

    geoc distill bert.onnx bert.small.onnx --data sentences.npz --epochs 5
    geoc distill big.onnx small.onnx --data pictures.npz --kl logits --temperature 4 --lr 1e-3
    geoc distill big.onnx small.onnx --data pictures.npz --labels label --alpha 0.3
    geoc distill bert.onnx bert.small.onnx --data sentences.npz --hidden auto --checkpoint state

STUDENT is any model with the inputs of TEACHER: one that low-rank, prune or quantization has made of it,
or another. Its weights are trained; tables of masks and positions, shapes and scales of quantization stay.
Names, inputs and outputs stay, and zeros of weights that are sparse; weights that are quantized are trained
through their rounding. What is printed is of samples that are never trained on; the epoch that is best on
these is written, to STUDENT.distilled.onnx where -o says nothing else. With --checkpoint the same command
goes on where it was interrupted, and writes the same file, bit for bit (docs/distill.md).
Exit codes: 0 done; 1 no epoch came nearer to the teacher, nothing written; 2 bad use or bad input.
""",
    "rulecheck": """\
geoc rulecheck [FILE.rules|FILE.py...] [--rule NAMES]: try rewrite rules on graphs made up for them.

    geoc rulecheck                              every rule of the library
    geoc rulecheck mine.rules --plugin mine.py  your own, with their natives
    geoc rulecheck mine.rules -o wrong.gir      counterexamples into a file

For each rule its left side is built as small graphs whose shapes, types and constants fit the conditions; the
rule is applied, and values, types and estimated cost are compared. A rule without an instance fails.
Exit codes: 0 all are right; 1 a rule is wrong or has no instance; 2 bad use or bad input.
""",
}
_SHORT = {
    "dump": "print a model as text",
    "passes": "list passes and recipes, or print the pipeline of a level",
    "rules": "list rewrite rules, or print some",
    "targets": "list what can be compiled for",
    "doctor": "say what is installed here, and whether it works",
    "estimate": "estimate time and memory on a target",
    "explain": "say why a rule fires or does not",
    "match": "find where a rule or a pattern matches",
    "quant-report": "show what quantization costs each layer",
    "distill": "train a student to give what a teacher gives",
    "rulecheck": "try rewrite rules, and show where one is wrong",
}
_GROUPS = (
    ("compile", "compile"),
    ("training", "training"),
    ("passes", "which passes run"),
    ("look", "looking inside"),
    ("verbs", "what to show"),
    ("other", "always"),
)
_END = "exit codes: 0 done; 1 compared and wrong, or over a limit: nothing written; 2 bad use or bad input"


def help_text(verb: str) -> str:
    """The help of a verb; "compile" is the command itself."""
    parts = [_COMPILE if verb == "compile" else _VERB_HELP[verb]]
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
