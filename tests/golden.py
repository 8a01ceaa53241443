"""Golden cases: what a pipeline makes of a small graph, as text, and proof by numbers that it may.

A `.gir` file under tests/ holds one case or several. Each begins with its pipeline:

    # RUN: --passes=identity,views
    # WHY: the mask has another user          (only where nothing may happen: a case against over-eager rules)
    # SIZES: B=2 S=3 | B=1 S=1                (instead of the sizes that are tried otherwise; v=2x3 for f32[*])
    # FEED: k=2 flag=true                     (inputs with a given value, all elements alike)
    # NORUN: draws random numbers             (why the case cannot be run)
    graph @main(%x: f32[B,4]) -> (%y) {
      %a = Identity(%x)
      %y = Relu(%a)
    }
    # ----
    graph @main(%x: f32[B,4]) -> (%y: f32[B,4]) {
      %y: f32[B,4] = Relu(%x)
    }

`geoc 1` and opset 21 are understood where a case does not say otherwise. Types that are left out are inferred before
the pipeline starts. What it gives is verified, printed and compared with the lower half, and both graphs are run on the
same random inputs at all sizes: a case whose numbers differ fails, whatever its text says.
`pytest --update-golden` rewrites lower halves.

A case of capability rows begins with their set, `# ROWS: trt-limits`; its lower half says what is refused, or nothing:

    %y: axes must be constant (reduce_axes)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoc.ir import dims
from geoc.ir.core import Model
from geoc.ir.errors import UnsupportedModel
from geoc.ir.infer import infer_graph
from geoc.ir.text import parse_model, print_model
from geoc.ir.types import BOOL, SequenceType, TensorType
from geoc.ir.verify import verify
from geoc.lowering.backend import all_row_sets, all_rule_sets
from geoc.lowering.onnx import model_bytes
from geoc.lowering.rows import refused_by
from geoc.passes.base import Context, Instrument, Remark
from geoc.passes.manager import run_pipeline
from geoc.passes.pipelines import parse
from geoc.passes.registry import Registry

STARTS = ("# RUN:", "# ROWS:")
RULE = "# ----"
HEADER = 'geoc 1\nopset "" 21\n\n'
KEYS = ("RUN", "ROWS", "WHY", "SIZES", "FEED", "NORUN")
# Passes that only move elements: their results are equal to the last bit, infinities and NaN included.
EXACT = frozenset({"identity", "views", "shapes", "defaults", "freeze", "fold", "cse", "dce", "infer"})
TOLERANCES = {"float64": 1e-11, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}
Feeds = dict[str, Any]
Sizes = dict[str, Any]


def library() -> Registry:
    """All passes, those of every target included."""
    return Registry(all_rule_sets())


class Fired(Instrument):
    """Counts the rewrites of each pass and rule, and keeps what was refused."""

    wants_details = False

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], int] = {}
        self.refused: list[str] = []

    def on_remark(self, remark: Remark) -> None:
        if remark.kind == "refused":
            self.refused.append(f"refused: {remark.rule}: {remark.message}")

    def before_rewrite(self, pass_name: str, rule: str, nodes: Any) -> None:
        self.counts[pass_name, rule] = self.counts.get((pass_name, rule), 0) + 1


@dataclass
class Case:
    """One case: its header lines by key, and both halves as they are in the file."""

    path: Path
    line: int
    head: dict[str, str]
    source: str
    expected: str

    @property
    def name(self) -> str:
        """Unique in its file, and what a report shows."""
        return f"line {self.line}" + (f": not where {self.head['WHY']}" if "WHY" in self.head else "")

    def passes(self) -> str:
        """The pipeline. Raises ValueError for a header that gives something else."""
        found = re.fullmatch(r"--passes=(\S+)", self.head["RUN"])
        if not found:
            raise ValueError(f"{self.path.name}:{self.line}: expected # RUN: --passes=...")
        return found[1]

    def subject(self) -> tuple[str, str] | None:
        """The pass and rule that the case is about: its folder and file are called so. ("name", "") for a whole pass."""
        name, rule = self.path.parent.name, self.path.stem
        registry = library()
        if name not in registry.names(installed=False):
            return None
        return name, (rule if rule in registry.find(name)().rule_names() else "")

    def load(self) -> Model:
        """The upper half as a model, with all types that inference finds."""
        own = re.search(r"^geoc \d", self.source, re.MULTILINE)
        model = parse_model(self.source if own else HEADER + self.source, source=f"{self.path.name}:{self.line}")
        for root in model.roots():
            infer_graph(root)
        verify(model)
        return model

    def transform(self, limit: int | None = None, fired: Fired | None = None) -> Model:
        """What the pipeline makes of it, stopped after `limit` rewrites; `fired` is told what happened."""
        model = self.load()
        ctx = Context(instruments=[fired] if fired else [], bisect_limit=limit)
        run_pipeline(model, library().resolve(parse(self.passes())), ctx)
        verify(model)
        return model

    def shown(self, model: Model) -> str:
        """The text of a model in the form of the lower half."""
        text = print_model(model)
        if not re.search(r"^geoc \d", self.source, re.MULTILINE):
            text = text[re.search(r"^(graph|file) ", text, re.MULTILINE).start() :]  # type: ignore[union-attr]
        return text.strip()

    def lower_half(self) -> str:
        """What the case gives now. Raises AssertionError where it does not compute the same."""
        made = self.transform()
        self.check_numbers(self.load(), made)
        return self.shown(made)

    def check(self) -> None:
        """Compare with the lower half, and by running. Raises AssertionError."""
        fired = Fired()
        made = self.transform(fired=fired)
        self.check_numbers(self.load(), made)
        text = self.shown(made)
        assert text == self.expected, "\n\n".join([_differs(self.expected, text), *fired.refused])
        self.check_steering(text)
        subject = self.subject()
        if subject:
            happened = any(subject in ((name, rule), (name, "")) for name, rule in fired.counts)
            assert happened == ("WHY" not in self.head), f"{subject} {'fired' if happened else 'did not fire'}"

    def check_steering(self, text: str) -> None:
        """No rewrite happens that is refused, and none is left to do where the pipeline is one pass."""
        assert self.shown(self.transform(0)) == self.shown(self.load()), "a rewrite happened that was refused"
        if "," not in self.passes():
            again = parse_model(text if text.startswith("geoc") else HEADER + text)
            step = library().resolve(parse(self.passes()))[0]
            assert not step.run(again, Context()), "a second run of the pass finds something to do"

    def check_numbers(self, before: Model, after: Model) -> None:
        """Run both graphs. Raises AssertionError where they differ."""
        if "NORUN" in self.head:
            return
        exact = "@" not in self.passes() and all(name in EXACT for name in re.findall(r"[a-z-]+", self.passes()))
        old = Runner(before)
        new = Runner(after, like=old)
        for number, sizes in enumerate(self.sizes(before)):
            feeds = self.feeds(before, sizes, np.random.default_rng(number), special=exact and number == 0)
            wanted = old.run(feeds)
            for name, a, b in zip(before.graph.output_names, new.run(feeds), wanted, strict=True):
                compare(a, b, f"{name} at {sizes}", exact)
            _check_shapes(after, wanted, sizes)

    def sizes(self, model: Model) -> Iterator[Sizes]:
        """Sizes of all symbols, and shapes of inputs of unknown rank: given ones, or all different and all 1."""
        found = {
            atom.name: None
            for value in model.graph.inputs
            if isinstance(value.type, TensorType)
            for dim in value.type.shape or ()
            for atom in dims.atoms(dim)
            if atom.is_symbol
        }
        if "SIZES" in self.head:
            for row in self.head["SIZES"].split("|"):
                given: Sizes = {}
                for name, size in (item.split("=") for item in row.split()):
                    given[name] = tuple(int(n) for n in size.split("x")) if "x" in size else int(size)
                missing = [n for n in found if n not in given]
                assert not missing, f"SIZES lacks {missing}"
                yield given
            return
        unranked = [n for n, v in zip(model.graph.input_names, model.graph.inputs) if v.type and v.shape is None]
        yield {name: 2 + index for index, name in enumerate(found)} | dict.fromkeys(unranked, (2, 3))
        yield dict.fromkeys(found, 1) | dict.fromkeys(unranked, (1, 1))

    def feeds(self, model: Model, sizes: Sizes, random: np.random.Generator, special: bool) -> Feeds:
        """Values for all inputs without a default."""
        given = dict(item.split("=") for item in self.head.get("FEED", "").split())
        feeds: Feeds = {}
        for name, value in zip(model.graph.input_names, model.graph.inputs):
            if value in model.graph.defaults:
                continue
            if isinstance(value.type, SequenceType):
                feeds[name] = [draw(value.type.element, sizes, random, special) for _ in range(2)]
                continue
            feeds[name] = draw(value.type, sizes, random, special, sizes.get(name))
            if name in given:
                text = given.pop(name)
                number = {"true": True, "false": False}.get(text) if text in ("true", "false") else float(text)
                feeds[name] = np.full_like(feeds[name], number)
        assert not given, f"FEED names no input: {given}"
        return feeds


class RowCase(Case):
    """A case of capability rows."""

    def refused(self) -> str:
        """The lower half that is right: a line for each node of the main graph that a row refuses."""
        model = self.load()
        found = refused_by(model, {self.head["ROWS"]: all_row_sets()[self.head["ROWS"]]})
        lines = [f"%{each.node.outputs[0].hint}: {each.reason} ({each.row.rpartition(' ')[2]})" for each in found]
        return "\n".join(lines) or "nothing"

    def lower_half(self) -> str:
        return self.refused()

    def check(self) -> None:
        """Compare with the lower half. Raises AssertionError."""
        found = self.refused()
        assert found == self.expected, _differs(self.expected, found)
        assert (f"({self.path.stem})" in found) == ("WHY" not in self.head), f"{self.path.stem} {found}"


def draw(
    type_: Any, sizes: Sizes, random: np.random.Generator, special: bool, shape: tuple[int, ...] | None = None
) -> Any:
    """A random array of a tensor type; `special`: with infinities and NaN among the floats."""
    assert isinstance(type_, TensorType), f"no values for {type_}: give the case a NORUN line"
    if type_.shape is not None:
        shape = tuple(size_of(dim, sizes) for dim in type_.shape)
    assert shape is not None, "give the shape in a SIZES line"
    if type_.dtype is BOOL:
        return np.asarray(random.random(shape) < 0.5)
    if type_.dtype.is_int:
        low = 0 if type_.dtype.kind == "u" else -4
        return np.asarray(random.integers(low, 5, shape)).astype(type_.dtype.numpy)
    assert type_.dtype.is_float, f"no values for {type_}: give the case a NORUN line"
    array = np.asarray(random.normal(size=shape))
    if special and array.size:
        flat = array.reshape(-1)
        for number in (np.inf, -np.inf, np.nan, 0.0):
            if random.random() < 0.8:
                flat[random.integers(flat.size)] = number
    return array.astype(type_.dtype.numpy)


def size_of(dim: Any, sizes: Sizes) -> int:
    """A dimension at given sizes of its symbols."""
    found = dims.substitute(dim, sizes.get)
    assert isinstance(found, int), f"no size for {dim}"
    return found


class Runner:
    """Runs a model with onnxruntime, unoptimized, or with onnx's reference where that lacks a kernel."""

    def __init__(self, model: Model, like: Runner | None = None) -> None:
        import onnxruntime

        data = _exported(model)
        # onnxruntime's Attention takes no mask that is broadcast, and the lowest finite number for -inf.
        masked = any(n.op.name == "Attention" and not n.op.domain and n.input(3) for n in model.walk())
        self.reference = like.reference if like is not None else masked
        if not self.reference:
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.log_severity_level = 4
            options.intra_op_num_threads = 1
            try:
                self.session: Any = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
                return
            except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
                if like is not None:
                    raise
                self.reference = True
        import onnx.reference

        self.session = onnx.reference.ReferenceEvaluator(onnx.ModelProto.FromString(data))

    def run(self, feeds: Feeds) -> list[Any]:
        """The outputs for these inputs; those that this model does not have are left out."""
        if self.reference:
            known = set(self.session.input_names)
        else:
            known = {i.name for i in self.session.get_inputs()}
        found: list[Any] = self.session.run(None, {k: v for k, v in feeds.items() if k in known})
        return found


def _exported(model: Model) -> bytes:
    """The model as ONNX, in the newest opset only where it needs one: old ones have kernels for more types."""
    try:
        return model_bytes(model, max_opset=21, max_ir=10)
    except UnsupportedModel:
        return model_bytes(model, max_opset=26, max_ir=13)


def compare(found: Any, wanted: Any, place: str, exact: bool) -> None:
    """Two results of one output; the sign of zero does not count. Raises AssertionError."""
    if isinstance(wanted, list):
        assert len(found) == len(wanted), place
        for a, b in zip(found, wanted):
            compare(a, b, place, exact)
        return
    a, b = np.asarray(found), np.asarray(wanted)
    assert a.dtype == b.dtype and a.shape == b.shape, f"{place}: {a.dtype}{a.shape} and not {b.dtype}{b.shape}"
    tolerance = TOLERANCES.get(b.dtype.name)
    if exact or tolerance is None:
        np.testing.assert_array_equal(a, b, place)
        return
    a, b = a.astype(np.float64), b.astype(np.float64)
    finite = np.abs(b[np.isfinite(b)])
    np.testing.assert_allclose(a, b, tolerance, tolerance * (finite.max() if finite.size else 0), err_msg=place)


def _check_shapes(model: Model, found: list[Any], sizes: Sizes) -> None:
    """What the types of the outputs say is true at these sizes."""
    for value, array in zip(model.graph.outputs, found):
        if not isinstance(value.type, TensorType) or value.type.shape is None:
            continue
        assert len(value.type.shape) == array.ndim, f"%{value.hint}: {value.type} is {array.shape}"
        for dim, size in zip(value.type.shape, array.shape):
            said = dims.substitute(dim, sizes.get)
            assert not isinstance(said, int) or said == size, f"%{value.hint}: {value.type} is {array.shape}"


def _differs(expected: str, found: str) -> str:
    if not expected:
        return f"the case has no lower half; run pytest --update-golden. It would be:\n{found}"
    return f"expected\n{expected}\n\nfound\n{found}"


def read_cases(path: Path) -> list[Case]:
    """The cases of a file; none where it is no golden file. Raises ValueError for an unknown header."""
    lines = path.read_text(encoding="utf-8").split("\n")
    starts = [i for i, line in enumerate(lines) if line.startswith(STARTS)]
    cases: list[Case] = []
    for start, end in zip(starts, [*starts[1:], len(lines)]):
        block = lines[start:end]
        middle = block.index(RULE) if RULE in block else len(block)
        head: dict[str, str] = {}
        for line in block[:middle]:
            key = re.match(r"# ([A-Z]+): *(.*?) *$", line)
            if key:
                if key[1] not in KEYS:
                    raise ValueError(f"{path.name}:{start + 1}: there is no header {key[1]}, only {', '.join(KEYS)}")
                head[key[1]] = key[2]
        source = "\n".join(block[:middle]).rstrip()
        kind = RowCase if "ROWS" in head else Case
        cases.append(kind(path, start + 1, head, source, "\n".join(block[middle + 1 :]).strip()))
    return cases


def update(path: Path) -> None:
    """Rewrite all lower halves of a file; nothing is written where a case does not compute the same."""
    preamble = re.split(f"^(?:{'|'.join(STARTS)})", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[0].rstrip()
    parts = [preamble] if preamble else []
    for case in read_cases(path):
        try:
            half = case.lower_half()
        except Exception as error:
            raise ValueError(f"{path.name}:{case.line}: {error}") from error
        parts.append(f"{case.source}\n{RULE}\n{half}")
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
