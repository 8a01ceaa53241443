"""What was measured as one record for programs: seconds, bytes, ratios against the first model, and what they say."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

import numpy as np

from ..running.contender import Contender
from ..running.peak import Fresh
from .measuring import FIRST, LATENCY, TOKEN, Found, Measured
from .rounds import DRIFT, Ratio

_HOUR = 3600.0
_MILLION = 1e6
ENOUGH = {"p95": 20, "p99": 100}  # runs below which a percentile is nothing but the slowest one


def record_of(
    contenders: list[Contender],
    measured: Measured,
    machine: dict[str, Any],
    target: str,
    price: float | None,
    inputs: str,
) -> dict[str, Any]:
    """The record, in the schema that --json, -o FILE.json and --history write. `price` is that of the target's hour."""
    return {
        "schema": 1,
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine,
        "target": target,
        "price": price,
        "inputs": inputs,
        "models": [_model(each, measured.fresh[each.name]) for each in contenders],
        "energy": measured.energy or "RAPL, the processors' packages: whatever else runs counts as well",
        "configurations": [_configuration(found, price) for found in measured.found],
    }


def _model(each: Contender, fresh: Fresh | str) -> dict[str, Any]:
    known = fresh if isinstance(fresh, Fresh) else None
    return {
        "name": each.name, "path": each.path, "runtime": each.runtime, "digest": each.digest(), "bytes": each.size(),
        "load": known and known.load, "first_inference": known and known.first, "peak_bytes": known and known.peak,
        "not_measured": None if known else fresh,
    }  # fmt: skip


def _configuration(found: Found, price: float | None) -> dict[str, Any]:
    rounds = found.rounds
    main = found.metrics[-1]
    return {
        "threads": found.threads, "batch": found.batch, "shape": found.shape, "rounds": rounds.count,
        "openings": rounds.openings, "busy_with_others": found.busy, "waited": found.waited,
        "drift": rounds.drift(main), "drifted": abs(rounds.drift(main)) > DRIFT,
        "noise": {what: rounds.noise(what) for what in found.metrics},
        "results": [_result(found, name, price) for name in rounds.blocks],
    }  # fmt: skip


def _result(found: Found, name: str, price: float | None) -> dict[str, Any]:
    rounds = found.rounds
    times = {what: times_of(rounds.samples(name, what)) for what in found.metrics}
    main = found.metrics[-1]
    result: dict[str, Any] = {"model": name, **times, "ratios": {}}
    for what in found.metrics:
        ratio = rounds.ratio(name, what)
        verdict = "first" if name == rounds.first else ratio.verdict(rounds.noise(what))
        result["ratios"][what] = {**asdict(ratio), "verdict": verdict}
    # In one stream, one run after the other: rows of a batch, or tokens of all rows.
    result["per_second"] = found.batch / times[main]["mean"]
    result["unit"] = "inferences" if main == LATENCY else "tokens"
    result["joules"] = found.joules[name] / found.batch if name in found.joules else None
    result["cost_per_million"] = None if price is None else price / _HOUR * _MILLION / result["per_second"]
    return result


def times_of(seconds: list[float]) -> dict[str, Any]:
    """Median, percentiles, extremes of single runs; a percentile is None where there are too few runs for it.

    `spread`: the middle four fifths, as a share of the median.
    """
    low, middle, p90, p95, p99 = np.quantile(seconds, (0.1, 0.5, 0.9, 0.95, 0.99))
    count = len(seconds)
    return {
        "median": float(middle), "min": min(seconds), "max": max(seconds), "mean": float(np.mean(seconds)),
        "p95": float(p95) if count >= ENOUGH["p95"] else None, "p99": float(p99) if count >= ENOUGH["p99"] else None,
        "runs": count, "spread": float((p90 - low) / middle),
    }  # fmt: skip


def ratio_from(entry: dict[str, Any]) -> Ratio:
    """Back from a record."""
    return Ratio(entry["middle"], entry["low"], entry["high"])


METRIC_TITLES = {LATENCY: "latency", FIRST: "first token", TOKEN: "each token"}
