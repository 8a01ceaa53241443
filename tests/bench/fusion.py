"""What fusion is worth: models as their exporters wrote them and as geoc -O2 leaves them, both in onnxruntime at its default level.

    python tests/bench/fusion.py [MODELS...] [--rounds N] [--only CELL...] [--json OUT] [--write]
    python tests/bench/fusion.py --again RECORDS.json... --write

One thread, batch 1. A cell is a model at one size: sequence 16, 128 and 512 (as far as it takes them), one token with 128
and 1,024 past where there is a cache, and otherwise its own size. Each round loads both models anew, because where their
weights come to lie in memory is worth up to 20 % (its median over the rounds is not), then runs them in turn, A B A B. Time
is that of the running thread, which other processes on the machine disturb least. A cell's figure is the median of its rounds.

Outside: a round's time of the source less what its matrix products take under onnxruntime's profiler, each the median of
its runs (MatMul, Gemm, Conv and their fused and integer relatives), with the two models in turn here as well. The profiler
reads the clock, so its figures hold on a machine with nothing else to do. Of an attention operator only its two products count as
such: they are timed alone, at the same shapes. Taken: what geoc saves, as a part of that. Where geoc takes more than is
outside, its products are faster as well.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from commands import default_folder, find_models, geoc_command, run

HERE = Path(__file__).parent
TABLE = HERE.parent.parent / "docs" / "fusion-speed.md"
TRANSFORMERS = (
    "*bert*", "*minilm*", "t5-*", "whisper-*", "gpt2-*", "llama-4l*", "smollm2*", "vit-*", "sd-unet*", "swin-*",
)  # fmt: skip
SLICE = 0.15  # seconds that one model runs in a round, at least once
PRODUCTS = frozenset(
    [
        "MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum", "FusedMatMul", "FusedGemm", "FusedConv", "MatMulInteger",
        "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "ConvInteger", "QLinearConv", "QLinearMatMul", "MatMulNBits",
    ]
)  # fmt: skip
ATTENTION = frozenset(["Attention", "MultiHeadAttention", "GroupQueryAttention"])
Record = dict[str, Any]


class Cell(NamedTuple):
    """One size of a model: how the table calls it, and the sizes of its symbols."""

    label: str
    sizes: dict[str, int]


def cells(maker: Any) -> Iterator[Cell]:
    """The cells of a model, by what its symbols stand for."""
    kinds = maker.symbols
    if "past" in kinds.values():
        for past in (128, 1024):
            of = {"batch": 1, "sequence": 1, "past": past, "total": past + 1}
            yield Cell(f"1 + {past}", {name: of.get(kind, 16) for name, kind in kinds.items()})
    elif "sequence" in kinds.values():
        for length in (16, 128, 512):
            of = {"batch": 1, "sequence": length, "total": length}
            yield Cell(str(length), {name: of.get(kind, 16) for name, kind in kinds.items()})
    else:
        wanted = next(maker.sizes())
        yield Cell("own", {n: 1 if kinds[n] == "batch" else size for n, size in wanted.items()})


def symbol_of(maker: Any, kind: str) -> str:
    """The symbol that stands for the length of the past, say; an empty string where there is none."""
    return next((name for name, its in maker.symbols.items() if its == kind), "")


def session(path: Path, profile: Path | None = None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])


def as_values(feeds: Record) -> Record:
    """The same inputs as onnxruntime's own tensors: nothing is copied to or from numpy, as in a loop that keeps its cache."""
    import onnxruntime

    return {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in feeds.items()}


def timed(model: Any, feeds: Record, times: int) -> float:
    """Median seconds of one run."""
    found = []
    for _ in range(times):
        start = time.thread_time()
        model.run_with_ort_values(None, feeds)
        found.append(time.thread_time() - start)
    return median(found)


def product_seconds(events: list[Record], pairs: dict[str, float]) -> float:
    """Seconds in matrix products of a run, each the median of its runs; `pairs` remembers the products of attention by shape."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith("_kernel_time"):
            continue
        op, seconds = event["args"]["op_name"], event["dur"] / 1e6
        if op in ATTENTION:
            seconds = min(seconds, attention_products(event["args"], pairs))
        elif op not in PRODUCTS:
            continue
        found[event["name"], event["args"]["node_index"]].append(seconds)
    return sum(median(times) for times in found.values())


def attention_products(args: Record, pairs: dict[str, float]) -> float:
    """Seconds that the two products of one attention operator take alone."""
    shapes = [next(iter(shape.values())) for shape in args["input_type_shape"]]
    key = json.dumps(shapes)
    if key not in pairs:
        import numpy as np
        from onnx import TensorProto, helper

        # Without the number of heads, one that is as wide as all of them: the products are as large.
        query, keys = ([s[0], 1, *s[1:]] if len(s) == 3 else s for s in shapes[:2])
        past = shapes[4][2] if len(shapes) > 4 else 0
        batch, heads, _, size = query
        total = keys[2] + past
        nodes = [helper.make_node("MatMul", ["q", "k"], ["s"]), helper.make_node("MatMul", ["s", "v"], ["y"])]
        given = {"q": query, "k": [batch, heads, size, total], "v": [batch, heads, total, size]}
        inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in given.items()]
        output = helper.make_tensor_value_info("y", TensorProto.FLOAT, query)
        graph = helper.make_graph(nodes, "products", inputs, [output])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        random = np.random.default_rng(0)
        feeds = {n: random.normal(size=s).astype(np.float32) for n, s in given.items()}
        pairs[key] = timed(session(model.SerializeToString()), as_values(feeds), 15)
    return pairs[key]


def measure(source: Path, result: Path, wanted: list[tuple[Cell, Record]], rounds: int) -> list[Record]:
    """All cells of a model: milliseconds of both, shares of the source's time outside products and saved."""
    taken: list[list[tuple[float, float, float]]] = [[] for _ in wanted]
    errors = [0.0] * len(wanted)
    pairs: dict[str, float] = {}
    for turn in range(rounds):
        first = session(source if turn % 2 == 0 else result)
        second = session(result if turn % 2 == 0 else source)
        models = (first, second) if turn % 2 == 0 else (second, first)
        for index, (_, feeds) in enumerate(wanted):
            if turn == 0:
                errors[index] = largest_error(*(m.run(None, feeds) for m in models))
            taken[index].append((*in_turn(models, feeds), 0.0))
        del first, second, models
        gc.collect()
        for index, (_, feeds) in enumerate(wanted):
            before, after, _ = taken[index][-1]
            products = profiled(source, result, feeds, max(5, min(20, int(SLICE / before))), pairs)
            taken[index][-1] = (before, after, max(0.0, before - products))
    return [
        {
            "cell": cell.label,
            "source_ms": median(r[0] for r in rows) * 1e3,
            "geoc_ms": median(r[1] for r in rows) * 1e3,
            "speedup": median(r[0] / r[1] for r in rows),
            "outside": median(r[2] / r[0] for r in rows),
            "saved": median((r[0] - r[1]) / r[0] for r in rows),
            "error": error,
        }
        for (cell, _), rows, error in zip(wanted, taken, errors)
    ]


def in_turn(models: tuple[Any, Any], feeds: Record) -> tuple[float, float]:
    """Median seconds of a run of each, run one after the other for a while."""
    found: tuple[list[float], list[float]] = ([], [])
    bound = as_values(feeds)
    for model in models:
        model.run_with_ort_values(None, bound)
    started = time.perf_counter()
    while len(found[0]) < 3 or time.perf_counter() - started < 2 * SLICE:
        for model, seconds in zip(models, found):
            start = time.thread_time()
            model.run_with_ort_values(None, bound)
            seconds.append(time.thread_time() - start)
    return median(found[0]), median(found[1])


def profiled(source: Path, result: Path, feeds: Record, times: int, pairs: dict[str, float]) -> float:
    """Seconds in matrix products of one run of the source, which takes turns with the result as where it was timed.

    Alone, a small model would find its weights in the caches, and its products would seem shorter than in the timed runs."""
    with tempfile.TemporaryDirectory(prefix="fusion-") as folder:
        model, other = session(source, Path(folder) / "profile"), session(result)
        bound = as_values(feeds)
        for _ in range(times + 1):
            model.run_with_ort_values(None, bound)
            other.run_with_ort_values(None, bound)
        return product_seconds(json.loads(Path(model.end_profiling()).read_text()), pairs)


def runs(path: Path, feeds: Record) -> str:
    """Why a model does not run on these inputs, or an empty string."""
    try:
        session(path).run(None, feeds)
    except Exception as error:  # onnxruntime's own exceptions share no base class
        return str(error).strip().split("\n")[-1][-160:]
    return ""


def largest_error(wanted: list[Any], found: list[Any]) -> float:
    """Largest difference of any output, relative to its largest element."""
    import numpy as np

    worst = 0.0
    for a, b in zip(wanted, found, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        if a.dtype.kind != "f" or not a.size:
            continue
        if not np.array_equal(np.isnan(a), np.isnan(b)):
            return float("inf")
        same = (a == b) | np.isnan(a)
        if not same.all():
            top = np.abs(a[np.isfinite(a)]).max(initial=0.0)
            worst = max(worst, float(np.abs(a - b)[~same].max() / top))
    return worst


def measure_model(source: Path, options: argparse.Namespace) -> Iterator[Record]:
    """All cells of one model."""
    import geoc
    from geoc.tools.inputs.maker import InputMaker
    from geoc.tools.inputs.shapes import Shapes

    with tempfile.TemporaryDirectory(prefix="fusion-", dir=options.scratch) as folder:
        result = Path(folder) / source.name
        done = run(geoc_command("O2", source, result), options.limit, Path(folder) / "log.txt")
        if done.failure():
            yield {"model": source.stem, "cell": "", "failure": done.failure()}
            return
        maker = InputMaker(geoc.load(str(source)), Shapes())
        wanted: list[tuple[Cell, Record]] = []
        for cell in cells(maker):
            if options.only and cell.label not in options.only:
                continue
            feeds = maker.feeds(cell.sizes, 0)
            past = cell.sizes.get(symbol_of(maker, "past"), 0)
            later = {
                n: v + past if "position" in n else v for n, v in feeds.items()
            }  # of the new token: after the past
            if not runs(source, later):
                feeds = later
            elif runs(source, feeds):
                continue  # longer than the model can take
            failure = runs(result, feeds)
            if failure:
                yield {"model": source.stem, "cell": cell.label, "failure": failure}
            else:
                wanted.append((cell, feeds))
        for record in measure(source, result, wanted, options.rounds):
            yield {"model": source.stem, **record}


def shown(r: Record) -> str:
    if "failure" in r:
        return f"{r['model']:34} {r['cell']:9} {r['failure']}"
    return (
        f"{r['model']:34} {r['cell']:9} {r['source_ms']:9.2f} {r['geoc_ms']:9.2f} x{r['speedup']:.3f}"
        f" outside {r['outside']:6.1%} taken {taken(r):7.0%} error {r['error']:.1e}"
    )


def taken(r: Record) -> float:
    """The part of the time outside products that geoc takes."""
    return float(r["saved"] / r["outside"]) if r["outside"] > 0 else 0.0


def is_transformer(record: Record) -> bool:
    return any(fnmatch(record["model"], pattern) for pattern in TRANSFORMERS)


def summary(records: list[Record]) -> str:
    """The figures over all cells, in one paragraph."""
    good = [r for r in records if "failure" not in r]
    if not good:
        return "No cell was measured."
    total = sum(r["saved"] for r in good) / max(1e-9, sum(r["outside"] for r in good))
    parts = [
        f"Over {len(good)} cells geoc takes {total:.0%} of the time outside products"
        f" (median of the cells {median(taken(r) for r in good):.0%})",
        f"median speed-up {median(r['speedup'] for r in good):.3f}, lowest {min(r['speedup'] for r in good):.3f}",
    ]
    tokens = [r["speedup"] for r in good if r["cell"].startswith("1 +")]
    if tokens:
        parts.append(f"one token with past: {min(tokens):.2f} to {max(tokens):.2f}, median {median(tokens):.2f}")
    return "; ".join(parts) + "."


def rendered(records: list[Record]) -> str:
    """docs/fusion-speed.md."""
    import onnxruntime
    from forms import processor

    own = [r for r in records if is_transformer(r)]
    others = [r for r in records if not is_transformer(r)]
    lines = [
        "# Speed after fusion", "",
        f"Models as their exporters wrote them beside `geoc MODEL -O2`, both in onnxruntime {onnxruntime.__version__} at its default",
        f"level, one thread, batch 1, on {processor()}. Milliseconds of the running thread. Outside: what the source spends",
        "outside its matrix products, the most that fusion can win; taken: the part of it that geoc saves. How it is measured:",
        "`python tests/bench/fusion.py`, which wrote this.", "", summary(own), "",
        "| model | sequence | source | geoc | speed-up | outside | taken |", "|---|---|---|---|---|---|---|",
        *(_row(r) for r in own),
    ]  # fmt: skip
    if others:
        good = [r["speedup"] for r in others if "failure" not in r]
        lines += [
            "", "## Other models", "", f"At their own size. Lowest speed-up {min(good):.3f}, median {median(good):.3f}.", "",
            "| model | sequence | source | geoc | speed-up | outside | taken |", "|---|---|---|---|---|---|---|",
            *(_row(r) for r in others),
        ]  # fmt: skip
    return "\n".join([*lines, ""])


def _row(r: Record) -> str:
    if "failure" in r:
        return f"| {r['model']} | {r['cell']} | {r['failure']} | | | | |"
    return (
        f"| {r['model']} | {r['cell']} | {r['source_ms']:.2f} | {r['geoc_ms']:.2f} | {r['speedup']:.3f} | {r['outside']:.1%} |"
        f" {taken(r):.0%} |"
    )


def merged(files: list[Path]) -> list[Record]:
    """Records of earlier runs; a later one of the same cell replaces an earlier one."""
    found: dict[tuple[str, str], Record] = {}
    for file in files:
        for record in json.loads(file.read_text()):
            found[record["model"], record["cell"]] = record
    return sorted(found.values(), key=lambda r: r["model"])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="*", help="paths, or names in the folder (default: the transformer exports)")
    parser.add_argument("--dir", type=Path, default=default_folder())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="labels of cells")
    parser.add_argument("--limit", type=float, default=300, help="seconds for one compilation")
    parser.add_argument("--scratch", type=Path, default=None)
    parser.add_argument("--json", type=Path, help="where the records go, cell by cell")
    parser.add_argument("--again", type=Path, nargs="+", help="records of earlier runs, instead of measuring")
    parser.add_argument("--write", action="store_true", help="write docs/fusion-speed.md")
    options = parser.parse_args()
    records: list[Record] = []
    if options.again:
        records = merged(options.again)
    else:
        for source in find_models(options.models or list(TRANSFORMERS), options.dir):
            for record in measure_model(source, options):
                records.append(record)
                print(shown(record), flush=True)
                if options.json:
                    options.json.write_text(json.dumps(records, indent=1) + "\n")
    print(summary([r for r in records if is_transformer(r)] or records))
    if options.write:
        TABLE.write_text(rendered(records), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
