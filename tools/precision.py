"""``--precision``: what a target computes in, and the passes that bring a model there."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..ir.errors import UsageError
from ..passes.pipelines import Item, parse
from .goal import rows_for

if TYPE_CHECKING:
    from ..lowering.targets import Target

NAMES = ("auto", "fp32", "tf32", "bf16", "fp16", "fp8", "w8a8", "w8a16", "w4a16", "kv8", "w8a16kv8", "w4a16kv8")
ALIASES = {"int8": "w8a8", "int4": "w4a16", "int4kv8": "w4a16kv8"}
QUANTIZED = ("w8a8", "w8a16", "w4a16", "kv8", "w8a16kv8", "w4a16kv8")
FLOATS = ("fp8",)
SMALL = (*QUANTIZED, *FLOATS)  # what models are brought to by measuring, rounding and correcting, not by casts
RATES = {"w8a8": "int8", "fp8": "fp8"}  # what a target's description calls the rate of each
MAX_ERROR = 0.01  # mean relative L2 error of an output that -O3 allows
_HALVES = ("fp16", "bf16")
_CLEAN_UP = "fold,views,transposes,identity,cse,dce"
_FASTEST_FIRST = ("fp16", "bf16")  # of one rate; fp16 has three more bits where the numbers are small enough for it


class Attempt(NamedTuple):
    """One precision and the steps behind the pipeline that make it; () for the precision of the source.

    `without`: passes of the attempt before it that this one leaves out. Where those changed nothing, it is the same.
    `first`: steps before the target's forms of operators. `note`: what the user should know of it. `edits`: changes to
    the whole pipeline, as targets have them (`pipelines.apply_edits`).
    """

    precision: str
    items: tuple[Item, ...]
    without: tuple[str, ...] = ()
    first: tuple[Item, ...] = ()
    note: str = ""
    edits: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """What a refusal of it is called."""
        return self.precision or ("rows of 8 bits" if self.items else "--passes")


def attempts(
    target: Target,
    precision: str | None,
    level: int | None,
    interface: str | None = None,
    calib: str | None = None,
    goal: str | None = None,
) -> list[Attempt]:
    """What to try, the fastest first; the last one is always taken when no budget forbids it.

    `precision` None is that of the source, and at -O3 the same as "auto": the fastest that the target has, and the
    source's where that is too inexact. `interface`: what ``--io-precision`` declares inputs and outputs as; `calib`:
    the samples that were given, with which "auto" tries numbers of 8 bits first; `goal`: what ``--goal`` prefers.
    Raises UsageError for what the target lacks, where samples are needed, and for a goal that there is not.
    """
    plain = Attempt("", ())
    rows = _rows(target, goal)
    if precision is None:
        precision = "auto" if level == 3 else "fp32"
    elif precision not in ("auto", *ALIASES, *QUANTIZED):
        if target.hardware.dla and precision in ("fp32", "tf32", "bf16"):
            said = f"a DLA computes in fp16 and int8, not in {precision}; {target.name} without dla=1 does"
            raise UsageError(said, source="--precision")
        _check(target, precision)
    precision = ALIASES.get(precision, precision)
    if precision in SMALL:
        return [_quantized(target, precision, calib, rows)]
    if precision == "auto":
        lower = [p for p in _FASTEST_FIRST if p in target.precisions]
        found = [attempt for p in lower for attempt in _half(target, p, interface)] + [plain]
        small = [] if calib is None else [p for p in tried_with_samples(target) if not why_untried(target, p)]
        return [*(_quantized(target, p, calib, rows) for p in small), *found]
    return _half(target, precision, interface)[:1] if precision in _HALVES else [plain]


def _rows(target: Target, goal: str | None) -> str:
    """What products are made fast for there. Raises UsageError for a goal that there is not."""
    return target.backend.rows_on(rows_for(goal), target.hardware.features)


def for_blocks(
    found: list[Attempt], target: Target, precision: str | None, goal: str | None, has_budget: bool
) -> list[Attempt]:
    """The same attempts for a source whose weights are in blocks, as those of GGUF files are.

    They stay in them where nothing else is said, with the rows that they are multiplied with in 8 bits where the
    runtime does that (as llama.cpp does, and 8 bits have no other fast kernel); fp32, and any runtime that multiplies
    nothing in blocks, has floats. So has what such rows bring over the user's limit, where there is one (`has_budget`).
    """
    passes = target.backend.blocks(_rows(target, goal))
    floats = {"insert": [{"pass": "dequantize-weights", "before": "freeze"}]}
    if passes is None or precision not in (None, "auto", *SMALL, *ALIASES):
        return [attempt._replace(edits=floats) for attempt in found if attempt.edits is None]
    made = [attempt if attempt.precision or not passes else _in_blocks(attempt, passes) for attempt in found]
    is_rounded = bool(made[-1].items) and not made[-1].precision
    return [*made, Attempt("", (), edits=floats)] if is_rounded and has_budget else made


def _in_blocks(attempt: Attempt, passes: str) -> Attempt:
    rows = "rows of its products are taken to 8 bits; --precision fp32 has floats" if "nbits-rows" in passes else ""
    note = f"weights stay in the blocks of the source: {rows}" if rows else ""
    return attempt._replace(items=parse(passes), note=note)


def canonical_attempts(precision: str | None, calib: str | None) -> list[Attempt]:
    """The same for what is written of standard operators (`lowering.backend.Emitter.canonical`): the source's floats,
    or its weights in 4 or 8 bits. Raises UsageError for others."""
    from ..lowering.backend import weights_alone

    precision = ALIASES.get(precision or "", precision)
    if precision in (None, "auto", "fp32"):
        return [Attempt("", ())]
    chosen = weights_alone(precision, calib is not None, "")
    if chosen is None:
        known = "what is written for llama.cpp has weights in fp32, w8a16 or w4a16"
        raise UsageError(f"{known}, not {precision}", source="--precision")
    return [Attempt(precision, (), first=parse(chosen.first))]


def tried_with_samples(target: Target) -> list[str]:
    """The numbers of 8 bits that "auto" tries where samples are given: those that the target computes in."""
    has = ("w8a8", *(p for p in FLOATS if p in target.precisions))
    return [p for p in has if target.backend.quantization(p, True) and not target.backend.lacks(p, target.hardware)]


def why_untried(target: Target, precision: str) -> str:
    """Why "auto" does not weigh numbers of 8 bits against half precision, although a target has both; "" if it does.

    Only an estimate can tell which is faster: the target's kernels do not run on this machine.
    """
    if not any(half in target.precisions for half in _HALVES):
        return ""
    if target.hardware.dla:
        return "nothing estimates what a DLA gains by it"
    if target.cost_model is None or RATES[precision] not in target.hardware.rates:
        return f"target {target.name} has no peak rates to tell by that it is faster than half precision"
    return ""


def untried(target: Target, calib: str | None) -> list[str]:
    """What "auto" does not try on a target, and what it would need for that: notes for the summary."""
    small = {p: why_untried(target, p) for p in tried_with_samples(target)}
    if calib is not None:
        return [f"{p} was not tried: {why}; --precision {p} orders it" for p, why in small.items() if why]
    has_half = any(half in target.precisions for half in _HALVES)
    here = "" if has_half else "-O3 is -O2 here: "
    could = [p for p, why in small.items() if not why]
    if could:
        return [f"{here}{' and '.join(could)} would be tried with samples: --calib FILE.npz"]
    return [] if has_half else [f"{here}geoc brings nothing to a lower precision for {target.name} yet"]


def _quantized(target: Target, precision: str, calib: str | None, rows: str) -> Attempt:
    """The attempt at integers or small floats, from samples where there are any, fast for so many `rows`."""
    reason = target.backend.lacks(precision, target.hardware)
    if reason:
        raise UsageError(f"target {target.name} does not compute in {precision}: {reason}", source="--precision")
    chosen = target.backend.quantization(precision, calib is not None, rows)
    if chosen is None:
        raise UsageError(f"geoc does not bring models to {precision} for {target.name} yet", source="--precision")
    if chosen.samples and calib is None:
        raise UsageError(
            f"{precision} needs samples to measure on: --calib FILE.npz, a folder, or FILE.py:FUNCTION; --calib random "
            "takes made-up inputs", source="--precision"
        )  # fmt: skip
    return Attempt(precision, parse(chosen.last), first=parse(chosen.first), note=chosen.note)


def _half(target: Target, precision: str, interface: str | None) -> list[Attempt]:
    """The attempts at half precision: with what the runtime does better than the source says, and without."""
    declared = f",interface={interface}" if interface == precision else ""
    backend, own = target.backend, target.backend.lossy
    passes = ",".join((f"autocast{{to={precision}{declared}}}", *backend.halved, _CLEAN_UP, *backend.finished))
    found = [Attempt(precision, parse(passes), own)]
    return [Attempt(precision, parse(",".join((*own, passes)))), *found] if own else found


def _check(target: Target, precision: str) -> None:
    if precision not in NAMES:
        near = difflib.get_close_matches(precision, (*NAMES, *ALIASES), 1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join((*NAMES, *ALIASES))}"
        raise UsageError(f"no precision {precision!r}{hint}", source="--precision")
    if precision in ("fp32", *target.precisions):
        return
    has = ", ".join(("fp32", *sorted(target.precisions - {"fp32"})))
    raise UsageError(f"target {target.name} does not compute in {precision}; it has {has}", source="--precision")


def read_error(text: str) -> float:
    """``1%`` or ``0.01``. Raises UsageError for anything else."""
    number, percent = (text[:-1], 0.01) if text.endswith("%") else (text, 1.0)
    try:
        found = float(number) * percent
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise UsageError(f"takes an error such as 1% or 0.01, not {text!r}", source="--max-error")
    return found
