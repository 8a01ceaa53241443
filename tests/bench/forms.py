"""Which form of an operator onnxruntime's CPU provider runs fastest.

    python tests/bench/forms.py [OPERATORS...] [--threads N...] [--rounds N] [--write]

Each form of form_cases.py becomes a small model, checked against the plain one, and all forms of a case run in turn in one
process under onnxruntime's default optimization level. A figure is the median over the rounds; ratios are those of one
round to the plain form. With one thread time is that of the thread; with more it is the clock.

`--write` keeps the rows that were measured in lowering/onnxruntime/measured.json, beside those of operators that were not
asked for and those of processors with other vector extensions, and renders docs/forms.md from it: what the rules there choose
is what that table says.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from form_cases import NUMBERS, Case, array, cases, sized

ROOT = Path(__file__).parent.parent.parent
RECORDS = ROOT / "lowering" / "onnxruntime" / "measured.json"
TABLE = ROOT / "docs" / "forms.md"
SLICE = 0.004  # seconds that a form runs in a round, at least once
TOLERANCE = 1e-4
Record = dict[str, Any]


def build(case: Case, body: str) -> bytes:
    """The model: `body` applied `case.repeat` times, each time to the `y` before. Raises ValueError for text that is wrong."""
    from onnx import TensorProto, helper, numpy_helper, parser

    declared = {"x": case.x, **case.given}
    inputs = ", ".join(f"{sized(t, case.sizes)} {n}" for n, t in declared.items())
    graph = parser.parse_graph(f"forms ({inputs}) => (float y) {{ {sized(body, case.sizes)} }}")
    constants = constants_of(case)
    nodes, also, x = [], [], "x"
    for step in range(case.repeat):
        names = {n: n for n in (*constants, *declared)} | {"": "", "x": x}
        end = "y" if step == case.repeat - 1 else f"y.{step}"
        for node in graph.node:
            for name in node.output:
                names.setdefault(name, end if name == "y" else f"{name}.{step}")
            node = helper.make_node(
                node.op_type, [names[n] for n in node.input], [names[n] for n in node.output], domain=node.domain,
                **{a.name: helper.get_attribute_value(a) for a in node.attribute},
            )  # fmt: skip
            nodes.append(node)
        also += [names[n] for n in case.also]
        x = end
    # A Reshape that ends in a graph output is copied, which in a model it is not.
    nodes.append(helper.make_node("Neg", ["y"], ["end"]))
    used = {name for node in nodes for name in node.input}
    made = helper.make_graph(
        nodes, "forms", [i for i in graph.input if i.name in used],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("end", *also)],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items() if n in used],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 24), helper.make_opsetid("com.microsoft", 1)]
    return bytes(helper.make_model(made, opset_imports=opsets, ir_version=11).SerializeToString())


def constants_of(case: Case) -> dict[str, Any]:
    """Weights, scalars and lists by name; a weight of type "wide" is another one's columns twice."""
    found: dict[str, Any] = {n: np.float32(v) for n, v in NUMBERS.items()}
    found |= {n: np.array(v, np.int64) for n, v in case.lists.items()}
    for name, type_ in case.weights.items():
        if type_ == "wide":
            half = found[name.replace("_wide", "2")]
            found[name] = np.concatenate([half, half], -1)[None, None]
        else:
            found[name] = array(name, type_, case.sizes)
    return found


def session(data: bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])


def measure(case: Case, threads: int, rounds: int) -> list[Record]:
    """One row for each form. Raises ValueError for a form that computes something else."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    models: dict[str, tuple[Any, Record]] = {}
    expected: list[Any] | None = None
    for form, body in case.forms.items():
        model = session(build(case, body), threads)
        feeds = {i.name: array(i.name, {"x": case.x, **case.given}[i.name], case.sizes) for i in model.get_inputs()}
        found = model.run(None, feeds)
        expected = expected or found
        for a, b in zip(found, expected):
            error = float(np.abs(a - b).max() / np.abs(b).max())
            if form != "GroupQueryAttention" and not error < TOLERANCE:  # which takes no mask
                raise ValueError(f"{case.op}, {case.shape}: {form} differs by {error:.1e}")
        models[form] = model, feeds
    seconds: dict[str, list[float]] = {form: [] for form in models}
    order = list(models)
    for turn in range(rounds):
        start = turn % len(order)
        for form in order[start:] + order[:start]:
            seconds[form].append(one_slice(*models[form], clock))
    plain = seconds[order[0]]
    on = processor()
    return [
        {
            "on": on, "op": case.op, "shape": case.shape, "threads": threads, "form": form,
            "us": round(median(found) * 1e6 / case.repeat, 2),
            "ratio": round(median(a / b for a, b in zip(found, plain)), 3),
        }
        for form, found in seconds.items()
    ]  # fmt: skip


def one_slice(model: Any, feeds: Record, clock: Any) -> float:
    """Seconds of one run, the mean over a slice of time."""
    model.run(None, feeds)
    times, started = 0, clock()
    while True:
        model.run(None, feeds)
        times += 1
        taken = clock() - started
        if taken > SLICE:
            return float(taken / times)


def rendered(data: Record) -> str:
    """docs/forms.md."""
    rows: list[Record] = data["rows"]
    machines = sorted({r["on"] for r in rows})
    lines = [
        "# Forms of operators in onnxruntime's CPU provider", "",
        f"Time of each form relative to the plain one in basic operators, onnxruntime {data['onnxruntime']} at its default optimization",
        "level. In brackets microseconds of the plain form. Below 1 is faster; a form only pays where it beats what onnxruntime makes",
        "of the plain one by itself. Made by `python tests/bench/forms.py --write`; `lowering/onnxruntime/*.rules` choose accordingly.",
        "", *(f"- on {number}: {name}" for number, name in enumerate(machines, 1)),
    ]  # fmt: skip
    for op in dict.fromkeys(r["op"] for r in rows):
        mine = [r for r in rows if r["op"] == op]
        forms = list(dict.fromkeys(r["form"] for r in mine))
        lines += ["", f"## {op}", "", f"| shape | threads | on | {' | '.join(forms)} |", "|---" * (len(forms) + 3) + "|"]
        for shape, threads, on in dict.fromkeys((r["shape"], r["threads"], r["on"]) for r in mine):
            cells = {r["form"]: r for r in mine if (r["shape"], r["threads"], r["on"]) == (shape, threads, on)}
            best = min(r["ratio"] for r in cells.values())
            number = machines.index(on) + 1
            lines.append(f"| {shape} | {threads} | {number} | {' | '.join(_cell(cells.get(f), best) for f in forms)} |")
    return "\n".join([*lines, "", *NOTES, ""])


def _cell(row: Record | None, best: float) -> str:
    if row is None:
        return ""
    if row["form"] == "plain":
        return f"1 ({row['us']:.3g})"
    text = f"{row['ratio']:.2f}"
    return f"**{text}**" if row["ratio"] <= best + 0.01 and row["ratio"] < 0.97 else text


NOTES = [
    "## What the table says",
    "",
    "- SkipLayerNormalization, which onnxruntime makes of an Add and a LayerNormalization with three axes by itself, takes several",
    "  times as long as the two. Spelled as Sum, or on rows, they stay as they are.",
    "- Attention is fastest on [batch, length, heads * size]; with a cache when the operator grows it. Without mask and from a",
    "  length of about 1,000 on MultiHeadAttention is, which works in tiles. GroupQueryAttention pays for causal attention at 512 only.",
    "- RotaryEmbedding is three times as fast before the heads are moved than after.",
    "- GELU in all its forms, Swish as Sigmoid and Mul, RMSNormalization: the standard operators are as fast as com.microsoft's.",
    "- Swish, HardSwish, Mish and GroupNormalization have no kernels: onnxruntime runs their definitions. Mish is much faster as a",
    "  quotient, GroupNormalization as InstanceNormalization and BatchNormalization.",
    "- A product of few rows with a matrix larger than the caches takes as long as the matrix takes to be read, and a 1 x 1",
    "  convolution reads it fastest: two thirds to four fifths of the time of MatMul. With 64 rows it is hardly slower, with 256 by a",
    "  tenth at 768 inputs and by half of the time and more at 3,072 and above. So decoders with a cache get it, which run with one",
    "  row for each token, and for up to 3,072 inputs (tokens.rules), on x86, where this was measured (with AVX2, and with AVX-512:",
    "  1.2 to 1.3 times as fast for one token, a prompt of 512 tokens 0 to 7 % slower); `--skip=ort-tokens` leaves it out.",
    "- Over the transformer exports 43 % of the time outside products is exponentials, error functions and the sums of normalizations, which no form",
    "  avoids (`tests/bench/arithmetic.py`, AVX-512, one thread); what geoc takes of the time outside is in [fusion-speed.md](fusion-speed.md).",
    "- A bias in the normalization beside a residual wins 1 to 7 % where rows are few and narrow, and nothing on wide ones. Rows of one",
    "  token in four dimensions win 1 to 3 % over whole models: what is saved is launches, which a block alone does not show.",
    "- With AVX-512 MultiHeadAttention is ahead from a length of 512 on; `attention_tiles` begins where it is with AVX2 as well.",
    "- A projection as Gemm on rows, and its bias summed with what skips it, win up to 2 % alone and nothing over whole models:",
    "  MatMul and Add stay, of which onnxruntime makes BiasGelu where a GELU follows.",
    "- Without the biases of keys and values attention with its projections takes up to 5 % less time. Queries, keys and values from",
    "  one product, or in com.microsoft's Attention, which has the products in it, win nothing beyond noise.",
    "- A gate is faster from two products than from one that is cut, but not for one row.",
]


def read_records() -> Record:
    return dict(json.loads(RECORDS.read_text())) if RECORDS.exists() else {"rows": []}


def merged(old: list[Record], new: list[Record]) -> list[Record]:
    """New rows, and old ones of what was not measured again, in the order of the cases."""
    known = [(c.op, c.shape) for c in cases()]
    again = {(r["on"], r["op"], r["shape"], r["threads"]) for r in new}
    kept = [r for r in old if (r["on"], r["op"], r["shape"], r["threads"]) not in again and (r["op"], r["shape"]) in known]
    return sorted([*kept, *new], key=lambda r: (known.index((r["op"], r["shape"])), r["threads"], r["on"]))


def processor() -> str:
    """The processor and its vector extension, in words."""
    from geoc.lowering.targets import machine

    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return f"{line.partition(':')[2].strip()} ({machine()})"
    return f"{platform.processor() or platform.machine()} ({machine()})"


def selected(names: list[str]) -> Iterator[Case]:
    for case in cases():
        if not names or case.op in names:
            yield case


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("operators", nargs="*", help="as the table calls them (default: all)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--write", action="store_true", help="keep the rows and render the table")
    options = parser.parse_args()
    rows: list[Record] = []
    for case in selected(options.operators):
        for threads in options.threads:
            found = measure(case, threads, options.rounds)
            rows += found
            cells = "  ".join(f"{r['form']} {r['us']:.1f} x{r['ratio']:.2f}" for r in found)
            print(f"{case.op:32} {case.shape:26} {threads}  {cells}", flush=True)
    if options.write:
        import onnxruntime

        data = {
            "onnxruntime": onnxruntime.__version__, "python": platform.python_version(),
            "rows": merged(read_records()["rows"], rows),
        }  # fmt: skip
        RECORDS.write_text(json.dumps(data, indent=0) + "\n", encoding="utf-8")
        TABLE.write_text(rendered(data), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
