"""kv-cache: codes and scales in exact numbers, steps of decoding beside floats, and what it says where it cannot."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import geoc
from geoc.ir.core import Model
from geoc.ir.errors import UsageError
from geoc.ir.types import BOOL, F32, I8
from geoc.tools.cli import main
from geoc.tools.comparing.float_caches import with_float_caches

from .running import Feeds, context, model_of, run, write

HEADS, GROUPS, SIZE = 4, 2, 8
TEXT = f"""graph @main(%x: f32[B,S,32], %seen: bool[B,1,S,T], %pk: f32[B,{GROUPS},P,{SIZE}], %pv: f32[B,{GROUPS},P,{SIZE}]) -> (%y, %nk, %nv) {{
  weight %wq: f32[32,{HEADS * SIZE}] = random
  weight %wk: f32[32,{GROUPS * SIZE}] = random
  weight %wv: f32[32,{GROUPS * SIZE}] = random
  weight %wo: f32[{HEADS * SIZE},32] = random
  weight %hq: i64[4] = [0, 0, {HEADS}, {SIZE}]
  weight %hk: i64[4] = [0, 0, {GROUPS}, {SIZE}]
  weight %rows: i64[3] = [0, 0, {HEADS * SIZE}]
  weight %zero: f32[] = 0.0
  weight %low: f32[] = -10000.0
  %m = Where(%seen, %zero, %low)
  %aq = MatMul(%x, %wq)
  %ak = MatMul(%x, %wk)
  %av = MatMul(%x, %wv)
  %bq = Reshape(%aq, %hq)
  %bk = Reshape(%ak, %hk)
  %bv = Reshape(%av, %hk)
  %q = Transpose(%bq) {{perm=[0, 2, 1, 3]}}
  %k = Transpose(%bk) {{perm=[0, 2, 1, 3]}}
  %v = Transpose(%bv) {{perm=[0, 2, 1, 3]}}
  %nk = Concat(%pk, %k) {{axis=-2}}
  %nv = Concat(%pv, %v) {{axis=2}}
  %o = Attention(%q, %nk, %nv, %m)
  %t = Transpose(%o) {{perm=[0, 2, 1, 3]}}
  %h = Reshape(%t, %rows)
  %y = MatMul(%h, %wo)
}}"""


def step(batch: int, length: int, past: int, seed: int = 0) -> Feeds:
    rng = np.random.default_rng(seed)
    total = past + length
    seen = np.broadcast_to(np.tri(length, total, past, dtype=bool), (batch, 1, length, total)).copy()
    pk, pv = (rng.normal(size=(batch, GROUPS, past, SIZE)).astype(np.float32) for _ in "kv")
    x = rng.normal(1, 1, (batch, length, 32)).astype(np.float32)  # a mean, which attention does not average away
    return {"x": x, "seen": seen, "pk": pk, "pv": pv}


def session(path: str | Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def of(model: Model, folder: Path) -> Any:
    write(model, str(folder / "model.onnx"))
    return session(folder / "model.onnx")


@pytest.mark.parametrize("scales", ["channel", "tensor"])
def test_codes_are_the_nearest_ones(scales: str, tmp_path: Path) -> None:
    source, model = of(model_of(TEXT), tmp_path), model_of(TEXT)
    samples = [step(1, 5, 0, 1), step(2, 3, 4, 2)]
    assert run(model, f"kv-cache{{scales={scales}}}", context(samples))
    assert [v.dtype for v in model.graph.inputs] == [F32, BOOL, I8, I8]
    assert [v.dtype for v in model.graph.outputs] == [F32, I8, I8]
    seen = [source.run(["nk", "nv"], feeds) for feeds in samples]
    made, given = of(model, tmp_path), step(2, 3, 4, 3)
    codes = {
        name: np.random.default_rng(4).integers(-127, 128, given[name].shape).astype(np.int8) for name in ("pk", "pv")
    }
    _, *found = made.run(None, {**given, **codes})
    for index, name in enumerate(("pk", "pv")):
        peak = np.maximum(*(np.abs(outputs[index]).max((0, 2)) for outputs in seen))
        scale = ((peak if scales == "channel" else np.full_like(peak, peak.max())) / np.float64(127)).astype(np.float32)
        new = source.run([f"n{name[1]}"], given)[0][:, :, 4:]
        wanted = np.clip(np.rint(new / scale[:, None]), -128, 127).astype(np.int8)
        np.testing.assert_array_equal(found[index], np.concatenate([codes[name], wanted], 2))


def decoded(model: Any, lengths: tuple[int, ...]) -> np.ndarray:
    """What a sequence gives, in pieces of these lengths, with the caches handed on."""
    dtypes = {i.name: np.int8 if "int8" in i.type else np.float32 for i in model.get_inputs()}
    past = [np.zeros((1, GROUPS, 0, SIZE), dtypes[name]) for name in ("pk", "pv")]
    found = []
    for number, length in enumerate(lengths):
        feeds = {**step(1, length, past[0].shape[2], number), "pk": past[0], "pv": past[1]}
        y, *past = model.run(None, feeds)
        found.append(y)
    return np.concatenate(found, 1)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    """The source as a file, samples, and the source for onnxruntime."""
    write(model_of(TEXT), str(tmp_path / "source.onnx"))
    arrays = {f"{name}/{i}": array for i in range(10) for name, array in step(1, 60, i % 3, 10 + i).items()}
    np.savez(tmp_path / "samples.npz", **arrays)  # type: ignore[arg-type]
    return str(tmp_path / "source.onnx"), str(tmp_path / "samples.npz"), str(tmp_path / "source.onnx")


@pytest.mark.parametrize("shape", [("B=1",), ()])
def test_many_steps_stay_near(shape: tuple[str, ...], files: tuple[str, str, str], tmp_path: Path) -> None:
    source, samples, reference = files
    made = tmp_path / "made.onnx"
    report = geoc.compile(source, made, precision="kv8", calib=samples, shape=shape)
    assert report.ok and report.accuracy.status == "CHECKED" and report.accuracy.samples == 2
    assert report.accuracy.error is not None and 0 < report.accuracy.error < 0.02
    assert report.after.caches == 2 and "2 caches in i8" in report.summary()
    kernels = Counter(node.op.name for node in geoc.load(str(made)).graph)
    unlocks = [refusal.unlock for refusal in report.refused if refusal.what == "kv-cache"]
    if shape:
        assert (kernels["GroupQueryAttention"], kernels["Attention"], unlocks) == (1, 0, [])
    else:  # several sequences, which the operator takes no prompt for behind a cache
        assert (kernels["GroupQueryAttention"], kernels["Attention"], unlocks) == (0, 1, ["--shape B=1"])
    lengths = (7, *(1,) * 12, 3, *(1,) * 4)
    wanted, found = decoded(session(reference), lengths), decoded(session(made), lengths)
    errors = np.linalg.norm(found - wanted, axis=-1) / np.linalg.norm(wanted, axis=-1)
    assert errors.max() < 0.02 and errors[0, -8:].mean() < 2 * errors[0, :8].mean()  # and does not grow


def test_with_weights_of_4_bits(files: tuple[str, str, str], tmp_path: Path) -> None:
    source, samples, _ = files
    geoc.compile(source, tmp_path / "made.onnx", precision="int4kv8", calib=samples, shape="B=1", skip="nbits-rows")
    model = geoc.load(str(tmp_path / "made.onnx"))
    assert [v.dtype for v in model.graph.inputs][2:] == [I8, I8]
    assert decoded(session(tmp_path / "made.onnx"), (3, 1)).shape == (1, 4, 32)


def test_what_is_no_cache_stays() -> None:
    text = TEXT.replace("-> (%y, %nk, %nv) {", "-> (%y, %nk, %nv, %z) {").replace(
        "%y = MatMul(%h, %wo)", "%y = MatMul(%h, %wo)\n  %z = Neg(%pk)"
    )
    model = model_of(text)
    assert run(model, "kv-cache", context([step(1, 3, 2)]))
    assert [v.dtype for v in model.graph.inputs] == [F32, BOOL, F32, I8]  # pk is read by something else


@pytest.mark.parametrize(
    ("passes", "samples", "said"),
    [
        ("kv-cache{bits=4}", True, "bits of kv-cache is 8, not 4"),
        ("kv-cache{scales=token}", True, "one of channel, tensor; not token"),
        ("kv-cache", False, "needs samples to measure on: give --calib"),
    ],
)
def test_bad_use(passes: str, samples: bool, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        run(model_of(TEXT), passes, context([step(1, 3, 2)] if samples else None))


def test_numbers_that_are_none_name_the_sample() -> None:
    bad = step(1, 3, 2)
    bad["pk"][0, 0, 0, 0] = np.nan
    with pytest.raises(UsageError, match="sample 1, tensor %nk: it holds NaN"):
        run(model_of(TEXT), "kv-cache", context([step(1, 3, 2), bad]))


def test_a_model_without_caches_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.gir"
    path.write_text('geoc 1\nopset "" 21\n\ngraph @main(%x: f32[2,4]) -> (%y) {\n  %y = Neg(%x)\n}\n')
    assert main([str(path), "--precision=kv8", "--calib=random", "-o", str(tmp_path / "o.onnx")]) == 2
    said = capsys.readouterr().err
    assert "there is no key-value cache to quantize" in said and not (tmp_path / "o.onnx").exists()
    assert main([str(path), "--precision=kv8", "--target=openvino-cpu", "--calib=random"]) == 2
    assert "does not bring models to kv8 for openvino-cpu" in capsys.readouterr().err


def test_a_mask_that_may_hide_a_whole_row_keeps_the_operator_that_gives_zeros(tmp_path: Path) -> None:
    text = TEXT.replace("%seen: bool[B,1,S,T]", "%m: f32[B,1,S,T]").replace("  %m = Where(%seen, %zero, %low)\n", "")
    feeds = step(1, 5, 0)
    mask = np.where(feeds.pop("seen"), 0, -np.inf).astype(np.float32)
    mask[0, 0, 2] = -np.inf
    write(model_of(text), str(tmp_path / "source.onnx"))
    samples = {f"{name}/{i}": array for i in range(2) for name, array in {**feeds, "m": np.maximum(mask, -1e4)}.items()}
    np.savez(tmp_path / "samples.npz", **samples)  # type: ignore[arg-type]
    report = geoc.compile(
        str(tmp_path / "source.onnx"),
        tmp_path / "made.onnx",
        precision="kv8",
        calib=str(tmp_path / "samples.npz"),
        shape="B=1",
    )
    assert report.ok
    empty = {name: np.zeros((1, GROUPS, 0, SIZE), np.int8) for name in ("pk", "pv")}
    found = session(tmp_path / "made.onnx").run(None, {**feeds, "m": mask, **empty})[0]
    assert np.isfinite(found).all() and not found[0, 2].any() and found[0, 1].any()


def layers(count: int) -> str:
    """TEXT several times over, each layer with caches of its own."""
    head, _, body = TEXT.partition("{\n")
    caches, results, made = [], [], []
    for layer in range(count):
        numbered = re.sub(r"%(?!x\b|seen\b)(\w+)", rf"%\g<1>{layer}", body.rstrip("}\n"))
        made.append(numbered if layer == 0 else re.sub(r"%x\b", f"%y{layer - 1}", numbered))
        caches += [f"%{kind}{layer}: f32[B,{GROUPS},P,{SIZE}]" for kind in ("pk", "pv")]
        results += [f"%nk{layer}", f"%nv{layer}"]
    inputs = f"{head.partition(', %pk')[0]}, {', '.join(caches)}"
    return f"{inputs}) -> (%y{count - 1}, {', '.join(results)}) {{\n" + "\n".join(made) + "\n}"


def test_several_layers_are_compared_in_floats(tmp_path: Path) -> None:
    """What is compared gives the floats of its codes, which stay outputs: their sizes are declared by that alone."""
    write(model_of(layers(4)), str(tmp_path / "source.onnx"))
    arrays = {}
    for sample in range(5):
        feeds = step(1, 2, 8, sample)
        caches = {f"{kind}{i}": feeds[kind] for kind in ("pk", "pv") for i in range(4)}
        arrays |= {f"{name}/{sample}": array for name, array in (feeds | caches).items() if name not in ("pk", "pv")}
    np.savez(tmp_path / "samples.npz", **arrays)
    source, samples = str(tmp_path / "source.onnx"), str(tmp_path / "samples.npz")
    report = geoc.compile(source, tmp_path / "made.onnx", precision="kv8", calib=samples, shape="B=1")
    assert report.after.caches == 8 and report.accuracy.status == "CHECKED", report.summary()
    floats = with_float_caches(geoc.load(str(tmp_path / "made.onnx")))
    names = [*(name for i in range(4) for name in (f"nk{i}", f"nv{i}"))]
    assert floats.graph.output_names == ["y3", *names, *(f"{name}.codes" for name in names)]
    write(floats, str(tmp_path / "floats.onnx"))
    running = session(tmp_path / "floats.onnx")
    found = running.run(None, {entry.name: arrays[f"{entry.name}/0"] for entry in running.get_inputs()})
    for cache, codes in zip(found[1:9], found[9:]):
        assert cache.shape == codes.shape == (1, GROUPS, 10, SIZE) and codes.dtype == np.int8
        steps = np.abs(cache).max(axis=(0, 2), keepdims=True) / np.abs(codes.astype(np.float32)).max(axis=(0, 2), keepdims=True)
        assert np.allclose(cache, codes * steps, rtol=1e-5, atol=1e-6)
