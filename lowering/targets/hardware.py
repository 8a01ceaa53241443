"""What a target runs on: memory, bandwidth and peak rates, and how this machine's are found out."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ...ir.errors import UsageError

CPUINFO = Path("/proc/cpuinfo")
# The cpu-* target whose rates hold for a processor that has a flag of /proc/cpuinfo; the first that fits.
_BY_FLAG = (
    ("amx_int8", "cpu-amx"), ("avx512_vnni", "cpu-vnni"), ("avx512f", "cpu-avx512"), ("avx2", "cpu-avx2"),
    ("asimddp", "cpu-arm-dotprod"),
)  # fmt: skip
# What one line calls the vector extension that matters most.
_SHORT = {
    "cpu-amx": "amx", "cpu-vnni": "avx512-vnni", "cpu-avx512": "avx512", "cpu-avx2": "avx2",
    "cpu-arm-dotprod": "dotprod",
}  # fmt: skip

# Features of processors that add products of u8 and i8 in 32 bits. Others add two in 16 bits first (VPMADDUBSW),
# which saturates.
_EXACT = frozenset(("vnni", "amx", "dotprod"))


@dataclass(frozen=True)
class Hardware:
    """Peak numbers of one device, as its `source` gives them; None where nothing says.

    `rates` are operations per second by precision (fp32, tf32, bf16, fp16, fp8, fp4, int8, int4), a multiplication and
    an addition counting as two, on the fastest unit and without sparsity. `memory` is in bytes, `bandwidth` in bytes
    per second, `launch` in seconds for each kernel, `price` per hour in the unit that its user chose. `dla` is how many
    cores of a deep-learning accelerator beside the GPU are used, of `dla_cores` that are there; `dla_rates` are those
    of one.
    """

    source: str = ""
    rates: dict[str, float] = field(default_factory=dict)
    memory: float | None = None
    bandwidth: float | None = None
    launch: float = 1e-6
    compute_capability: str | None = None
    cores: int | None = None
    clock: float | None = None
    price: float | None = None
    features: tuple[str, ...] = ()
    dla: int = 0
    dla_cores: int = 0
    dla_rates: dict[str, float] = field(default_factory=dict)


def hardware_of(data: dict[str, Any]) -> Hardware:
    """From a target's description: rates are given, or follow from operations per cycle, clock and cores.

    Raises UsageError where more than one core of a DLA is to be used.
    """
    given = dict(data.get("hardware", {}))
    if given.get("dla", 0) not in (0, 1):
        raise UsageError(f"dla={given['dla']:g}: an engine runs on one core; one of dla=1 can be loaded for each")
    given["dla"] = int(given.get("dla", 0))
    cores = dict(data.get("dla", {}))
    given |= {"dla_cores": cores.pop("cores", 0), "dla_rates": {name: float(rate) for name, rate in cores.items()}}
    rates = {name: float(rate) for name, rate in data.get("rates", {}).items()}
    if not rates and "clock" in given and "cores" in given:
        rates = {name: ops * given["clock"] * given["cores"] for name, ops in data.get("per_cycle", {}).items()}
    return Hardware(rates=rates, features=tuple(data.get("features", {}).get("has", ())), **given)


def adds_exactly(features: Iterable[str]) -> bool:
    """True for a processor on which sums of products of u8 and i8 do not saturate, whatever the weights are."""
    return not _EXACT.isdisjoint(features)


def detected() -> tuple[str | None, dict[str, Any]]:
    """The cpu-* target that fits this machine, and its own ``hardware`` entries: cores, clock (Hz), memory (bytes)."""
    flags, clock = _cpuinfo(CPUINFO)
    like = next((name for flag, name in _BY_FLAG if flag in flags), None)
    found: dict[str, Any] = {"cores": _cores()}
    if clock:
        found["clock"] = clock
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory"] = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return like, found


def machine() -> str:
    """This machine in a few words: architecture and the vector extension that matters most."""
    arch = {"x86_64": "x86", "AMD64": "x86", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    like = detected()[0]
    return arch if like is None else f"{arch} {_SHORT[like]}"


def _cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _cpuinfo(path: Path) -> tuple[set[str], float]:
    """The processor's flags and its clock in Hz (0 where it does not say)."""
    try:
        text = path.read_text()
    except OSError:
        return set(), 0.0
    flags: set[str] = set()
    clock = 0.0
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            flags = set(value.split())
        elif key.strip() == "cpu MHz":
            clock = max(clock, float(value) * 1e6)
    return flags, clock
