"""The machine that is timed on: what it is, how busy others keep it, and the energy that it reports."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path
from time import perf_counter
from typing import Any

from ...lowering.installed import runtime_version
from ...lowering.targets.hardware import detected, machine
from ..versions import geoc_version

POWERCAP = Path("/sys/class/powercap")
_STAT = Path("/proc/stat")
_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_STEAL = 7  # the place in a line "cpu" of /proc/stat (man 5 proc)
_IDLE = (3, 4)


def described() -> dict[str, Any]:
    """Of this machine and what runs on it; `id` is the same for as long as the hardware is."""
    _, hardware = detected()
    facts = {
        "host": platform.node(), "processor": _processor() or platform.processor(), "kind": machine(),
        "cores": hardware["cores"], "memory": hardware.get("memory"),
    }  # fmt: skip
    known = {name: runtime_version(name) for name in ("onnxruntime", "openvino", "tensorrt")}
    return {
        "id": hashlib.blake2b(repr(facts).encode(), digest_size=8).hexdigest(),
        **facts,
        "system": platform.platform(),
        "versions": {"geoc": geoc_version(), **{name: found for name, found in known.items() if found is not None}},
    }  # fmt: skip


def _processor() -> str:
    """What /proc/cpuinfo calls it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


class Others:
    """The share of this machine's processors that others use while something is timed.

    `share()` is from 0 to 1 of all processors, what a hypervisor took for its other guests included; None where Linux
    does not say.
    """

    def __init__(self) -> None:
        self._begun = perf_counter()
        self._before = _busy()
        self._own = _own()

    def share(self) -> float | None:
        """Since this was made."""
        now = _busy()
        if self._before is None or now is None:
            return None
        all_seconds = (perf_counter() - self._begun) * (os.cpu_count() or 1)
        others = now - self._before - (_own() - self._own)
        return min(1.0, max(0.0, others / max(all_seconds, 1e-9)))


def _own() -> float:
    """Processor seconds of this process and of its children that ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _busy() -> float | None:
    """Processor seconds that were not idle since the machine started, stolen ones included."""
    try:
        first = _STAT.read_text().split("\n", 1)[0].split()[1 : _STEAL + 2]
    except OSError:
        return None
    return sum(int(ticks) for place, ticks in enumerate(first) if place not in _IDLE) / _TICK


class Energy:
    """Joules of the processors' packages, by RAPL as Linux shows it (Documentation/power/powercap).

    `why`: the reason why there are none, or "".
    """

    def __init__(self) -> None:
        zones = sorted(zone for zone in POWERCAP.glob("*-rapl:*") if zone.name.count(":") == 1)
        self._zones: list[tuple[Path, int]] = []
        self.why = "" if zones else f"this machine reports none ({POWERCAP} has no RAPL)"
        try:
            for zone in zones:
                int((zone / "energy_uj").read_text())
                self._zones.append((zone / "energy_uj", int((zone / "max_energy_range_uj").read_text())))
        except OSError as error:
            self._zones = []
            self.why = f"{error.filename} cannot be read: {error.strerror}"

    def read(self) -> list[int]:
        """The counters, in microjoules."""
        return [int(path.read_text()) for path, _ in self._zones]

    def since(self, before: list[int]) -> float:
        """Joules since the counters stood so; each may have begun anew once."""
        now = self.read()
        return sum((b - a) % (most + 1) for a, b, (_, most) in zip(before, now, self._zones)) / 1e6
