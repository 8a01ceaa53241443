"""Judging what -O2 makes of a model: every way to be wrong that can be seen from outside.

    verdict = judge(sample.model.SerializeToString(), sample.feeds)
    verdict is None          # right
    verdict.kind             # "discard" where the sample itself is no good, else what is wrong

A model counts when onnx's checker takes it and onnxruntime runs it, with optimizations disabled, on all inputs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime

from geoc.frontends.onnx import load_onnx
from geoc.ir.core import Model
from geoc.ir.equal import difference
from geoc.ir.text import parse_model, print_model
from geoc.ir.types import SequenceType, TensorType, sequence_type, tensor_type
from geoc.ir.verify import verify
from geoc.lowering.onnx import model_bytes
from geoc.lowering.targets import get_target
from geoc.passes.base import Context, Instrument
from geoc.passes.instruments import Verify
from geoc.passes.manager import run_pipeline
from geoc.passes.pipelines import level_items
from geoc.passes.registry import Registry

from .undefined import has_undefined

Feeds = Mapping[str, Any]
Outputs = list[Any]

_RELATIVE = {"float64": 1e-7, "float32": 1e-4, "float16": 2e-2}
"""Errors that count, relative to the largest element of an output. A model's narrowest type inside decides."""


@dataclass
class Verdict:
    """What is wrong with a sample or with its result."""

    kind: str
    text: str
    guilty: str = ""  # the pass and rule whose rewrite made the outputs differ

    @property
    def signature(self) -> str:
        """Equal for samples that most likely fail for one reason."""
        return f"{self.kind}: {self.guilty or _shape_of(self.text)}"

    def __str__(self) -> str:
        return f"{self.kind}{f' ({self.guilty})' if self.guilty else ''}: {self.text}"


def _shape_of(text: str) -> str:
    text = re.sub(r"'[^']*'|\"[^\"]*\"|%[\w.]+|/\w+_\d+", "_", text)
    return re.sub(r"\d+", "#", text)[:160]


def judge(data: bytes, feeds: Sequence[Feeds]) -> Verdict | None:
    """What is wrong with geoc's result for a model; None for nothing."""
    try:
        onnx.checker.check_model(data)
        session = open_session(data)
        expected = [run(session, f) for f in feeds]
    except Exception as error:  # of a dozen unrelated classes
        return Verdict("discard", str(error))
    found = _structure(data)
    if isinstance(found, Verdict):
        return found
    result = found
    try:
        onnx.checker.check_model(result)
    except onnx.checker.ValidationError as error:
        return Verdict("checker", str(error))
    try:
        optimized = open_session(result)
    except Exception as error:
        return Verdict("load", str(error), blame(data, lambda d: not _loads(d)))
    for k, (given, want) in enumerate(zip(feeds, expected)):
        try:
            got = run(optimized, given)
        except Exception as error:
            return Verdict("run", str(error), blame(data, lambda d, given=given: not _runs(d, given)))
        fault = outputs_differ(want, got, tolerance(data))
        if fault is not None and not is_shaky(data, given, want):
            wrong = f"assignment {k}, output {fault}"
            return Verdict("values", wrong, blame(data, lambda d, given=given, want=want: _wrong(d, given, want, data)))
    return None


def runs_source(data: bytes, feeds: Sequence[Feeds]) -> bool:
    """True if the checker and the runtime take a model as it is."""
    try:
        onnx.checker.check_model(data)
        session = open_session(data)
        for given in feeds:
            run(session, given)
    except Exception:
        return False
    return True


def _structure(data: bytes) -> bytes | Verdict:
    """Import, print, write and optimize: the result's bytes, or what broke on the way."""
    stage = "import"
    try:
        model = load_onnx(data)
        stage = "verify"
        verify(model)
        found = round_trips(model, "import")
        if found is not None:
            return found
        count = model.node_count
        stage = "optimize"
        done = optimize(model)
        stage = "export"
        result = target_bytes(model)
        found = round_trips(model, "optimized")
        if found is not None:
            return found
        if model.node_count > count and not _lowered(done):
            return Verdict("larger", f"{model.node_count} nodes instead of {count}")
        stage = "again"
        text = print_model(model, weights="inline")
        optimize(model)
        changed = difference(_bare(parse_model(text)), _bare(model))
        # A second run sees the forms that the first one chose, and may find more to do around them.
        if changed is not None and not _lowered(done):
            return Verdict("idempotence", changed)
        return _weight(data, result, _lowered(done)) or result
    except Exception as error:  # whatever a broken pass raises
        return Verdict(f"{stage} {type(error).__name__}", str(error))


def _lowered(names: Sequence[str]) -> bool:
    """True if forms were chosen that may be faster with more operators."""
    return any(name.startswith(("ort-forms.", "ort-projections.", "ort-residuals.", "ort-tokens.", "rotary.")) for name in names)


def round_trips(model: Model, what: str) -> Verdict | None:
    """Text and ONNX have to give back what they were given.

    A file asks for copies where a graph returns an operand, or one value twice, and says nothing of how unknown sizes
    relate: both are left out of the comparison. What came from a file that geoc wrote must come back whole.
    """
    text = print_model(model, weights="inline")
    changed = difference(model, parse_model(text))
    if changed is not None:
        return Verdict(f"text {what}", changed)
    once = load_onnx(model_bytes(model))
    changed = difference(_bare(parse_model(text)), _bare(parse_model(print_model(once, weights="inline"))))
    if changed is not None:
        return Verdict(f"onnx {what}", changed)
    changed = difference(once, load_onnx(model_bytes(once)))
    return None if changed is None else Verdict(f"onnx twice {what}", changed)


def _bare(model: Model) -> Model:
    """The model without copies of values and without shapes, changed in place."""
    for graph in model.graphs():
        for value in graph.inputs:
            value.type = _without_shape(value.type)
        for node in graph:
            for value in node.outputs:
                value.type = _without_shape(value.type)
            if node.op.key == "Identity" and node.inputs[0] is not None:
                node.output.replace_with(node.inputs[0])
                graph.erase(node)
    return model


def _without_shape(type_: Any) -> Any:
    if isinstance(type_, SequenceType):
        return sequence_type(_without_shape(type_.element))
    return tensor_type(type_.dtype, None) if isinstance(type_, TensorType) else type_


def target_bytes(model: Model) -> bytes:
    """The model as an ONNX file for the local CPU."""
    target = get_target("cpu")
    return model_bytes(model, max_opset=target.max_opset, max_ir=target.max_ir)


class _Names(Instrument):
    """Keeps the names of the rewrites."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_allow(self, number: int, pass_name: str, rule: str, node: Any, allowed: bool) -> None:
        self.names.append(f"{pass_name}.{rule}" if rule else pass_name)


@cache
def _registry() -> Registry:
    """One for all models: reading and compiling the rules takes longer than most of them."""
    return Registry(get_target("cpu").rule_sets)


def optimize(model: Model, limit: int | None = None) -> list[str]:
    """Run -O2 with verification after each pass, or its first `limit` rewrites; the names of all rewrites."""
    target = get_target("cpu")
    names = _Names()
    ctx = Context(capabilities=target.capabilities, instruments=[Verify(), names], bisect_limit=limit)
    run_pipeline(model, _registry().resolve(level_items(2, target.pipeline)), ctx)
    return names.names


def blame(data: bytes, is_bad: Any) -> str:
    """The first rewrite after which `is_bad(bytes)` holds; "export" where even none makes it so."""

    def bad(limit: int | None) -> tuple[bool, list[str]]:
        model = load_onnx(data)
        names = optimize(model, limit) if limit != 0 else []
        try:
            return bool(is_bad(target_bytes(model))), names
        except Exception:  # a half-way state that cannot be written
            return False, names

    if bad(0)[0]:
        return "export"
    _, names = bad(None)
    good, worst = 0, len(names)
    while worst - good > 1:
        middle = (good + worst) // 2
        if bad(middle)[0]:
            worst = middle
        else:
            good = middle
    return names[worst - 1] if names else ""


def _weight(data: bytes, result: bytes, lowered: bool) -> Verdict | None:
    """A result that takes more room than its source; where forms were chosen, nodes do not count."""
    # The source may hold integers one by one, in fewer bytes than a tensor's raw data takes.
    limit = max(len(data), len(target_bytes(load_onnx(data)))) * 1.01 + 2048
    if len(result) > limit:
        return Verdict("size", f"{len(result)} bytes instead of {len(data)}", blame(data, lambda d: len(d) > limit))
    before, after = file_nodes(data), file_nodes(result)
    # Before opset 13 Softmax took a matrix; the newer words for that are up to three nodes more.
    for name in ("Softmax", "LogSoftmax", "Hardmax") if _opset(data) < 13 else ():
        after.subtract({"Flatten": before[name], "Shape": before[name], "Reshape": before[name]})
    if after.total() > before.total() and not lowered:
        return Verdict("file nodes", f"{after.total()} nodes instead of {before.total()}: more of {after - before}")
    return None


def _opset(data: bytes) -> int:
    return next(o.version for o in onnx.ModelProto.FromString(data).opset_import if not o.domain)


def file_nodes(data: bytes) -> Counter[str]:
    """Operators of a file, those in regions and of called functions included, constants not."""
    model = onnx.ModelProto.FromString(data)
    functions = {(f.domain, f.name): f for f in model.functions}
    found: Counter[str] = Counter()
    lists = [model.graph.node]
    for nodes in lists:  # grows while we go
        for node in nodes:
            function = functions.get((node.domain, node.op_type))
            if function is not None:
                lists.append(function.node)
            elif node.op_type not in ("Constant", "ConstantOfShape", "Identity"):
                found[node.op_type] += 1
            lists.extend(a.g.node for a in node.attribute if a.HasField("g"))
    return found


# Running


def open_session(data: bytes) -> onnxruntime.InferenceSession:
    """A session without optimizations on one thread."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, feeds: Feeds) -> Outputs:
    """Outputs, from those of `feeds` that are inputs."""
    names = {i.name for i in session.get_inputs()}
    return list(session.run(None, {k: v for k, v in feeds.items() if k in names}))


def _loads(data: bytes) -> bool:
    try:
        open_session(data)
    except Exception:
        return False
    return True


def _runs(data: bytes, feeds: Feeds) -> bool:
    try:
        run(open_session(data), feeds)
    except Exception:
        return False
    return True


def _wrong(data: bytes, feeds: Feeds, want: Outputs, source: bytes) -> bool:
    return outputs_differ(want, run(open_session(data), feeds), tolerance(source)) is not None


# Comparing


def tolerance(data: bytes) -> dict[str, float]:
    """The errors that count, by type of output; a narrow type inside widens all of them."""
    found = dict(_RELATIVE)
    narrow = 0.0
    kinds = set(_types(onnx.ModelProto.FromString(data)))
    if onnx.TensorProto.BFLOAT16 in kinds:
        narrow = 5e-2
    elif onnx.TensorProto.FLOAT16 in kinds:
        narrow = 1e-2
    elif onnx.TensorProto.FLOAT in kinds:
        narrow = 1e-4
    return {kind: max(value, narrow) for kind, value in found.items()}


def _types(model: onnx.ModelProto) -> list[int]:
    found = [i.type.tensor_type.elem_type for i in (*model.graph.input, *model.graph.output)]
    lists = [model.graph.node, *(f.node for f in model.functions)]
    for nodes in lists:
        for node in nodes:
            for a in node.attribute:
                if a.name in ("to", "dtype"):
                    found.append(a.i)
                elif a.HasField("t"):
                    found.append(a.t.data_type)
                elif a.HasField("g"):
                    lists.append(a.g.node)
                    found.extend(t.data_type for t in a.g.initializer)
    found.extend(t.data_type for t in model.graph.initializer)
    return found


def outputs_differ(expected: Outputs, found: Outputs, relative: Mapping[str, float]) -> str | None:
    """How outputs differ beyond the tolerance; None where they agree."""
    if len(expected) != len(found):
        return f"{len(found)} outputs instead of {len(expected)}"
    for index, (a, b) in enumerate(zip(expected, found)):
        fault = _fault(np.asarray(a), np.asarray(b), relative)
        if fault is not None:
            return f"{index}: {fault}"
    return None


def _fault(a: Any, b: Any, relative: Mapping[str, float]) -> str | None:
    if a.size == 0 and b.size == 0 and a.dtype == b.dtype and (a.ndim == b.ndim or 1 in (a.ndim, b.ndim)):
        return None  # of a Loop that never ran, each runtime makes up the sizes, or the rank, that the file does not tell
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{b.dtype}{list(b.shape)} instead of {a.dtype}{list(a.shape)}"
    if a.dtype.kind not in "f":
        return None if np.array_equal(a, b) else f"{a.dtype}: {int((a != b).sum())} of {a.size} elements differ"
    x, y = a.astype(np.float64), b.astype(np.float64)
    top = float(np.finfo(a.dtype).max)
    for each in (x, y):  # a Clip without one of its bounds makes the greatest number of infinity, Relu leaves it
        each[np.abs(each) == top] *= np.inf
    odd = ~np.isfinite(x)
    if not np.array_equal(x[odd], y[odd], equal_nan=True) or not np.isfinite(y[~odd]).all():
        return f"{a.dtype}: NaN or infinity in other places"
    if not (~odd).any():
        return None
    worst = float(np.abs(x[~odd] - y[~odd]).max())
    limit = relative[str(a.dtype)] * max(float(np.abs(x[~odd]).max()), 1e-6)
    return None if worst <= limit else f"{a.dtype}: off by {worst:.3g} of {np.abs(x[~odd]).max():.3g}"


def is_shaky(data: bytes, feeds: Feeds, want: Outputs) -> bool:
    """True if the model's own outputs depend on rounding, on what a cast makes of NaN and of too large numbers, or on
    what a softmax makes of -inf alone.

    Rounding: with inputs and weights off by a millionth the outputs change more than they may.
    """
    if has_undefined(data, feeds):
        return True
    floats = [v.astype(np.float64) for v in feeds.values() if v.dtype.kind == "f"]
    if any((np.abs(v[np.isfinite(v)]) > 1e30).any() for v in floats):
        return True
    odd = any(not np.isfinite(v).all() for v in floats)
    if odd and not _ORDERED.isdisjoint(file_nodes(data)):
        return True
    rng = np.random.default_rng(0)
    limits = tolerance(data)
    for _ in range(6):
        try:
            moved = {k: _moved(rng, v) for k, v in feeds.items()}
            if outputs_differ(want, run(open_session(_shaken(data, rng)), moved), limits) is not None:
                return True
        except Exception:
            return True
    return False


def _moved(rng: np.random.Generator, array: Any) -> Any:
    if array.dtype.kind != "f":
        return array
    step = {2: 1e-3, 4: 1e-6, 8: 1e-12}[array.dtype.itemsize]
    with np.errstate(invalid="ignore"):
        return (array * (1 + step * rng.uniform(-1, 1, array.shape))).astype(array.dtype)


def _shaken(data: bytes, rng: np.random.Generator) -> bytes:
    model = onnx.ModelProto.FromString(data)
    tensors = list(model.graph.initializer)
    lists = [model.graph.node, *(f.node for f in model.functions)]
    for nodes in lists:
        for node in nodes:
            for a in node.attribute:
                if a.HasField("g"):
                    lists.append(a.g.node)
                    tensors.extend(a.g.initializer)
                elif a.HasField("t") and node.op_type == "Constant":
                    tensors.append(a.t)
    for tensor in tensors:
        if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE) and len(tensor.dims) > 0:
            array = _moved(rng, onnx.numpy_helper.to_array(tensor))
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    return model.SerializeToString()


# What these make of a NaN depends on what stands before it.
_ORDERED = frozenset({"MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin", "Max", "Min", "ArgMax", "ArgMin", "TopK", "Clip"})
