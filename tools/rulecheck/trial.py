"""Both sides of one instance, run and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...ir import dims
from ...ir.core import Model
from ...ir.errors import GeocError
from ...ir.rewrite import Rule
from ...ir.types import F32, F64, DType, TensorType, tensor_type
from ...lowering.targets import get_target
from .choices import Infeasible
from .fault import Fault, Verdict, apply, wrong_graph
from .instance import DTYPES
from .sketch import Instance
from .unknown import forget
from .values import CannotRun, Feeds, Runner, difference, feeds_for, slack_of

STYLES = ("ones", "counting", "random", "positive", "large", "masked")
_FEWER = ("ones", "random")  # for further sizes
_ROUNDING = ("float16", "float32", "bfloat16")

Twin = tuple[Runner, Runner, dict[str, DType]]


class Trial:
    """Both sides of one instance, with sizes that are known or not."""

    def __init__(self, rule: Rule, again: Callable[..., Instance], before: Instance, verdict: Verdict) -> None:
        """Raises CannotRun where nothing can run the left side."""
        self.rule = rule
        self.again = again
        self.verdict = verdict
        self.fills = before.fills
        self.runner = Runner(before.model)
        self.said = ""
        self._before = before.model
        graph = before.model.graph
        self.shapes = {n: v.shape for n, v in zip(graph.input_names, graph.inputs)}
        self._twins: dict[DType, Twin | None] = {}

    def runs_left(self) -> bool:
        """Whether the left side takes any inputs at all; onnx's implementation may where onnxruntime does not."""
        for _ in (0, 1):
            for style in ("ones", "random"):
                try:
                    self.runner.run(feeds_for(self._before, self.fills, style, {}, self.shapes))
                    return True
                except (CannotRun, Infeasible) as error:
                    self.said = str(error)
            if self.runner.name == "onnx":
                return False
            try:
                self.runner = Runner(self._before, reference=True)
            except CannotRun:
                return False
        return False

    def judge(self, before: Model, after: Model, sizes: list[dict[str, int]]) -> tuple[Fault | None, str]:
        """What is wrong with the rule here, or why it does not fire."""
        fault, reason = apply(self.rule, before, after)
        if reason:
            return None, reason
        self.verdict.fired = True
        fault = fault or wrong_graph(self.rule, before, after) or self._numbers(before, after, sizes)
        if fault is None:
            after = self.again().model
            fault = apply(self.rule, before, after, once=False)[0]
        return fault, ""

    def once(self) -> Model:
        """The instance after one rewrite."""
        after = self.again().model
        apply(self.rule, after, after)
        return after

    def dynamic(self, variant: str) -> None:
        """The same instance with inputs of unknown sizes, at several sizes."""
        before, after = self.again(), self.again()
        try:
            sizes = forget(before.model, variant)
            forget(after.model, variant)
        except (GeocError, Infeasible):
            return
        if not sizes:
            return
        fault, reason = self.judge(before.model, after.model, sizes)
        if not reason:
            self.verdict.dynamic.add(variant)
            self.verdict.fault = fault

    def _numbers(self, before: Model, after: Model, sizes: list[dict[str, int]]) -> Fault | None:
        """Run both sides on inputs of all styles at all sizes; the first and so the simplest difference."""
        try:
            new = Runner(after)
        except CannotRun as error:
            return Fault("values", f"the right side cannot be run: {error}", before, after)
        styles = [s for s in STYLES if s != "masked" or {"mask", "padding"} & {*self.fills.values()}]
        if _only_moves(before) and _only_moves(after):
            styles.append("special")
        for given in sizes:
            for style in styles if given is sizes[0] else _FEWER:
                try:
                    feeds = feeds_for(before, self.fills, style, given, self.shapes)
                    wanted = self.runner.run(feeds)
                except (CannotRun, Infeasible) as error:
                    self.said = str(error)
                    continue  # the left side does not take these either
                if any(_untrue(v.type, a, given) for v, a in zip(before.graph.outputs, wanted)):
                    continue  # nor does it have a meaning for these, if something gives numbers all the same
                fault = self._compared(new, before, after, feeds, wanted, given)
                if fault is not None:
                    return fault
        return None

    def _compared(
        self, new: Runner, before: Model, after: Model, feeds: Feeds, wanted: list[Any], given: dict[str, int]
    ) -> Fault | None:
        self.verdict.runs += 1
        try:
            found = self._run_right(new, after, feeds)
        except CannotRun as error:
            return Fault("values", f"the right side fails: {error}", before, after, feeds, wanted, [], given)
        fault = _compare(self.runner, before, after, feeds, wanted, found, given)
        if fault is None or fault.kind != "values":
            return fault
        fault.excused = lambda other: self._is_excused(other, new)
        return None if fault.excused(fault) else fault

    def _is_excused(self, fault: Fault, new: Runner) -> bool:
        """Whether a difference says nothing against the rule."""
        moves = fault.after is not None and _only_moves(fault.before) and _only_moves(fault.after)
        if (not moves and _is_undefined(fault)) or self._as_standard(fault):
            return True
        if _is_numberless(fault) or _hides_overflow(fault):
            return True
        if self.runner.name == "onnx" or new.name == "onnx":
            return not self._differs_elsewhere(fault)
        return self._is_rounding(fault)

    def _as_standard(self, fault: Fault) -> bool:
        """Whether the sides agree by onnx's implementation: then it is onnxruntime that is odd here.

        A target's own rules are right if what onnxruntime makes of their right side is what the left one stands for.
        """
        if not fault.found or fault.after is None:
            return False
        if self._agrees_with_standard(fault.before, fault.after, fault.feeds, fault.found):
            return True
        # In half precision the two may differ by rounding as well: what adds to the lowest number is rounded to 32.
        narrow = any(b.dtype.name in ("float16", "bfloat16") for _, b in _arrays(fault))
        twin = self._in(F32) if narrow else None
        if twin is None:
            return False
        feeds = _cast(fault.feeds, twin[2])
        try:
            return self._agrees_with_standard(twin[0].model, twin[1].model, feeds, twin[1].run(feeds))
        except CannotRun:
            return False

    def _agrees_with_standard(self, before: Model, after: Model, feeds: Feeds, found: list[Any]) -> bool:
        """Whether what was found on the right side is what onnx's implementation makes of the left one."""
        try:
            wanted = Runner(before, reference=True).run(feeds)
            found = found if self._is_own() else Runner(after, reference=True).run(feeds)
        except CannotRun:
            return False
        return not any(difference(a, b) for a, b in zip(found, wanted))

    def _is_own(self) -> bool:
        """Whether the rule is one of the target's own."""
        return self.rule.source in {path for path, _ in get_target("cpu").rule_sets.values()}

    def _run_right(self, new: Runner, after: Model, feeds: Feeds) -> list[Any]:
        """The results of the right side, by onnx's implementation where onnxruntime lacks a form that the standard has.

        Not for the target's own rules, whose right side is what onnxruntime is to run. Raises CannotRun.
        """
        try:
            return new.run(feeds)
        except CannotRun:
            if new.name != "onnxruntime" or (self._is_own() and self.runner.name == "onnxruntime"):
                raise
            return Runner(after, reference=True).run(feeds)

    def _differs_elsewhere(self, fault: Fault) -> bool:
        """Whether onnxruntime sees the difference as well, in single precision, for which it has all kernels.

        The reference implementation has faults of its own, in convolutions for example.
        """
        narrow = self._in(F32)
        if narrow is None or narrow[0].name != "onnxruntime" or narrow[1].name != "onnxruntime":
            return True
        wanted, found = _run_both(narrow, fault)
        return wanted is None or any(difference(a, b) for a, b in zip(found, wanted))

    def _is_rounding(self, fault: Fault) -> bool:
        """Whether a difference is gone in double precision: then it comes from rounding, or from what overflows.

        A finite result that becomes infinite or NaN is wrong all the same, unless the left side overflows on the way.
        """
        arrays = _arrays(fault)
        if not any(b.dtype.name in _ROUNDING for _, b in arrays):
            return False
        for a, b in arrays:
            if a.shape != b.shape or a.dtype != b.dtype:
                return False
            worse = b.dtype.kind == "f" and bool((np.isfinite(b) & ~np.isfinite(a)).any())
            if worse and not _overflows(fault):
                return False
        wide = self._in(F64)
        if wide is None:
            return False
        wanted, found = _run_both(wide, fault)
        return wanted is not None and all(not difference(a, b) for a, b in zip(found, wanted))

    def _in(self, dtype: DType) -> Twin | None:
        """Both sides of the instance with another element type, for inputs of any shape; None where there is none."""
        if dtype not in self._twins:
            self._twins[dtype] = None
            index = DTYPES.index(dtype)
            try:
                before, after = self.again(index), self.again(index)
                if apply(self.rule, before.model, after.model) == (None, ""):
                    graph = before.model.graph
                    dtypes = {n: v.dtype for n, v in zip(graph.input_names, graph.inputs)}
                    _forget_shapes(before.model)
                    _forget_shapes(after.model)
                    self._twins[dtype] = Runner(before.model), Runner(after.model), dtypes
            except (Infeasible, CannotRun, GeocError):
                return None  # this type does not suit the rule
        return self._twins[dtype]


def _arrays(fault: Fault) -> list[tuple[Any, Any]]:
    """What was found and what was wanted, by output."""
    return [(np.asarray(a), np.asarray(b)) for a, b in zip(fault.found, fault.wanted) if not isinstance(b, list)]


def _is_numberless(fault: Fault) -> bool:
    """Whether the left side makes infinity or NaN of finite numbers wherever they differ: nobody can want that."""
    arrays = _arrays(fault)
    if any(a.shape != b.shape or a.dtype != b.dtype for a, b in arrays):
        return False
    return not any(bool(np.isfinite(b[_unlike(a, b)]).any()) for a, b in arrays) and _overflows(fault)


def _hides_overflow(fault: Fault) -> bool:
    """Whether the left side asks what is NaN, and finite numbers overflow on the way to it: then it has no one result.

    A runtime that keeps more digits than the type has finds none where another one does.
    """
    return any(node.op.key == "IsNaN" for node in fault.before.graph) and _overflows(fault)


def _unlike(a: Any, b: Any) -> Any:
    """Where two results of one shape are not the same number."""
    if b.dtype.kind != "f":
        return a != b
    return ~((a == b) | (np.isnan(a) & np.isnan(b)) | np.isclose(a, b, 1e-3, 1e-3))


def _inner(model: Model, feeds: Feeds) -> list[Any]:
    """What the floating-point values inside a model are; nothing where it cannot be run so."""
    graph = model.graph
    outputs, names = graph.outputs, graph.output_names
    inner = [v for node in graph for v in node.outputs if v.uses and v.dtype is not None and v.dtype.is_float]
    graph.set_outputs(inner, [f"inner{i}" for i in range(len(inner))])
    try:
        for reference in (False, True):  # what onnxruntime does not run, onnx's implementation may
            try:
                return [np.asarray(a, np.float64) for a in Runner(model, reference).run(feeds)]
            except CannotRun:
                continue
        return []
    finally:
        graph.set_outputs(outputs, names)


def _all_finite(model: Model, feeds: Feeds) -> bool:
    """Whether inputs and constants are finite numbers."""
    arrays = [np.asarray(a) for a in feeds.values()]
    for node in model.graph:
        arrays += [v.const.array() for v in node.inputs if v is not None and v.const is not None]
    return all(bool(np.isfinite(a).all()) for a in arrays if a.dtype.kind == "f")


def _is_undefined(fault: Fault) -> bool:
    """Whether infinities that were put in make the left side compute NaN or plus infinity on the way."""
    if _all_finite(fault.before, fault.feeds):
        return False
    return any(bool((np.isnan(a) | np.isposinf(a)).any()) for a in _inner(fault.before, fault.feeds))


def _overflows(fault: Fault) -> bool:
    """Whether finite inputs become infinite or NaN inside the left side."""
    if not _all_finite(fault.before, fault.feeds):
        return False
    return not all(bool(np.isfinite(a).all()) for a in _inner(fault.before, fault.feeds))


def _forget_shapes(model: Model) -> None:
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    for value in values:
        if isinstance(value.type, TensorType):
            value.type = tensor_type(value.type.dtype, None)


def _cast(feeds: Feeds, dtypes: dict[str, DType]) -> Feeds:
    """The same inputs in the types of a twin."""
    with np.errstate(all="ignore"):
        return {name: np.asarray(array).astype(dtypes[name].numpy) for name, array in feeds.items()}


def _run_both(twin: Twin, fault: Fault) -> tuple[list[Any] | None, list[Any]]:
    """Both sides of a twin on the inputs of a fault; None where they do not take them."""
    old, new, dtypes = twin
    try:
        feeds = _cast(fault.feeds, dtypes)
        return old.run(feeds), new.run(feeds)
    except CannotRun:
        return None, []


def _compare(
    runner: Runner,
    before: Model,
    after: Model,
    feeds: Feeds,
    wanted: list[Any],
    found: list[Any],
    sizes: dict[str, int],
) -> Fault | None:
    slack: list[Any] | None = None
    for index, (a, b) in enumerate(zip(found, wanted)):
        said = difference(a, b)
        if said and np.asarray(b).dtype.kind == "f" and np.asarray(a).shape == np.asarray(b).shape:
            slack = slack or slack_of(runner, feeds, wanted)
            said = difference(a, b, slack[index])
        name = before.graph.output_names[index]
        if said:
            return Fault("values", f"%{name}: {said}", before, after, feeds, wanted, found, sizes)
        said = _untrue(after.graph.outputs[index].type, a, sizes)
        if said and not _untrue(before.graph.outputs[index].type, a, sizes):
            return Fault("types", f"%{name}: {said}", before, after, feeds, wanted, found, sizes)
    return None


def _untrue(type_: Any, array: Any, sizes: dict[str, int]) -> str:
    """What a type says of a result and is not so."""
    if not isinstance(type_, TensorType) or type_.shape is None or isinstance(array, list):
        return ""
    array = np.asarray(array)
    if len(type_.shape) != array.ndim:
        return f"the type is {type_}, the result has the shape {list(array.shape)}"
    for dim, size in zip(type_.shape, array.shape):
        said = dims.substitute(dim, sizes.get) if not isinstance(dim, int) else dim
        if isinstance(said, int) and said != size:
            return f"the type is {type_}, the result has the shape {list(array.shape)}"
    return ""


def _only_moves(model: Model) -> bool:
    return all(n.op.movement or n.op.view or n.op.base_key in ("Identity", "Dropout") for n in model.walk())


def plainer(fault: Fault) -> Fault:
    """The fault with inputs as plain as they can be: all elements alike, else rounded."""
    if fault.kind != "values" or fault.after is None or not fault.found:
        return fault
    old, new = Runner(fault.before), Runner(fault.after)
    for name, array in list(fault.feeds.items()):
        for plain in _plainer(np.asarray(array)):
            feeds = {**fault.feeds, name: plain}
            try:
                wanted, found = old.run(feeds), new.run(feeds)
            except CannotRun:
                continue
            other = _compare(old, fault.before, fault.after, feeds, wanted, found, fault.sizes)
            if other is not None and other.kind == fault.kind and not fault.excused(other):
                other.excused = fault.excused
                fault = other
                break
    return fault


def _plainer(array: Any) -> Iterator[Any]:
    if array.dtype.kind in "fiu":
        for number in (1, 2, 0, 3, -1, 0.5):
            if number >= 0 or array.dtype.kind != "u":
                yield np.full_like(array, number)
        if array.dtype.kind == "f":
            with np.errstate(all="ignore"):
                yield np.round(array)
                yield np.round(array, 1)
    elif array.dtype.kind == "b":
        yield np.ones_like(array)
        yield np.zeros_like(array)
