"""prune: what is cut away did not count, so the model computes the same; and what holds axes together stays whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geoc.ir.core import Model, Value
from geoc.ir.errors import UsageError
from geoc.ir.tensor import Tensor
from geoc.passes.naming import names_of
from geoc.passes.prune.compensate import compensations
from geoc.passes.prune.cut import apply_cut
from geoc.passes.prune.families import families_of
from geoc.passes.prune.follow import follow
from geoc.passes.prune.profit import share_of_time
from geoc.passes.prune.scores import DAMPING
from geoc.passes.repair.products import groups_of, matrices, moments
from geoc.tools.cli import main

from ..quantize.running import Remarks, context, distance, feeds_of, model_of, outputs, run, write

CHAIN = """
graph @main(%x: f32[B,8,8,8]) -> (%y) {
  weight %a: f32[32,8,3,3] = random
  weight %ab: f32[32] = random
  weight %scale: f32[32] = random
  weight %shift: f32[32] = random
  weight %mean: f32[32] = random
  weight %var: f32[32] = splat(1.0)
  weight %d: f32[32,1,3,3] = random
  weight %slope: f32[32,1,1] = random
  weight %g: f32[16,32,3,3] = random
  weight %w: f32[48,16] = random
  weight %wb: f32[48] = random
  weight %v: f32[48,10] = random
  %c = Conv(%x, %a, %ab) {pads=[1, 1, 1, 1]}
  %n = BatchNormalization(%c, %scale, %shift, %mean, %var)
  %e = Conv(%n, %d) {pads=[1, 1, 1, 1], group=32}
  %p = PRelu(%e, %slope)
  %m = MaxPool(%p) {kernel_shape=[2, 2], strides=[2, 2]}
  %f = Conv(%m, %g)
  %r = Relu(%f)
  %q = GlobalAveragePool(%r)
  %t = Flatten(%q)
  %h = Gemm(%t, %w, %wb) {transB=1}
  %s = Sigmoid(%h)
  %y = MatMul(%s, %v)
}"""
RESIDUAL = """
graph @main(%x: f32[B,8,8,8]) -> (%y) {
  weight %stem: f32[16,8,3,3] = random
  weight %a: f32[32,16,1,1] = random
  weight %b: f32[16,32,1,1] = random
  weight %head: f32[4,16,1,1] = random
  %s = Conv(%x, %stem) {pads=[1, 1, 1, 1]}
  %c = Conv(%s, %a)
  %r = Relu(%c)
  %d = Conv(%r, %b)
  %t = Add(%d, %s)
  %u = Relu(%t)
  %y = Conv(%u, %head)
}"""
JOINED = """
graph @main(%x: f32[B,8,8,8]) -> (%y) {
  weight %a: f32[16,8,1,1] = random
  weight %b: f32[32,8,1,1] = random
  weight %starts: i64[1] = [16]
  weight %ends: i64[1] = [9223372036854775807]
  weight %axes: i64[1] = [1]
  weight %v: f32[4,32,1,1] = random
  weight %w: f32[4,48,1,1] = random
  %p = Conv(%x, %a)
  %q = Conv(%x, %b)
  %c = Concat(%p, %q) {axis=1}
  %r = Relu(%c)
  %l = Slice(%r, %starts, %ends, %axes)
  %s = Conv(%l, %v)
  %t = Conv(%r, %w)
  %y = Add(%s, %t)
}"""
GROUPS = """
graph @main(%x: f32[B,8,8,8]) -> (%y) {
  weight %a: f32[32,8,1,1] = random
  weight %g: f32[64,2,3,3] = random
  weight %h: f32[32,32,3,3] = random
  weight %w: f32[4,32,1,1] = random
  %p = Conv(%x, %a)
  %q = Conv(%p, %g) {group=16}
  %r = Conv(%q, %h) {group=2}
  %y = Conv(%r, %w)
}"""
HEADS = """
graph @main(%x: f32[B,S,32]) -> (%y) {
  weight %wq: f32[32,64] = random
  weight %bq: f32[64] = random
  weight %wk: f32[32,32] = random
  weight %wv: f32[32,32] = random
  weight %wo: f32[64,32] = random
  weight %rows: i64[4] = [0, 0, 8, 8]
  weight %fewer: i64[4] = [0, 0, 4, 8]
  weight %five: i64[5] = [0, 4, 1, -1, 8]
  weight %wide: i64[5] = [1, 1, 2, 1, 1]
  weight %eight: i64[4] = [0, 8, -1, 8]
  weight %flat: i64[3] = [0, 0, 64]
  weight %scale: f32[] = 0.35
  %q = MatMul(%x, %wq)
  %qb = Add(%q, %bq)
  %k = MatMul(%x, %wk)
  %v = MatMul(%x, %wv)
  %q4 = Reshape(%qb, %rows)
  %k4 = Reshape(%k, %fewer)
  %v4 = Reshape(%v, %fewer)
  %qt = Transpose(%q4) {perm=[0, 2, 1, 3]}
  %kt = Transpose(%k4) {perm=[0, 2, 1, 3]}
  %vt = Transpose(%v4) {perm=[0, 2, 1, 3]}
  %k5 = Reshape(%kt, %five)
  %v5 = Reshape(%vt, %five)
  %ke = Expand(%k5, %wide)
  %ve = Expand(%v5, %wide)
  %k8 = Reshape(%ke, %eight)
  %v8 = Reshape(%ve, %eight)
  %kk = Transpose(%k8) {perm=[0, 1, 3, 2]}
  %s = MatMul(%qt, %kk)
  %t = Mul(%s, %scale)
  %p = Softmax(%t) {axis=3}
  %o = MatMul(%p, %v8)
  %ot = Transpose(%o) {perm=[0, 2, 1, 3]}
  %f = Reshape(%ot, %flat)
  %y = MatMul(%f, %wo)
}"""
PACKED = """
graph @main(%x: f32[B,S,32]) -> (%y) {
  weight %w: f32[32,96] = random
  weight %parts: i64[5] = [0, 0, 3, 4, 8]
  weight %wo: f32[32,32] = random
  weight %one: i64[1] = [0]
  weight %n: f32[32] = random
  weight %up: f32[32,128] = random
  weight %down: f32[64,32] = random
  %qkv = MatMul(%x, %w)
  %five = Reshape(%qkv, %parts)
  %t = Transpose(%five) {perm=[2, 0, 3, 1, 4]}
  %q1, %k1, %v1 = Split(%t) {axis=0, num_outputs=3}
  %q = Squeeze(%q1, %one)
  %k = Squeeze(%k1, %one)
  %v = Squeeze(%v1, %one)
  %a = Attention(%q, %k, %v)
  %at = Transpose(%a) {perm=[0, 2, 1, 3]}
  %shape = Shape(%x)
  %f = Reshape(%at, %shape)
  %o = MatMul(%f, %wo)
  %r = Add(%o, %x)
  %ln = LayerNormalization(%r, %n)
  %u = MatMul(%ln, %up)
  %u1, %u2 = Split(%u) {axis=2, num_outputs=2}
  %g = Sigmoid(%u1)
  %h = Mul(%g, %u2)
  %d = MatMul(%h, %down)
  %y = Add(%d, %r)
}"""
Units = dict[str, tuple[int, list[int]]]


def scaled(model: Model, units: Units, factor: float) -> None:
    """Multiply some slices of weights, by name."""
    values: dict[str, Value] = {v.hint: v for node in model.graph for v in node.inputs if v is not None and v.const is not None}
    for name, (axis, indices) in units.items():
        value = values[name]
        assert value.const is not None
        array = np.moveaxis(value.const.array().copy(), axis, 0)
        array[indices] *= factor
        value.const = Tensor.from_array(np.ascontiguousarray(np.moveaxis(array, 0, axis)))


def shapes(model: Model) -> dict[str, tuple[int, ...]]:
    return {v.hint: v.const.shape for node in model.graph for v in node.inputs if v is not None and v.const is not None and v.hint}


def blocks(of: list[int], size: int) -> list[int]:
    """Indices of whole blocks."""
    return [start * size + i for start in of for i in range(size)]


ODD32 = list(range(1, 32, 2))
CASES: list[tuple[str, str, str, Units, Units, dict[str, tuple[int, ...]]]] = [
    (
        "convolutions, norms, pools and products", CHAIN, "channels=0.5,neurons=0.5",
        {"a": (0, ODD32), "d": (0, ODD32), "w": (0, list(range(24))), "g": (0, list(range(8)))},
        {"g": (1, ODD32), "w": (1, list(range(8))), "v": (0, list(range(24)))},
        {"a": (16, 8, 3, 3), "ab": (16,), "mean": (16,), "d": (16, 1, 3, 3), "slope": (16, 1, 1), "g": (8, 16, 3, 3),
         "w": (24, 8), "wb": (24,), "v": (24, 10)},
    ),
    (
        "channels of a block", RESIDUAL, "channels=0.5", {"a": (0, ODD32)}, {"b": (1, ODD32)},
        {"stem": (16, 8, 3, 3), "a": (16, 16, 1, 1), "b": (16, 16, 1, 1)},
    ),
    (
        "a residual stream", RESIDUAL, "streams=0.5", {"stem": (0, [0, 1, 2, 3, 12, 13, 14, 15]), "b": (0, [0, 1, 2, 3, 12, 13, 14, 15])},
        {"a": (1, [0, 1, 2, 3, 12, 13, 14, 15]), "head": (1, [0, 1, 2, 3, 12, 13, 14, 15])},
        {"stem": (8, 8, 3, 3), "a": (32, 8, 1, 1), "b": (8, 32, 1, 1), "head": (4, 8, 1, 1)},
    ),
    (
        "joined channels at offsets", JOINED, "channels=0.5",
        {"a": (0, list(range(8))), "b": (0, ODD32)},
        {"w": (1, [*range(8), *(16 + i for i in ODD32)]), "v": (1, ODD32)},
        {"a": (8, 8, 1, 1), "b": (16, 8, 1, 1), "v": (4, 16, 1, 1), "w": (4, 24, 1, 1)},
    ),
    (
        "heads that share keys", HEADS, "heads=0.5",
        {"wq": (1, blocks([0, 1, 4, 5], 8)), "wk": (1, blocks([0, 2], 8)), "wv": (1, blocks([0, 2], 8))},
        {"wo": (0, blocks([0, 1, 4, 5], 8))},
        {"wq": (32, 32), "bq": (32,), "wk": (32, 16), "wv": (32, 16), "wo": (32, 32)},
    ),
    (
        "packed heads, gated neurons", PACKED, "heads=0.5,neurons=0.5",
        {"w": (1, blocks([1, 3, 5, 7, 9, 11], 8)), "up": (1, [*range(0, 64, 2), *range(64, 128, 2)])},
        {"wo": (0, blocks([1, 3], 8)), "down": (0, list(range(0, 64, 2)))},
        {"w": (32, 48), "wo": (16, 32), "up": (32, 64), "down": (32, 32), "n": (32,)},
    ),
]  # fmt: skip


@pytest.mark.parametrize("text, options, small, unread, expected", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_nothing_reads_can_go(
    text: str, options: str, small: Units, unread: Units, expected: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    model = model_of(text)
    scaled(model, small, 1e-3)
    scaled(model, unread, 0.0)
    feeds = feeds_of(model, 2)
    before, _ = outputs(model, tmp_path, feeds, "ORT_DISABLE_ALL")
    assert run(model, f"prune{{{options}}}", context(None))
    after, _ = outputs(model, tmp_path, feeds, "ORT_DISABLE_ALL")
    assert distance(after, before) < 1e-6
    found = shapes(model)
    assert {name: found[name] for name in expected} == expected


def test_groups_go_whole_or_lose_the_same_channels_each(tmp_path: Path) -> None:
    # 16 groups of 2: eight of them go with what they read and make; then 2 groups, each of which loses half of its inputs.
    model = model_of(GROUPS)
    dead = list(range(0, 16, 2))  # groups of the first, and so outputs 4 * i .. 4 * i + 3 of it
    made = [4 * i + k for i in dead for k in range(4)]
    # The second reads 32 of the first in each of its groups: whole blocks of 4, in the same places of both halves.
    scaled(model, {"a": (0, [2 * i + k for i in dead for k in range(2)]), "g": (0, made)}, 1e-3)
    scaled(model, {"h": (1, [i for i in range(32) if (i // 4) % 2 == 0])}, 0.0)
    feeds = feeds_of(model, 2)
    before, _ = outputs(model, tmp_path, feeds, "ORT_DISABLE_ALL")
    assert run(model, "prune{channels=0.5,keep=[h]}", context(None))
    after, _ = outputs(model, tmp_path, feeds, "ORT_DISABLE_ALL")
    found = shapes(model)
    assert (found["a"], found["g"], found["h"]) == ((16, 8, 1, 1), (32, 2, 3, 3), (32, 16, 3, 3))
    assert distance(after, before) < 1e-6
    assert [node.attr("group") for node in model.graph] == [1, 8, 2, 1]


def test_channels_of_a_shuffle_go_in_all_groups(tmp_path: Path) -> None:
    model = model_of("""
graph @main(%x: f32[B,8,4,4]) -> (%y) {
  weight %a: f32[32,8,1,1] = random
  weight %apart: i64[5] = [0, 2, 16, 4, 4]
  weight %back: i64[4] = [0, 32, 4, 4]
  weight %b: f32[8,32,1,1] = random
  %c = Conv(%x, %a)
  %r = Reshape(%c, %apart)
  %t = Transpose(%r) {perm=[0, 2, 1, 3, 4]}
  %s = Reshape(%t, %back)
  %y = Conv(%s, %b)
}""")
    scaled(model, {"a": (0, [*range(8), *range(16, 24)])}, 1e-3)
    scaled(model, {"b": (1, list(range(16)))}, 0.0)
    feeds = feeds_of(model, 2)
    before, _ = outputs(model, tmp_path, feeds)
    assert run(model, "prune{channels=0.5}", context(None))
    after, _ = outputs(model, tmp_path, feeds)
    assert distance(after, before) < 1e-6 and shapes(model)["b"] == (8, 16, 1, 1)


UNCUT = {
    "an output": ("%y = Conv(%x, %a)", "an output of the model"),
    "a softmax along it": ("%c = Conv(%x, %a)\n  %s = Softmax(%c) {axis=1}\n  %y = Conv(%s, %b)", "Softmax runs along it"),
    "an operator without a rule": ("%c = Conv(%x, %a)\n  %s = LRN(%c) {size=3}\n  %y = Conv(%s, %b)", "LRN is not followed"),
    "an input beside it": ("%c = Conv(%x, %a)\n  %s = Add(%c, %z)\n  %y = Conv(%s, %b)", "meets a value that cannot be cut"),
    "padding": ("%c = Conv(%x, %a)\n  %s = Pad(%c, %pads)\n  %y = Conv(%s, %wide)", "it is padded"),
    "its size is used": ("%c = Conv(%x, %a)\n  %n = Shape(%c)\n  %f = Cast(%n) {to=1}\n  %o = ReduceSum(%f)\n  %s = Mul(%c, %o)\n  %y = Conv(%s, %b)", "something is computed with its size"),
    "a residual stream that nobody asked for": ("%c = Conv(%x, %a)\n  %d = Conv(%x, %a2)\n  %s = Add(%c, %d)\n  %y = Conv(%s, %b)", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", UNCUT)
def test_what_cannot_be_followed_stays_whole_and_says_why(name: str) -> None:
    body, reason = UNCUT[name]
    model = model_of(f"""
graph @main(%x: f32[B,8,4,4], %z: f32[B,32,4,4]) -> (%y) {{
  weight %a: f32[32,8,1,1] = random
  weight %a2: f32[32,8,1,1] = random
  weight %b: f32[8,32,1,1] = random
  weight %wide: f32[8,36,1,1] = random
  weight %pads: i64[8] = [0, 2, 0, 0, 0, 2, 0, 0]
  {body}
}}""")
    before = shapes(model)
    said = Remarks()
    assert not run(model, "prune{channels=0.5}", context(None, instruments=[said]))
    assert shapes(model) == before
    messages = [remark.message for remark in said.all if remark.kind == "missed" and "channels stay whole" in remark.message]
    assert any(reason in message for message in messages) if reason else messages == [m for m in messages if "output of the model" in m]


def test_a_branch_that_reads_a_value_keeps_it_whole() -> None:
    model = model_of("""
graph @main(%x: f32[B,8,4,4], %which: bool[]) -> (%y) {
  weight %a: f32[32,8,1,1] = random
  weight %b: f32[8,32,1,1] = random
  %c = Conv(%x, %a)
  %s = If(%which)
    with then_branch = () -> (%t) {
      %t = Relu(%c)
    }
    with else_branch = () -> (%e) {
      %e = Neg(%c)
    }
  %y = Conv(%s, %b)
}""")
    said = Remarks()
    assert not run(model, "prune{channels=0.5}", context(None, instruments=[said]))
    assert any("a region reads it" in remark.message for remark in said.all)


def twins(model: Model, made: str, read: str) -> None:
    """The second half of what a layer makes is what the first half is."""
    values = {v.hint: v for node in model.graph for v in node.inputs if v is not None and v.const is not None}
    for name in made.split():
        const = values[name].const
        assert const is not None
        array = const.array().copy()
        array[len(array) // 2 :] = array[: len(array) // 2]
        values[name].const = Tensor.from_array(array)
    const = values[read].const
    assert const is not None
    values[read].const = Tensor.from_array(const.array() * np.float32(3.0))


def test_twins_are_found_by_reconstruction_and_nothing_is_lost(tmp_path: Path) -> None:
    """The optimum is known: one of each pair goes, and the weights of the other take its part."""
    lost = {}
    for importance in ("reconstruction", "activations", "magnitude"):
        model = model_of(RESIDUAL)
        twins(model, "a", "b")
        feeds = feeds_of(model, 8)
        before, _ = outputs(model, tmp_path, feeds)
        assert run(model, f"prune{{channels=0.5,importance={importance}}}", context(feeds))
        after, _ = outputs(model, tmp_path, feeds)
        lost[importance] = distance(after, before)
    assert lost["reconstruction"] < 2e-3
    assert min(lost["activations"], lost["magnitude"]) > 10 * lost["reconstruction"]


def test_repair_takes_most_of_what_is_lost_and_a_fit_that_does_not_serve_is_taken_back(tmp_path: Path) -> None:
    """Here noise is fitted to: on samples that it has not seen what is judged by others loses the least."""
    lost: dict[str, float] = {}
    layers: dict[str, str] = {}
    for options in ("repair=0", "repair=48", "repair=48,through=true", "repair=48,probe=0"):
        model = model_of(CHAIN)
        seen, unseen = feeds_of(model, 64), feeds_of(model, 4, seed=9)
        before, _ = outputs(model, tmp_path, unseen)
        said = Remarks()
        assert run(model, f"prune{{channels=0.75,importance=activations,{options}}}", context(seen, instruments=[said]))
        after, _ = outputs(model, tmp_path, unseen)
        lost[options] = distance(after, before)
        layers[options] = next((r.message for r in said.all if r.message.startswith("repair of")), "")
    assert lost["repair=48"] < 0.5 * lost["repair=0"]
    assert lost["repair=48"] <= lost["repair=48,probe=0"]
    assert layers["repair=48"].startswith("repair of 2 layers") and layers["repair=48,through=true"].startswith("repair of 3 layers")


@pytest.mark.parametrize("text", [CHAIN, GROUPS, HEADS, RESIDUAL], ids=["chain", "groups", "heads", "residual"])
def test_layers_make_up_for_what_goes_by_least_squares(text: str) -> None:
    """Each alone, to what it reads in the whole model: what numpy's least squares on these numbers gives loses as much."""
    model = model_of(text)
    feeds = feeds_of(model, 40)
    found = follow(model.graph)
    families = [family for family in families_of(found) if len(family.units) > 8 or family.kind == "heads"]
    alive = np.ones(len(found.labels.roots), bool)
    for family in families[:1]:
        alive[np.isin(found.labels.roots, family.units[::2])] = False
    reads = [read for read in found.reads if not alive[read.labels].all()]
    seen = moments(model, [read.node for read in reads], context(feeds), 40)
    assert reads
    seen = {node: moment._replace(halves=()) for node, moment in seen.items()}  # the least ridge
    for read in reads:
        before, kept = matrices(read.node), alive[read.labels].reshape(groups_of(read.node), -1)
        (shift,) = compensations([read], alive, seen).values()
        after = matrices(read.node)
        for group in range(len(before)):
            inputs = np.repeat(kept[group], before.shape[1] // kept.shape[1])
            covariance = seen[read.node].covariance[group]
            root = np.linalg.cholesky(covariance + 1e-12 * np.trace(covariance) * np.eye(len(covariance))).T
            mean = seen[read.node].mean[group]
            ridge = DAMPING * (np.trace(covariance) + mean @ mean) / len(covariance)
            # Least squares of the rows and of as many more that hold changes small.
            rows = np.concatenate([root[:, inputs], np.sqrt(ridge) * np.eye(int(inputs.sum()))])
            missing = root[:, ~inputs] @ before[group][~inputs]
            wanted = np.concatenate([missing, np.zeros((int(inputs.sum()), missing.shape[1]))])
            best = before[group][inputs] + np.linalg.lstsq(rows, wanted)[0]
            assert np.allclose(after[group][inputs], best, atol=1e-5) and not after[group][~inputs].any()
            size = len(shift) // len(before)
            means = seen[read.node].mean[group] @ (before[group] - after[group])
            assert np.allclose(shift[group * size : (group + 1) * size], means, atol=1e-5)


def products_of(model: Model) -> int:
    """Multiplications, by the shapes of weights and results alone."""
    total = 0
    for node in model.graph:
        w = node.inputs[1] if len(node.inputs) > 1 else None
        if node.op.key not in ("Conv", "Gemm", "MatMul") or w is None or w.const is None:
            continue
        shape = node.output.shape
        assert shape is not None
        places = int(np.prod([d for d in shape[2:] if isinstance(d, int)])) if node.op.key == "Conv" else 1
        total += places * w.const.size
    return total


def test_a_share_of_the_arithmetic_is_left() -> None:
    model = model_of(CHAIN)
    before = products_of(model)
    assert run(model, "prune{left=0.6,multiple=1}", context(None))
    assert 0.5 < products_of(model) / before <= 0.6


def test_globally_ranked_layers_lose_by_what_they_are_worth() -> None:
    model = model_of(JOINED)
    scaled(model, {"a": (0, list(range(12)))}, 1e-3)
    scaled(model, {"w": (1, list(range(12)))}, 1e-3)
    assert run(model, "prune{channels=0.75,ranking=global,multiple=4}", context(None))
    assert (shapes(model)["a"][0], shapes(model)["b"][0]) == (4, 32)


def test_multiples_and_names() -> None:
    model = model_of(CHAIN)
    assert run(model, "prune{channels=0.6,neurons=0.6,multiple=16,keep=[g]}", context(None))
    found = shapes(model)
    assert (found["a"][0], found["g"][0], found["w"][0]) == (16, 16, 32)
    model = model_of(CHAIN)
    assert run(model, 'prune{channels=0.5,layers=["/c"]}', context(None))
    assert (shapes(model)["a"][0], shapes(model)["g"][0]) == (16, 16)


@pytest.mark.parametrize("options, message", [
    ("channels=1.5", "channels=1.5 of prune is no share above 0, up to 1"),
    ("heads=0", "heads=0 of prune is no share"),
    ("left=-0.5", "left=-0.5 of prune is no share"),
    ("left=0", "left=0 of prune is no share above 0, up to 1"),
    ("left=0.5,channels=0.5", "give one"),
    ('channels=0.5,layers=["nothing*"]', "'nothing*' names no layer"),
    ("channels=0.5,keep=[nothing]", "'nothing' names no layer"),
    ("multiple=0", "multiple=0"),
    ("repair=-1", "repair=-1"),
    ("importance=luck", "importance of prune is auto or"),
    ("ranking=luck", "ranking of prune is uniform or global"),
    ("importance=activations", "needs samples (--calib)"),
])  # fmt: skip
def test_bad_settings_are_one_line(options: str, message: str) -> None:
    model = model_of(CHAIN)
    before = shapes(model)
    with pytest.raises(UsageError) as raised:
        run(model, f"prune{{{options}}}", context(None))
    text = str(raised.value)
    assert message in text and "\n" not in text and shapes(model) == before


def test_nothing_is_written_for_bad_settings_and_the_command_checks_what_it_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "m.onnx", tmp_path / "small.onnx"
    write(model_of(CHAIN), str(source))
    assert main([str(source), "--passes", "@O1,prune{channels=2},@O2", "-o", str(out)]) == 2
    said = capsys.readouterr().err
    assert "channels=2 of prune is no share" in said and len(said.strip().splitlines()) == 1 and not out.exists()
    assert main([str(source), "--passes", "@O1,prune{channels=0.5},@O2", "-o", str(out), "--check=off"]) == 0
    assert out.stat().st_size < source.stat().st_size


SMALL_AND_LARGE = """
graph @main(%x: f32[1,16,56,56]) -> (%y) {
  weight %a: f32[64,16,3,3] = random
  weight %b: f32[64,64,1,1] = random
  weight %squeeze: f32[16,64,1,1] = random
  weight %excite: f32[64,16,1,1] = random
  weight %w: f32[8,64,1,1] = random
  %c = Conv(%x, %a) {pads=[1, 1, 1, 1]}
  %r = Relu(%c)
  %d = Conv(%r, %b)
  %p = GlobalAveragePool(%d)
  %s = Conv(%p, %squeeze)
  %t = Relu(%s)
  %e = Conv(%t, %excite)
  %g = Sigmoid(%e)
  %m = Mul(%d, %g)
  %y = Conv(%m, %w)
}"""


@pytest.mark.parametrize("options", ["", ",slower=true"])
def test_what_lasts_as_long_as_its_launch_is_not_cut_unless_for_size(options: str) -> None:
    """The layers on the one pixel that a pool leaves; those around them are cut."""
    model = model_of(SMALL_AND_LARGE)
    said = Remarks()
    assert run(model, f"prune{{channels=0.5{options}}}", context(None, "a100", instruments=[said]))
    found = shapes(model)
    assert found["a"] == (32, 16, 3, 3) and found["b"][:2] == (32, 32)
    assert found["squeeze"] == ((8, 32, 1, 1) if options else (16, 32, 1, 1))
    refused = [remark for remark in said.all if remark.kind == "refused"]
    assert [remark.loc for remark in refused] == ([] if options else [("/s",)])
    assert all("of its time by the target's estimate" in remark.message for remark in refused)


def test_the_share_of_time_is_that_of_the_cut_model() -> None:
    model = model_of(SMALL_AND_LARGE)
    found, ctx = follow(model.graph), context(None)
    family = next(family for family in families_of(found) if "a" in names_of(family.makers))
    alive = ~np.isin(found.labels.roots, family.units[:40])
    names = [node.output.hint for node in family.touched]
    share = share_of_time(found, ctx.cost, family.touched, alive)
    before = sum(ctx.cost.seconds(node) or 0 for node in family.touched)
    apply_cut(found, alive)
    after = sum(ctx.cost.seconds(node) or 0 for node in model.graph if node.output.hint in names)
    assert names == ["c", "d"] and share == pytest.approx(after / before) and 0.3 < share < 0.6
