"""Rounds find the ratio through noise that falls on all, and claim nothing inside it."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest

from geoc.tools.bench.rounds import FEWEST, OPENINGS, Budget, Ratio, Rounds, Samples, compete, interval, ratio_of
from geoc.tools.running.stopwatch import TASKS, Stopwatch


class Machine:
    """Times that are made up: what is asked, times how busy the machine is at the moment, times a little of its own."""

    def __init__(self, seed: int, others: bool = True) -> None:
        self.others = others
        self.rng = np.random.default_rng(seed)
        self.turn = 0
        self.order: list[str] = []

    def block(self, name: str, seconds: float, count: int) -> Samples:
        self.turn += 1
        self.order.append(name)
        busy = 1.0 + 2.0 * (math.sin(self.turn / 9) > 0.3) * self.others + self.turn / 400  # and clocks sink
        return {"latency": [seconds * busy * self.rng.normal(1, 0.02) for _ in range(3)]}

    def opened(self, seconds: dict[str, float]) -> dict[str, partial[Samples]]:
        return {name: partial(self.block, name, each) for name, each in seconds.items()}


@pytest.mark.parametrize("count", [1, 5, 6, 10, 31, 200])
def test_the_interval_holds_the_median_as_often_as_it_says(count: int) -> None:
    low, high = interval(count)
    assert high == count - 1 - low
    covered = 1 - 2 * sum(math.comb(count, k) for k in range(low + 1)) / 2**count
    narrower = 1 - 2 * sum(math.comb(count, k) for k in range(low + 2)) / 2**count
    assert (covered >= 0.95 or low == 0) and narrower < 0.95
    assert count < FEWEST or covered >= 0.95


def test_a_ratio_holds_on_a_busy_machine() -> None:
    for seed in range(3):
        machine = Machine(seed)
        found = compete(lambda m=machine: m.opened({"a": 0.010, "b": 0.005, "c": 0.010}), Budget(10.0, rounds=60), seed)
        assert found.openings == OPENINGS and found.count == 60
        assert found.ratio("b", "latency").middle == pytest.approx(0.5, rel=0.03)
        noise = found.noise("latency")
        assert found.ratio("b", "latency").verdict(noise) == "faster"
        assert found.ratio("c", "latency").verdict(noise) == "same"
        assert len(found.samples("a", "latency")) == 2 * len(found.samples("b", "latency")) == 2 * 60 * 3


def test_timing_ends_when_enough_is_known_and_not_before_there_is_an_interval() -> None:
    machine = Machine(0)
    contenders = {"a": 0.010, "b": 0.020}

    def is_slower(found: Rounds) -> bool:
        return found.ratio("b", "latency").low > 1.5

    found = compete(lambda: machine.opened(contenders), Budget(10.0, rounds=600), enough=is_slower)
    assert FEWEST <= found.count < 60 and is_slower(found)
    assert compete(lambda: machine.opened(contenders), Budget(1.0, rounds=60), enough=lambda found: True).count == FEWEST
    assert compete(lambda: machine.opened(contenders), Budget(1.0, rounds=60), enough=lambda found: False).count == 60


def test_a_clock_that_sinks_is_seen() -> None:
    machine = Machine(0, others=False)
    found = compete(lambda: machine.opened({"a": 0.010}), Budget(10.0, rounds=60))
    assert found.drift("latency") == pytest.approx((1 + 120 * 5 / 6 / 400) / (1 + 120 / 6 / 400) - 1, abs=0.05)


def test_turns_are_in_random_order_and_each_comes() -> None:
    machine = Machine(0)
    compete(lambda: machine.opened({"a": 0.01, "b": 0.01}), Budget(10.0, rounds=30))
    rounds = [tuple(machine.order[at : at + 3]) for at in range(4, 30, 3)]
    assert len(set(rounds)) > 1 and all(sorted(each) == ["a", "a", "b"] for each in rounds)


def test_few_rounds_are_timed_however_short_the_budget() -> None:
    machine = Machine(0)
    assert compete(lambda: machine.opened({"a": 0.01}), Budget(1e-9)).count >= FEWEST


def test_nothing_is_claimed_inside_the_noise() -> None:
    ratio = ratio_of([1.03, 1.04, 1.05, 1.04, 1.03, 1.06, 1.05])
    assert ratio.verdict(0.0) == "slower" and ratio.verdict(0.05) == "same"
    assert Ratio(0.995, 0.993, 0.997).verdict(0.0) == "same"  # less than a per cent
    assert Ratio(0.5, 0.4, 1.2).verdict(0.0) == "same"


needs_schedstat = pytest.mark.skipif(not (TASKS / str(os.getpid()) / "schedstat").exists(), reason="Linux counts no waits")


def _work() -> None:
    sum(range(1_500_000))


@needs_schedstat
def test_waiting_for_a_processor_is_taken_off() -> None:
    """Two busy processes on one processor: each has half of it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])  # inherits the processor
    try:
        time.sleep(0.3)
        with Stopwatch(1) as watch:
            used = time.process_time()
            net = sum(watch.time(_work) for _ in range(8))
            used = time.process_time() - used
        assert watch.counts and watch.wall > 1.5 * net
        assert net == pytest.approx(used, rel=0.15)
    finally:
        other.kill()
        other.wait()
        os.sched_setaffinity(0, before)


def test_sleeping_is_not_taken_off_and_several_threads_take_nothing_off() -> None:
    with Stopwatch(1) as watch:
        assert watch.time(lambda: time.sleep(0.05)) > 0.045
    with Stopwatch(2) as watch:
        watch.time(_work)
        assert watch.waited == 0.0 and not watch.counts
