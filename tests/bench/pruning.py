"""What pruning saves and costs: multiplications, size, speed and scores, before and after repair.

    python tests/bench/pruning.py [MODELS...] [--dir DIR] [--metric MODEL=FILE.py:FUNCTION]... [--calib MODEL=SAMPLES]...
        [--variant NAME]... [--write]
    python tests/bench/pruning.py --again RECORDS.json... --write

FUNCTION(run) gives a dict of scores; run(feeds) gives the outputs of the model in order. Variants that look at samples are
left out without `--calib` of their model. Those of 185 photographs take other samples, so they are run by themselves: what
`tests/bench/photographs.py FOLDER OUT.npz --first --fit 330 --judge 60` makes. Speed: how many times as fast as what `-O2` makes of the same model, in the median
of interleaved runs on one thread of onnxruntime, the time being that of the thread. `--write` makes docs/pruning.md.
"""

from __future__ import annotations

import argparse
import runpy
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from commands import default_folder
from integers import MadeUp, compiled
from records import Record, add_options, records_of
from weights import score, session

import geoc
from geoc.ir.ops.cost import CostModel
from geoc.lowering.targets import get_target
from geoc.tools.calibration.samples import open_samples
from geoc.tools.inputs.maker import InputMaker
from geoc.tools.inputs.shapes import Shapes

TABLE = Path(__file__).parents[2] / "docs" / "pruning.md"
ROUNDS, SECONDS = 9, 20.0  # runs of a pair at most, and what they may take
FITTED = "importance=reconstruction,repair=96"
BLOCK_10 = 'drop-layers{count=1,probe=4,layers=["/_blocks.10/*"]}'
THREE = 'drop-layers{count=3,probe=4,layers=["/_blocks.7/*","/_blocks.10/*","/_blocks.13/*"]}'
SOME = 'prune{channels=0.92,layers=["/_blocks.8/*","/_blocks.9/*","/_blocks.11/*"],importance=reconstruction,repair=60,probe=0,slower=true}'
THIRD = "heads=0.667,neurons=0.667"
VARIANTS: dict[str, dict[str, str]] = {
    "resnet50-ts": {
        "half of the inner channels": "prune{channels=0.5,importance=magnitude,repair=0}",
        "half of all channels": "prune{channels=0.5,streams=0.5,importance=magnitude,repair=0}",
    },
    "efficientnet-lite0-real-ts": {
        "20 % fewer multiplications, by magnitude": "prune{left=0.8,importance=magnitude,repair=0,probe=0}",
        "four blocks left out": "drop-layers{count=4}",
        "three blocks left out, then by reconstruction, repaired": f"drop-layers{{count=3}},prune{{left=0.983,{FITTED}}}",
        "185 photographs: three blocks and a twelfth of three others": f"{THREE},{SOME}",
        "185 photographs: one block left out, then by reconstruction, repaired": (
            f"{BLOCK_10},prune{{left=0.881,importance=reconstruction,repair=240,probe=40}}"
        ),
        "2:4, by magnitude": 'sparsify{pattern="2:4",method=magnitude}',
        "2:4, sparsegpt": 'sparsify{pattern="2:4",method=sparsegpt}',
    },
    "all-minilm-l6-v2-real-ts": {
        "a third of heads and neurons, by magnitude": f"prune{{{THIRD},importance=magnitude,repair=0}}",
        "by reconstruction, repaired": f"prune{{{THIRD},importance=reconstruction,repair=32}}",
        "a layer of six left out": "drop-layers",
        "a layer of six left out, repaired": "drop-layers{repair=60}",
        "two layers left out, repaired": "drop-layers{count=2,repair=60}",
        "2:4, by magnitude": 'sparsify{pattern="2:4",method=magnitude}',
        "2:4, wanda": 'sparsify{pattern="2:4",method=wanda}',
        "2:4, sparsegpt": 'sparsify{pattern="2:4",method=sparsegpt}',
    },
    "smollm2-135m-real-ts": {
        "a layer of thirty left out, by influence": "drop-layers{by=influence,probe=4}",
        "three layers left out, by influence": "drop-layers{by=influence,count=3,probe=4}",
    },
}


def needs_samples(passes: str) -> bool:
    """True for variants that look at samples."""
    return not ("magnitude" in passes and "repair=0" in passes)


def multiplications(path: Path) -> float:
    """Of the layers with weights, by their shapes, half of the operations of the cost model."""
    cost = CostModel()
    model = geoc.load(str(path))
    return sum(cost.flops(node) or 0.0 for node in model.graph if node.op.key in ("Conv", "Gemm", "MatMul")) / 2


def times_as_fast(plain: Path, changed: Path) -> float:
    """The median of the ratios of interleaved runs on one thread."""
    maker = InputMaker(geoc.load(str(plain)), Shapes())
    sizes = {name: {"batch": 1, "seq": 128}.get(name, size) for name, size in next(maker.sizes()).items()}
    feeds = maker.feeds(sizes, 0)
    pair = [session(path, 1) for path in (plain, changed)]
    ratios: list[float] = []
    begun = time.perf_counter()
    while len(ratios) < ROUNDS and (len(ratios) < 3 or time.perf_counter() - begun < SECONDS):
        taken = [0.0, 0.0]
        for number in (0, 1, 1, 0):
            pair[number].run(None, feeds)
            start = time.thread_time()
            pair[number].run(None, feeds)
            taken[number] += time.thread_time() - start
        ratios.append(taken[0] / taken[1])
    return median(ratios)


def measured(options: argparse.Namespace) -> Iterator[Record]:
    target = get_target("cpu")
    metrics, calib = (dict(text.split("=", 1) for text in given) for given in (options.metric, options.calib))
    for name in options.models or VARIANTS:
        source = options.dir / f"{name}.onnx"
        samples = open_samples(calib[name], geoc.load(str(source))) if name in calib else None
        path, _, function = metrics.get(name, "").rpartition(":")
        metric = runpy.run_path(path)[function] if path else None
        with tempfile.TemporaryDirectory(prefix="pruning-") as folder:
            plain, result = Path(folder) / "plain.onnx", Path(folder) / "result.onnx"
            made_up = MadeUp(geoc.load(str(source)), [])
            compiled(source, "@O2", plain, made_up, target)
            whole = multiplications(plain)
            for variant, passes in {"whole": "", **VARIANTS[name]}.items():
                if options.variant and variant not in options.variant:
                    continue
                if samples is None and passes and needs_samples(passes):
                    continue
                pipeline = f"@O1,{passes},@O2" if passes else "@O2"
                seconds = compiled(source, pipeline, result, samples if samples is not None else made_up, target)
                yield {
                    "model": name, "variant": variant, "left": multiplications(result) / whole, "seconds": seconds,
                    "megabytes": result.stat().st_size / 1e6,
                    "times": times_as_fast(plain, result) if passes.startswith(("prune", "drop-layers")) else 1.0,
                    "scores": scores(result, metric),
                }  # fmt: skip


def scores(path: Path, metric: Any) -> dict[str, float]:
    """What the metric says of a file."""
    found: dict[str, float] = {}

    def noted(run: Any) -> float:
        found.update(metric(run))
        return 0.0

    if metric is not None:
        score(path, noted)
    return found


def row(r: Record) -> str:
    """One line of the table."""
    said = ", ".join(f"{name} {value:.3f}" for name, value in r["scores"].items())
    times = "" if r["times"] == 1.0 else f"{r['times']:.2f}"
    seconds = "" if r["seconds"] is None else f"{r['seconds']:.0f}"
    return f"| {r['model']} | {r['variant']} | {r['left']:.1%} | {r['megabytes']:.1f} | {times} | {said} | {seconds} |"


HEAD = "| model | variant | multiplications | MB | times as fast | scores | seconds |\n|---|---|---|---|---|---|---|"
TEXT = """# Pruning

`prune` takes channels of convolutions, attention heads and neurons out of a model, with all that depends on them, `drop-layers` whole residual blocks and layers
of transformers; what is left is dense and smaller, and runs anywhere. `sparsify` makes single weights zero, as many as asked for or in N:M patterns. They are
written between a clean graph and the fusions:

    geoc model.onnx --passes "@O1,prune{left=0.8},@O2" --calib samples.npz -o small.onnx
    geoc model.onnx --passes "@O1,prune{heads=0.667,neurons=0.667},@O2" --calib samples.npz
    geoc model.onnx --passes "@O1,drop-layers{count=1,repair=60},@O2" --calib samples.npz
    geoc model.onnx --passes '@O1,sparsify{pattern="2:4"},@O2' --calib samples.npz --target=a100

`geoc passes prune`, `geoc passes drop-layers` and `geoc passes sparsify` have their options.

## What is cut together

Every index along an axis that a layer makes has a label. Labels are followed in the order of the graph: elementwise operators, pools, BatchNormalization and
depthwise convolutions pass them on, a residual Add joins those of its operands, Concat puts them behind each other, Split and Slice take parts, Reshape
and Transpose make heads of them, grouped convolutions and GroupNormalization join those of a group, an operator without a rule fixes what it reads, and so
do inputs and outputs of the model. A set of labels that nothing fixes is a unit: it goes with all rows of weights, biases, shapes and attributes that it is
in, or stays. What stays because it could not be followed is a remark (`--remarks FILE`) that names the operator.

Units of one axis are of a kind: *channels*, *heads* (with their queries, keys and values; where several share keys, all of them go together), *neurons*
between dense layers, and *streams*, which residual additions and layer normalizations hold together and which are cut only on request. Layers that would take as long
with fewer of them by the target's estimate, because launching them is what takes the time, stay whole, and a remark says so.

## What goes, and what makes up for it

Without samples the squares of the weights that go are the measure. With samples it is the squared error of the layers that read a unit, once the other
weights make up for it as well as they can, unit after unit. The weights that are left do that, and the bias: each layer that loses inputs is fitted by least
squares, alone, to what it gives in the whole model. Then the same layers are fitted to the original's outputs from what the cut layers before them give.

The first `probe` samples are for judging alone. With `left`, and where layers are ranked together, each axis is first cut alone, by reconstruction, by activations and by
magnitude, and that measure is taken by which the outputs of the model on those samples are nearest to what they were; the same samples judge the second fit, which is
taken back where the outputs are no nearer with it. So samples of another kind than most should stand first: another photograph, short texts beside long ones.

## Whole layers

`drop-layers` leaves out what stands between two values of a stream: a block around which a shortcut leads, with the normalization behind it where one stands behind
each, or attention with the feed-forward block behind it (`whole=false`: either). What counts least goes first: by harm, the error of the model's outputs without a
layer, measured again once one is gone, or by influence, the mean cosine of what comes in and goes out ([ShortGPT](https://arxiv.org/abs/2403.03853)). With `repair` the layers
that read what is left are fitted again, where that serves.

## What few samples cannot tell

The image classifier of the table has samples of six photographs where nothing else is said, and is scored on others. What was seen on its calibration crops alone, before any score:

- Of 132 crops, the whole model agrees with itself on 0.91 when they are moved by a pixel, on 0.79 when moved by four, on 0.77 when they are scaled to 208 pixels and
  on 0.71 at 200, which is what a fifth fewer multiplications are without any pruning. A third of the photographs are textures, of which the model is not sure.
- Left out alone, block 10 (8.5 % of the multiplications) leaves 0.85 of the answers. Fitting block 9 to make up for it on five photographs and judging by the sixth took
  some away, whatever the ridge (0.82 to 0.83), and so did its bias alone. With a fifth gone, so did fitting all layers behind (0.70 to 0.46 and 0.52), and 20 steps of
  gradient descent on the outputs (0.53, from 0.70). Values in the middle of the model came nearer to the original's, outputs went away from it. That is why a fit is
  judged by outputs, on samples of its own.
- Blocks of 480 and 672 hidden channels lose half of them for little, the last blocks and the head almost none: with few samples what these tell apart looks idle.

With more photographs: `tests/bench/photographs.py` takes 205 out of packages, 185 to fit to and 20 of other scenes to judge by, none of them scored on. All figures that follow are of 400
crops of the 20 (a share of 0.64 of these is uncertain by 0.024); the aim of 0.85 is missed by all of them, by 0.18 or more (scored: by 0.15).

- One block left out and the rest of a fifth by reconstruction: least squares on 60 crops leave 0.628 of the answers (79.4 % of the multiplications, divergence 0.247), on 240 crops 0.670 (80.0 %,
  0.207), on 480 0.615 (79.5 %, 0.227), on 700 0.668 (80.5 %, 0.198): half a percent of the multiplications is as much as what more than some 240 crops give. Three blocks and a
  twelfth of three others, fitted on 60: 0.623 (79.7 %, 0.252). Scored, the second has a third less divergence than the row fitted on six photographs (0.160, 0.244) and fewer of its answers (0.628,
  0.696): five photographs, one of grass and one of tissue, turn on which of several near classes is first. A fit of single layers, each to its own outputs in the whole model, gains from more photographs.
- Fits to the original's values further back do not. With three blocks out, the last layer of block 6 fitted to what the original's block 7 gives brings the divergence from 0.252 to 0.243, that of block 8
  takes it to 0.257, that of block 9 to 0.275, whatever the ridge. `geoc distill --hidden auto --blocks 1` (least squares, then steps) brought the ends of three blocks nearer by
  5 to 11 % and the outputs further away, and put all three back.
- Training all weights behind block 4 (3.7 million; divergence of the logits and squared error of the last features, 150 steps of 32) is a matter of scenes: on other crops of the photographs it was trained on the
  divergence falls from 0.275 to 0.154 and the answers rise from 0.62 to 0.73; on the 20 other scenes it rises from 0.252 to 0.285. With views at more scales, turned, recoloured and mixed: 0.186 and 0.275.
  Biases alone: 0.252 and 0.243.
- After 100 such steps on 1,600 views of 6, 24, 92 and 185 photographs the divergence on the 20 scenes is 0.276, 0.276, 0.247 and 0.260, the cosine 0.905, 0.908, 0.912 and 0.912 (0.252 and 0.909 before), the answers 0.633,
  0.630, 0.653 and 0.628. From some hundred photographs on training does no harm; what it would take to gain is more scenes by orders of magnitude, and more than 150 steps.

Repair on long documents costs single words something, because they are little like documents (what stands at the ends of a text is most of a short one). MiniLM without a third
of its heads and neurons, repaired on documents alone, has 0.685 for words (WordSim, in the table; 0.700 unrepaired); on 60 documents and as many texts of one to five words,
with eight of each in front to judge by, it has 0.505 (SimLex), 0.728 (WordSim) and 0.670 (documents), and the whole model 0.446, 0.729 and 0.656. The second fit was taken
back there. So samples should have the lengths of what will be run.

## 2:4

TensorRT's sparse kernels (compute capability 8.0 and later) skip zeros of which every four numbers in a row hold two, along the axis that is summed over: the
input channels of a convolution for each place of its kernel, the rows of a [K, N] matrix. `sparsify` makes them there, layers whose channels are no
multiple of four stay whole, and where a model has such weights, the build configuration has the flag SPARSE_WEIGHTS and engines are built with it.

## Measured

"""


def rendered(records: Sequence[Record]) -> str:
    """docs/pruning.md."""
    made = ["Speed beside `-O2` of the whole model, one thread of onnxruntime, medians of interleaved runs on a machine with other work; resnet50-ts has",
            "random weights. Seconds are beside other work as well. Scores: agreement with the whole model on 500 crops of other photographs than the samples are of (120 crops of",
            "six, two photographs of them first); correlations with people's judgements of words and documents, samples being 100 other documents; perplexity on news, samples being 8",
            "other documents. What is done with the classifier was chosen on crops of the first two photographs (80 others of these), and scored once then; what has 185 photographs on those of 20 others, and scored once.",
            "`python tests/bench/pruning.py` made this.", "", HEAD, *map(row, records), ""]  # fmt: skip
    return TEXT + "\n".join(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--dir", type=Path, default=default_folder())
    parser.add_argument("--metric", action="append", default=[], help="MODEL=FILE.py:FUNCTION")
    parser.add_argument("--calib", action="append", default=[], help="MODEL=SAMPLES")
    parser.add_argument("--variant", action="append", default=[], help="one of a model's, else all are measured")
    add_options(parser, TABLE)
    options = parser.parse_args()
    print(HEAD)
    records = records_of(options, measured(options), row)
    if options.write:
        TABLE.write_text(rendered(records), encoding="utf-8")


if __name__ == "__main__":
    main()
