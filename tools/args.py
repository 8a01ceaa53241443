"""The command's grammar: one table of options, each meaning the same in every verb, and its reader.

Written by hand because start-up is counted in milliseconds and a wrong option deserves its nearest name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..ir.errors import UsageError


class Option(NamedTuple):
    """One option: its spellings, what it takes, how often, and its line of help."""

    flags: tuple[str, ...]
    takes: str  # metavar of the value; "" for a switch
    kind: str  # switch, count, text, int, ints (`SEVERAL`), number, list (commas), texts (repeatable), or a|b|c
    text: str
    group: str = "compile"

    @property
    def key(self) -> str:
        return self.flags[-1].lstrip("-").replace("-", "_")


OPTIONS: tuple[Option, ...] = (
    Option(("-O", "--level"), "0|1|2|3", "int", "how much to do: 0 import and export, 1 clean up in standard "
           "operators, 2 every lossless rewrite (default), 3 the target's precisions as well"),
    Option(("--target",), "NAME[,key=value]", "text", "what the result is for (default cpu; see `geoc targets`); "
           "fastest-cpu measures onnxruntime and OpenVINO here and takes the faster"),
    Option(("-o", "--output"), "OUT", "text", "where to write; its suffix says what: .onnx, .gir, ... "
           "(default MODEL.geoc.onnx)"),
    Option(("--shape",), "NAME=1,3,224,224|SYM=8", "texts", "fix an input's shape or a symbolic dimension; "
           "min:opt:max keeps it symbolic and checks inside the range; NAME=B,S names open dimensions, and those of "
           "one name are equal; repeatable"),
    Option(("--precision",), "NAME", "text", "compute in auto, fp32, tf32, bf16, fp16, fp8, int8 (w8a8), int4 (w4a16: "
           "weights alone) or w8a16, where the target has it; with kv8 behind weights alone, or kv8 by itself, the "
           "key-value caches that the model is called with are i8; an order, which --max-error limits (default: the "
           "source's, at -O3 auto)"),
    Option(("--max-error",), "1%", "text", "the mean relative L2 error of each output that a lower precision may "
           "make (default 1% with auto); where a precision is over it as a whole, part of the model stays as it was"),
    Option(("--metric",), "FILE.py:FUNCTION", "text", "your measure of a model, the higher the better: function(run) "
           "gives a number, run(arrays by input) the outputs in order; both the source and the result are measured"),
    Option(("--max-drop",), "0.01|1%", "text", "how much of --metric a lower precision may lose, in the metric's units "
           "or as a share of the source's"),
    Option(("--goal",), "latency|throughput|size|cost", "latency|throughput|size|cost", "what to prefer where no form "
           "is the best at everything: one token after the other, many rows at once, few bytes, or the price of many "
           "rows (default latency)"),
    Option(("--max-size",), "10MB", "text", "how large what is written may be, with its data files: smaller forms are "
           "tried until it fits, the most exact first; what does not fit is not written"),
    Option(("--max-memory",), "50MB", "text", "the same for the memory that running it takes at its peak: measured "
           "where the target is this machine, else estimated"),
    Option(("--measure",), "", "switch", "decide by timing on this machine, layer by layer, instead of by estimate, "
           "and time the result"),
    Option(("--calib",), "FILE.npz|DIR|FILE.py:FUNCTION", "text", "samples to measure numbers on: arrays INPUT/0, "
           "INPUT/1, ...; a folder of .npy and .npz; or a function that yields them. One in five is held back, and the "
           "result compared on it (default: random, made-up inputs)"),
    Option(("--cache",), "DIR|off", "text", "where what was measured on samples is kept for the next run, or to go on "
           "after an interruption (default: $GEOC_CACHE_DIR, or geoc/statistics in the platform's folder for caches)"),
    Option(("--emit",), "KINDS", "list", "what to write, with commas: onnx, gir, gguf, ort, run, triton, and what else "
           "the target has (default: what -o ends in, or the target's own); several go into the folder -o"),
    Option(("--io-precision",), "fp32|fp16|bf16", "fp32|fp16|bf16", "what float inputs and outputs are declared as "
           "(default: as in the source)"),
    Option(("--threads",), "N", "ints", "how many threads the runtime is to use; written into what is emitted "
           "(default: the runtime's own choice); bench and profile: 1; bench and tune take several, with commas"),
    Option(("--fallback",), "TARGET|none", "text", "what runs the nodes that the target cannot (default cpu); none "
           "makes them an error that names them"),
    Option(("--opset",), "N", "int", "write this opset (default: the source's, raised where needed)"),
    Option(("--weights",), "reuse|copy|inline", "reuse|copy|inline", "large weights: refer to the source's data "
           "files (default), copy them beside the output, or put them into it"),
    Option(("--logits",), "all|last", "all|last", "of a decoder: those of all tokens that it is given (default), or of "
           "the last one, which is all that the next token needs; a prompt then is spared most of its largest product"),
    Option(("--tokenizer",), "FILE|DIR", "text", "where --emit gguf takes the vocabulary from: a tokenizer.json, its "
           "folder, or a .gguf (default: the source's own, or the tokenizer.json beside it)"),
    Option(("--check",), "off|end|each", "off|end|each", "compare with the unoptimized model in onnxruntime: never, "
           "at the end with repair, or after each pass with revert (default end under 500 MB of "
           "weights, 2 GB for a lower precision)"),
    Option(("--passes",), "PIPELINE", "text", "run these instead of a level: name{key=value,...},repeat(n){...},@O2",
           "passes"),
    Option(("--recipe",), "NAME|FILE.toml", "text", "options, passes and forms to try from a file: edge, latency, "
           "throughput, llm, or your own (`geoc passes` lists them); what is said beside it wins", "passes"),
    Option(("--skip",), "NAMES", "list", "leave out passes or rules, commas and * allowed", "passes"),
    Option(("--only",), "NAMES", "list", "run only these passes or rules, commas and * allowed", "passes"),
    Option(("--rules",), "FILE.rules", "texts", "rewrite rules of your own, run before the last clean-up; repeatable",
           "passes"),
    Option(("--plugin",), "FILE.py", "texts", "passes and @rule functions of your own; repeatable", "passes"),
    Option(("--dump-dir",), "DIR", "text", "write the model after each pass that changed it, and every rewrite",
           "look"),
    Option(("--print-after",), "NAMES", "list", "print the model after these passes (* for all) to stderr", "look"),
    Option(("--time-passes",), "", "switch", "print a tree of times, node counts and rewrites to stderr", "look"),
    Option(("--remarks",), "FILE", "text", "what was applied, missed and refused, one JSON object a line", "look"),
    Option(("--bisect-limit",), "N", "int", "allow only the first N rewrites (-v numbers them)", "look"),
    Option(("--report",), "FILE.json|.html", "text", "what the summary says and more: what changed and fired, what was "
           "refused and why, versions and hashes; as JSON or as a page", "look"),
    Option(("--rule",), "NAME", "text", "the rule to explain (default: all)", "verbs"),
    Option(("--node",), "NODE", "text", "the node to explain, by output or source location", "verbs"),
    Option(("--json",), "", "switch", "one JSON object a line", "verbs"),
    Option(("--count",), "N", "int", "instances of each rule, at the least (default 8)", "verbs"),
    Option(("--test",), "ort|openvino|crash|COMMAND", "text", "what tells right from wrong: compared with the source "
           "in onnxruntime (default), run in OpenVINO and compared, whether it compiles, or a command on the written "
           "model (in place of {}, or behind it): exit 0 good, 125 cannot say, else bad", "verbs"),
    Option(("--nodes",), "", "switch", "compare the values inside that correspond as well, and name the first node "
           "that departs", "verbs"),
    Option(("--full",), "", "switch", "print doc strings and metadata as well", "verbs"),
    Option(("--data",), "FILE.npz|DIR|FILE.py:FUNCTION", "text", "the samples to train on, as --calib takes them; one "
           "in five is never trained on, and decides which epoch is kept", "training"),
    Option(("--epochs",), "N", "int", "how often all samples are seen (default 10)", "training"),
    Option(("--batch",), "N", "ints", "samples at once: of one step of training (default 16), or of one inference that "
           "is timed (default 1; several with commas)", "running"),
    Option(("--lr",), "RATE", "number", "the learning rate of AdamW behind its warm-up (default 1e-4)", "training"),
    Option(("--kl",), "OUTPUTS", "list", "outputs that hold logits or probabilities, compared by the divergence of "
           "their softmax; NAME:AXIS says where the classes lie (default: what a softmax makes, and what is named "
           "*logit* and the like)", "training"),
    Option(("--mse",), "OUTPUTS", "list", "outputs compared by squared error (default: the others)", "training"),
    Option(("--hidden",), "auto|TEACHERVALUE=STUDENTVALUE", "texts", "values inside that are to be alike as well, by "
           "the names of values or nodes; auto pairs those of one name; repeatable", "training"),
    Option(("--blocks",), "N", "int", "before that, each stretch between two values of --hidden learns alone what the "
           "teacher gives at its end: its last layer by least squares, then all of it in N epochs; kept where the "
           "outputs come no further from the teacher's (default 0: no)", "training"),
    Option(("--temperature",), "T", "number", "softens both distributions of --kl (default 2)", "training"),
    Option(("--labels",), "NAME", "text", "the array of the samples that has the classes that are right; below 0, or "
           "left out, where none is known", "training"),
    Option(("--alpha",), "A", "number", "the weight of the labels beside the teacher, 0 to 1 (default 0.5 with labels)",
           "training"),
    Option(("--beta",), "B", "number", "the weight of the hidden states (default 1)", "training"),
    Option(("--mask",), "INPUT", "text", "the input whose zeros mark positions that do not count (default "
           "attention_mask)", "training"),
    Option(("--freeze",), "NAMES", "list", "weights, or nodes whose weights, stay as they are, with * and ?",
           "training"),
    Option(("--clip",), "NORM", "number", "the largest norm of a step's gradient (default 1)", "training"),
    Option(("--checkpoint",), "DIR", "text", "where the state is kept, to go on after an interruption", "training"),
    Option(("--inputs",), "FILE.npz|DIR|FILE.py:FUNCTION", "text", "what to run on, as --calib takes it (default: "
           "random, made-up inputs)", "running"),
    Option(("--runtime",), "ort|openvino|reference|tensorrt", "text", "what runs the models (default: ort, which is "
           "onnxruntime, for .onnx and .gir, openvino for .xml); `tensorrt` is bench's alone; compare has `reference` "
           "and `ort-optimized` as well, and with a comma another one for the second model", "running"),
    Option(("--time",), "10s", "text", "how long the timing itself may take, with ms, s, m or h (default 10s; 3s to "
           "profile); to reduce and to tune (default 10m), all of it, which ends with the best so far then", "running"),
    Option(("--rounds",), "N", "int", "how many rounds at the most, each of a turn of every model (default: what "
           "--time allows)", "running"),
    Option(("--prompt",), "N", "int", "tokens that a decoder with a cache is given (default 128)", "running"),
    Option(("--tokens",), "N", "int", "tokens that it makes then, one after the other (default 64); 0 times the model "
           "as any other", "running"),
    Option(("--history",), "FILE.jsonl", "text", "a file that every run is added to, and compared with the last one of "
           "the same models on the same machine", "running"),
    Option(("--latency-target",), "10ms", "text", "how long a run may take: what is most accurate within that wins",
           "tuning"),
    Option(("--trials",), "N", "int", "how many forms are tried at the most (default: what --time allows)", "tuning"),
    Option(("--scheduler",), "ADDRESS", "text", "run trials on the workers of this Dask scheduler, tcp://HOST:PORT",
           "tuning"),
    Option(("--seed",), "N", "int", "seed of made-up inputs and of whatever else is drawn (default 0)", "other"),
    Option(("--tensorflow",), "PYTHON", "text", "the interpreter of an environment with tensorflow and tf2onnx, which "
           "reads SavedModel folders and Keras files (default: $GEOC_TENSORFLOW_PYTHON)", "other"),
    Option(("-v", "--verbose"), "", "count", "say more; numbers every rewrite", "other"),
    Option(("-q", "--quiet"), "", "switch", "print nothing but errors", "other"),
    Option(("--debug",), "", "switch", "show the traceback of an error", "other"),
    Option(("-h", "--help"), "", "switch", "this text", "other"),
    Option(("--version",), "", "switch", "the versions of geoc and of what it runs on", "other"),
)  # fmt: skip

EVERYWHERE = ("tensorflow", "verbose", "quiet", "debug", "help", "version")
_NOT_COMPILING = ("verbs", "training", "running", "tuning")
_PIPELINE = ("level", "target", "passes", "skip", "only", "rules", "plugin")
_COMPILATION = (
    *_PIPELINE, "shape", "precision", "max_error", "calib", "cache", "io_precision", "opset", "bisect_limit", "seed",
)  # fmt: skip
VERBS: dict[str, tuple[str, ...]] = {
    "compile": tuple(o.key for o in OPTIONS if o.group not in _NOT_COMPILING and o.key not in EVERYWHERE),
    "dump": ("output", "weights", "shape", "full"),
    "passes": (*_PIPELINE, "recipe"),
    "rules": ("target", "rules", "plugin"),
    "targets": (),
    "doctor": (),
    "estimate": ("target", "shape", "json"),
    "inspect": ("shape", "json"),
    "explain": (*_PIPELINE, "rule", "node", "shape", "seed"),
    "match": (*_PIPELINE, "json", "shape", "seed"),
    "diff": ("output", "json"),
    "compare": ("inputs", "shape", "runtime", "nodes", "max_error", "output", "json", "seed"),
    "quant-report": ("calib", "shape", "output", "json", "seed"),
    "view": ("target", "shape", "output"),
    "distill": (*(o.key for o in OPTIONS if o.group == "training"), "batch", "output", "threads", "report", "seed"),
    "profile": ("output", "json", "runtime", "shape", "threads", "inputs", "time", "rounds", "seed"),
    "bench": (
        "output", "json", "runtime", "target", "shape", "batch", "threads", "inputs", "time", "rounds", "prompt",
        "tokens", "history", "seed",
    ),
    "bisect": (*_COMPILATION, "test", "output", "json"),
    "reduce": (*_COMPILATION, "test", "output", "json", "time"),
    "tune": (
        "target", "goal", "max_error", "metric", "max_drop", "latency_target", "trials", "time", "calib", "shape",
        "threads", "output", "checkpoint", "cache", "scheduler", "json", "seed",
    ),
    "rulecheck": ("target", "plugin", "rule", "count", "seed", "output"),
}
"""Verbs and the options each takes."""
SEVERAL = {("bench", "batch"), ("bench", "threads"), ("tune", "threads")}
"""Where an option of the kind `ints` takes several numbers, as a list; elsewhere it is one number."""


class Arguments:
    """What the command line said: the verb, its words, and the options by key (absent: not given)."""

    def __init__(self, verb: str) -> None:
        self.verb = verb
        self.words: list[str] = []
        self.values: dict[str, Any] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)


def read(argv: Sequence[str]) -> Arguments:
    """Read a command line. Raises UsageError for what the grammar does not know."""
    rest = list(argv)
    first = next((i for i, word in enumerate(rest) if not word.startswith("-")), None)
    verb = "compile"
    # Only the first word can be a verb, and only where no option before it could own it as a value.
    if first is not None and rest[first] in VERBS and not _wants_value(rest[:first]):
        verb = rest.pop(first)
    found = Arguments(verb)
    while rest:
        word = rest.pop(0)
        if word == "--":
            found.words.extend(rest)
            break
        if word.startswith("-") and word != "-":
            _option(found, word, rest)
        else:
            found.words.append(word)
    return found


def _wants_value(before: list[str]) -> bool:
    option = _BY_FLAG.get(before[-1]) if before else None
    return option is not None and bool(option.takes)


_BY_FLAG = {flag: option for option in OPTIONS for flag in option.flags}


def _option(found: Arguments, word: str, rest: list[str]) -> None:
    flag, equals, attached = word.partition("=")
    value: str | None = attached if equals else None
    option = _BY_FLAG.get(flag)
    if option is None and not word.startswith("--"):  # -O2, -oFILE, -vvq
        switches = [_BY_FLAG.get(f"-{letter}") for letter in word[1:]]
        if all(switch is not None and not switch.takes for switch in switches):
            for letter in word[1:]:
                _option(found, f"-{letter}", rest)
            return
        option, value = _BY_FLAG.get(word[:2]), word[2:]
        flag = word[:2] if option is not None else flag
    if option is None or (option.key not in VERBS[found.verb] and option.key not in EVERYWHERE):
        raise _unknown(found.verb, flag, option)
    if not option.takes:
        if value is not None:
            raise UsageError(f"{flag} takes no value")
        _store(found, option, flag, None)
        return
    if value is None:
        if not rest:
            raise UsageError(f"{flag} needs a value: {flag} {option.takes}")
        value = rest.pop(0)
    _store(found, option, flag, value)


def _store(found: Arguments, option: Option, flag: str, value: str | None) -> None:
    key, values = option.key, found.values
    if value is None:
        values[key] = values.get(key, 0) + 1 if option.kind == "count" else True
    elif option.kind == "int":
        try:
            values[key] = int(value)
        except ValueError:
            raise UsageError(f"{flag} takes a whole number, not {value!r}") from None
    elif option.kind == "ints":
        values[key] = _numbers(found.verb, key, flag, value)
    elif option.kind == "number":
        try:
            values[key] = float(value)
        except ValueError:
            raise UsageError(f"{flag} takes a number, not {value!r}") from None
    elif option.kind == "list":
        values.setdefault(key, []).extend(part for part in value.split(",") if part)
    elif option.kind == "texts":
        values.setdefault(key, []).append(value)
    elif "|" in option.kind and value not in option.kind.split("|"):
        raise UsageError(f"{flag} is one of {option.kind.replace('|', ', ')}; not {value!r}")
    elif not value:
        raise UsageError(f"{flag} needs a value: {flag} {option.takes}")
    else:
        values[key] = value


def _numbers(verb: str, key: str, flag: str, value: str) -> int | list[int]:
    several = (verb, key) in SEVERAL
    try:
        numbers = [int(part) for part in (value.split(",") if several else [value])]
    except ValueError:
        raise UsageError(f"{flag} takes {'whole numbers' if several else 'a whole number'}, not {value!r}") from None
    if several and min(numbers) < 1:
        raise UsageError(f"{flag} takes numbers from 1 on, not {value!r}")
    return numbers if several else numbers[0]


def _unknown(verb: str, flag: str, option: Option | None) -> UsageError:
    from difflib import get_close_matches

    known = [f for o in OPTIONS for f in o.flags if o.key in VERBS[verb] or o.key in EVERYWHERE]
    if option is not None:
        where = ", ".join(v for v, keys in VERBS.items() if option.key in keys)
        return UsageError(f"`geoc {verb}` has no option {flag}; it belongs to: {where}")
    near = get_close_matches(flag, known, 2)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; `geoc --help` lists them"
    return UsageError(f"unknown option {flag}{hint}")
