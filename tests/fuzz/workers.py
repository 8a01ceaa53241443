"""Judging many seeds in a process that may die: runtimes crash on some models."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from .oracle import Verdict, judge, runs_source

_SECONDS = 240.0
"""How long one model may take, the start of the process included; on a busy machine that took more than a minute."""


def survey(seeds: range, seconds: float | None = None, family: str = "all") -> Iterator[tuple[int, Verdict | None]]:
    """The verdict of each seed in order. Stops after `seconds`.

    A model on which the runtime dies before geoc has seen it is no good; one on which anything dies later is a failure.
    """
    from time import perf_counter

    judging, sourcing = partial(judge_seed, family=family), partial(source_of_seed, family=family)
    end = None if seconds is None else perf_counter() + seconds
    rest = seeds
    while rest:
        died = rest.stop
        for seed, verdict in _until_death(rest, judging):
            if verdict == "died":
                died = seed
                break
            yield seed, verdict  # type: ignore[misc]
            if end is not None and perf_counter() > end:
                return
        if died in rest:
            ((_, source),) = _until_death(range(died, died + 1), sourcing)
            kind = "discard" if source != "fine" else "crash"
            yield died, Verdict(kind, "the process died")
        rest = range(died + 1, rest.stop)


def judge_seed(seed: int, family: str) -> Verdict | None:
    from .graphs import generate

    sample = generate(seed, family)
    return judge(sample.model.SerializeToString(), sample.feeds)


def source_of_seed(seed: int, family: str) -> str:
    from .graphs import generate

    sample = generate(seed, family)
    return "fine" if runs_source(sample.model.SerializeToString(), sample.feeds) else "bad"


def _until_death(seeds: range, work: Any) -> Iterator[tuple[int, Any]]:
    """What `work` gives for each seed; "died" for the one at which the process ended or hung."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_worker, args=(seeds, work, there), daemon=True)
    process.start()
    there.close()
    try:
        for seed in seeds:
            try:
                answer = here.recv() if here.poll(_SECONDS) else "died"
            except EOFError:
                answer = "died"
            yield seed, answer
            if answer == "died":
                return
    finally:
        process.kill()
        process.join()
        here.close()


def _worker(seeds: range, work: Any, out: Connection) -> None:
    for seed in seeds:
        out.send(work(seed))
