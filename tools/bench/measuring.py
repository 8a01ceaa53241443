"""Measuring: each model in a process of its own, then all of them in turn for each number of threads and each batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ...ir.errors import UsageError
from ..inputs.timed import feeds_for, samples_for
from ..running.contender import Contender, InOpenvino, Running
from ..running.memory import give_back
from ..running.peak import Fresh, measured_fresh
from ..running.sessions import first_line, refusals
from ..running.stopwatch import Stopwatch
from ..running.timing import shape_of
from ..running.unread import interface_of
from .decoding import Decoder, Plan, plan_of, stateful_plan
from .machine import Energy, Others
from .rounds import Block, Budget, Rounds, Samples, compete

Feeds = dict[str, Any]
LATENCY, FIRST, TOKEN = "latency", "first", "token"
"""What is timed: one inference; or the time to the first token, and of each one behind it."""
FRESH = 3  # processes of each model; one where loading takes more than
LONG = 3.0  # seconds


@dataclass
class Request:
    """What the command line asks for. `batches` and `threads` as given, None for the default."""

    contenders: list[Contender]
    shape: list[str]
    batches: list[int] | None
    threads: list[int]
    inputs: str | None
    seconds: float
    rounds: int | None
    prompt: int
    tokens: int
    seed: int
    said: Callable[[str, float], None]


@dataclass
class Found:
    """One number of threads and one batch: what was timed, by contender in their order."""

    threads: int
    batch: int
    shape: str
    rounds: Rounds
    metrics: tuple[str, ...]
    busy: float | None
    waited: float | None  # the share of the time that was taken off, because the thread had no processor
    joules: dict[str, float] = field(default_factory=dict)  # of an inference, or of a token


class Waits:
    """Stopwatches for blocks, and what they took off."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._watches: list[Stopwatch] = []

    def watch(self) -> Stopwatch:
        """For one block."""
        self._watches.append(Stopwatch(self._threads))
        return self._watches[-1]

    @property
    def share(self) -> float | None:
        """Of all that was timed; None where nothing is taken off."""
        wall = sum(watch.wall for watch in self._watches)
        return sum(watch.waited for watch in self._watches) / wall if wall and self._watches[-1].counts else None


@dataclass
class Measured:
    """All of it. `fresh`: by contender, or the reason why there is none."""

    fresh: dict[str, Fresh | str]
    found: list[Found]
    energy: str  # why there is none


def measure(request: Request) -> Measured:
    """Raises UsageError for models that do not run, or not on the same inputs."""
    plans = _plans(request)
    energy = Energy()
    number = len(request.threads) * len(request.batches or [1])

    def said(text: str, part: float) -> None:
        request.said(text, (len(found) + part) / number)

    found: list[Found] = []
    fresh: dict[str, Fresh | str] = {}
    batches: list[int | None] = [*request.batches] if request.batches else [None]
    for batch in batches:
        calls = _Calls(request, plans, batch)
        if not fresh:
            request.said("in processes of their own", 0.0)
            fresh = {c.name: _fresh(c, request.threads[0], calls.fresh_feeds[c.name]) for c in request.contenders}
        for threads in request.threads:
            budget = Budget(request.seconds / number, request.rounds)
            found.append(_timed(request, calls, threads, budget, energy, said))
    return Measured(fresh, found, energy.why)


def _plans(request: Request) -> dict[str, Plan]:
    """How to generate with each model, if all of them are decoders with caches; else {}."""
    if not request.tokens or request.inputs is not None:
        return {}
    plans: dict[str, Plan] = {}
    for each in request.contenders:
        if each.model is not None:
            plan = plan_of(each.model, request.seed)
        else:
            running = each.open(1)
            assert isinstance(running, InOpenvino)
            plan = stateful_plan(running)
        if plan is None:
            return {}
        plans[each.name] = plan
    table = min(plan.table for plan in plans.values())
    for plan in plans.values():
        plan.table = table
    return plans


class _Calls:
    """Opens the contenders and makes their blocks. `batch` None: what the inputs have."""

    def __init__(self, request: Request, plans: dict[str, Plan], batch: int | None) -> None:
        self.request, self.plans = request, plans
        self.feeds: dict[str, list[Feeds]] = {}
        self.fresh_feeds: dict[str, Feeds] = {}
        self.batch = batch or 1
        first = {each.name: each.open(1) for each in request.contenders}
        if plans:
            prompt = next(iter(plans.values())).prompt(self.batch, request.prompt, request.seed)
            self.prompt = prompt
            self.shape = f"{prompt.shape[0]}x{prompt.shape[1]}, then {request.tokens} tokens"
            for name, plan in plans.items():
                reason = _stops(plan.decoder(first[name], self.batch), prompt)
                if reason:
                    raise UsageError(f"does not run on {request.prompt} tokens: {reason}", source=name)
                empty = {cache: make(self.batch) for cache, make in plan.caches.items()}
                self.fresh_feeds[name] = first[name].fitted({**plan.feeds(prompt, 0), **empty}, name)
            return
        feeds = self._made(first, batch)
        for each in request.contenders:
            self.feeds[each.name] = [first[each.name].fitted(given, each.path) for given in feeds]
            self.fresh_feeds[each.name] = self.feeds[each.name][0]
            reason = _refused(first[each.name], self.fresh_feeds[each.name])
            if reason:
                raise UsageError(f"does not run on inputs that the others take: {reason}", source=each.path)
        self.shape = shape_of(feeds[0])

    def _made(self, first: Mapping[str, Running], batch: int | None) -> list[Feeds]:
        """Inputs, made for the first model that geoc reads, else for the interface that OpenVINO tells of the first."""
        request = self.request
        source = next((each for each in request.contenders if each.model is not None), request.contenders[0])
        model = interface_of(first[source.name]) if source.model is None else source.model
        if request.inputs is not None:
            if batch is not None:
                raise UsageError("--inputs brings its own batch", source="--batch")
            return samples_for(request.inputs, model)
        running = first[source.name]
        tried = partial(_refused, running)
        feeds, self.batch = feeds_for(model, request.shape, batch, request.seed, tried)
        return [feeds]

    def opened(self, threads: int, waits: Waits) -> dict[str, Block]:
        """A block of each contender, opened anew."""
        give_back()
        blocks: dict[str, Block] = {}
        for each in self.request.contenders:
            running = each.open(threads)
            if self.plans:
                decoder = self.plans[each.name].decoder(running, self.batch)
                blocks[each.name] = partial(_generated, decoder, self.prompt, self.request.tokens, waits)
            else:
                blocks[each.name] = partial(_run, [running.bound(feeds) for feeds in self.feeds[each.name]], waits)
        return blocks


def _run(calls: list[Callable[[], Any]], waits: Waits, count: int) -> Samples:
    with waits.watch() as watch:
        return {LATENCY: [watch.time(call) for _ in range(count) for call in calls]}


def _generated(decoder: Decoder, prompt: np.ndarray, tokens: int, waits: Waits, count: int) -> Samples:
    """One text a block, however many are asked for."""
    with waits.watch() as watch:
        first, each, _ = decoder.generate(prompt, tokens, watch)
    return {FIRST: [first], TOKEN: each or [first]}


def _timed(
    request: Request, calls: _Calls, threads: int, budget: Budget, energy: Energy, said: Callable[[str, float], None]
) -> Found:
    joules: dict[str, float] = {}
    runs: dict[str, int] = {}
    metrics = (FIRST, TOKEN) if calls.plans else (LATENCY,)

    def metered(name: str, block: Block, count: int) -> Samples:
        before = energy.read()
        samples = block(count)
        joules[name] = joules.get(name, 0.0) + energy.since(before)
        runs[name] = runs.get(name, 0) + sum(map(len, samples.values()))
        return samples

    def opened() -> Mapping[str, Block]:
        blocks = calls.opened(threads, waits)
        return blocks if energy.why else {name: partial(metered, name, block) for name, block in blocks.items()}

    waits = Waits(threads)
    others = Others()
    rounds = compete(opened, budget, request.seed, said)
    each = {name: joules[name] / runs[name] for name in joules}
    return Found(threads, calls.batch, calls.shape, rounds, metrics, others.share(), waits.share, each)


def _fresh(contender: Contender, threads: int, feeds: Feeds) -> Fresh | str:
    """Medians over a few processes behind one that reads the file into the page cache, or that one if it takes long."""
    if not all(isinstance(array, np.ndarray) and array.dtype.kind in "biuf" for array in feeds.values()):
        return "its inputs are no arrays of numbers"
    try:
        found = [measured_fresh(contender.runtime, threads, contender.file, feeds, contender.disabled)]
        if found[0].load < LONG:
            again = (contender.runtime, threads, contender.file, feeds, contender.disabled)
            found = [measured_fresh(*again) for _ in range(FRESH)]
    except RuntimeError as error:
        return str(error)
    peaks, loads, firsts = zip(*found)
    return Fresh(int(np.median(peaks)), float(np.median(loads)), float(np.median(firsts)))


def _stops(decoder: Decoder, prompt: np.ndarray) -> str:
    """Why it makes no token, and one more behind it; "" where it does."""
    try:
        with Stopwatch(1) as watch:
            decoder.generate(prompt, 2, watch)
    except refusals() as error:
        return first_line(error)
    return ""


def _refused(running: Running, feeds: Feeds) -> str:
    """Why it does not run on these inputs; "" where it does."""
    try:
        running.bound(feeds)()
    except refusals() as error:
        return first_line(error)
    return ""
