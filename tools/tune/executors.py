"""Who runs jobs: this machine, one after the other, or the workers of a Dask scheduler.

    executor = open_executor(None, inputs)          # or "tcp://host:8786"
    futures = [executor.submit(job, limit) for job in jobs]
    for place, result in executor.completed(futures): ...

Both run the same function (`process.run_job`). Files that jobs read are found on a worker by path, where they have the
same content there, and are sent once where they have not. Times are compared within one class of machines alone: where
workers are of several, those of the most frequent one do the trials.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from concurrent.futures import TimeoutError as TimeIsOver
from threading import Event
from typing import Any, Protocol

from ...ir.errors import UsageError
from .content import Input, missing, placed, store
from .process import run_job

OPTION = "--scheduler"
_MEMORY = 20  # times what a model's files take, for one job
_PATIENCE = 30.0  # seconds for a scheduler to answer, and for workers to be there


class Executor(Protocol):
    """Runs jobs. `machines` says what on, `note` what the user should know of it."""

    machines: str
    note: str

    def submit(self, job: Mapping[str, Any], limit: float) -> Any: ...

    def completed(
        self, futures: Sequence[Any], seconds: float | None = None
    ) -> Iterator[tuple[int, dict[str, Any]]]: ...

    def close(self) -> None: ...


class Local:
    """This machine: a few jobs side by side, which have it to themselves by turns where they time something (`locks`).

    They begin in their order when results are asked for.
    """

    note = ""

    def __init__(self, side_by_side: int = 1) -> None:
        self.machines = machine_class()
        self.side_by_side = side_by_side

    def submit(self, job: Mapping[str, Any], limit: float) -> Any:
        return job, limit

    def completed(
        self, futures: Sequence[Any], seconds: float | None = None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Each result with the place of its future, as they come; who asks for no more ends the others, as the clock
        does after some seconds."""
        stop = Event()
        with ThreadPoolExecutor(self.side_by_side) as pool:
            places = {
                pool.submit(run_job, job, limit, stop, self.side_by_side): place
                for place, (job, limit) in enumerate(futures)
            }
            try:
                for done in as_completed(places, seconds):
                    yield places[done], done.result()
            except TimeIsOver:
                pass  # what is not done by then nobody waits for
            finally:
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """Nothing is left to end."""


class Dask:
    """The workers of a scheduler; each must have geoc installed."""

    def __init__(self, address: str, inputs: Sequence[Input], is_timed: bool) -> None:
        try:
            import distributed
        except ImportError:
            raise UsageError("needs Dask's distributed: pip install 'geoc[tune]'", source=OPTION) from None
        self._dask: Any = distributed
        try:
            self._client = self._dask.Client(address, timeout=_PATIENCE, set_as_default=False)
            self._client.wait_for_workers(1, timeout=_PATIENCE)
        except (OSError, ValueError, TimeoutError) as error:
            said = " ".join(str(error).split())[:200]
            raise UsageError(f"no scheduler with workers at {address}: {said}", source=OPTION) from None
        try:
            classes: dict[str, str] = self._client.run(machine_class)
            counts = Counter(classes.values())
            self.machines = min(counts, key=lambda kind: (-counts[kind], kind))
            self._workers = [name for name, kind in classes.items() if kind == self.machines or not is_timed]
            others = len(classes) - len(self._workers)
            self.note = f"{others} workers are of another kind than {self.machines} and time nothing" if others else ""
            self._inputs = list(inputs)
            self._give()
        except BaseException:
            self._client.close()
            raise

    def _give(self) -> None:
        """See to it that each worker has the files."""
        lacking: dict[str, list[str]] = self._client.run(missing, self._inputs, workers=self._workers)
        for given in self._inputs:
            workers = [name for name, found in lacking.items() if given.digest in found]
            for part in given.parts() if workers else ():
                self._client.run(store, part, workers=workers)

    def submit(self, job: Mapping[str, Any], limit: float) -> Any:
        return self._client.submit(
            _run_there, dict(job), self._inputs, limit, workers=self._workers, allow_other_workers=False, pure=False,
            retries=0,
        )  # fmt: skip

    def completed(
        self, futures: Sequence[Any], seconds: float | None = None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Each result with the place of its future, as they come, until the clock ends it; a worker that is lost is a
        failed trial."""
        order = {future.key: place for place, future in enumerate(futures)}
        try:
            for future in self._dask.as_completed(futures, loop=self._client.loop, timeout=seconds):
                error = future.exception()
                found = {"failed": f"its worker failed: {error}", "took": 0.0} if error is not None else future.result()
                yield order[future.key], found
        except (TimeIsOver, self._dask.TimeoutError):
            pass  # what is not done by then nobody waits for
        finally:
            self._client.cancel(list(futures))

    def close(self) -> None:
        self._client.close()


def _run_there(job: dict[str, Any], inputs: list[Input], limit: float) -> dict[str, Any]:
    """A job on a worker, with its own paths in the place of ours."""
    return run_job(placed(job, inputs), limit)


def machine_class() -> str:
    """What times of a machine may be compared with those of another by: the processor, how many of it, and the
    runtimes."""
    from ...lowering.installed import runtime_version
    from ...lowering.targets import machine

    runtimes = ((name, runtime_version(name)) for name in ("onnxruntime", "openvino"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    kind = next((name for name in (_processor(), machine()) if name), "")
    return ", ".join([f"{cores} x {kind}", *(f"{name} {version}" for name, version in runtimes if version)])


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        return ""


def open_executor(address: str | None, inputs: Sequence[Input], is_timed: bool) -> Executor:
    """Whoever is to run jobs. Raises UsageError where there is no such scheduler."""
    return Local(_side_by_side(inputs)) if address is None else Dask(address, inputs, is_timed)


def _side_by_side(inputs: Sequence[Input]) -> int:
    """How many jobs this machine does at once: two, where it has processors and memory for them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    size = sum(os.path.getsize(os.path.join(given.base, name)) for given in inputs[:1] for name in given.names)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return 2 if cores > 1 and memory >= 2 * _MEMORY * size else 1
