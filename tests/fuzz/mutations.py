"""Damaged files of any format: each is refused in one line within seconds and bounded memory, or is a valid model.

    found = check_mutations(geoc.load, data, COUNT, seed=0, folder=tmp_path, suffix=".gguf")
    assert found["refused"] > COUNT // 4

`COUNT` is 100 in the suite; GEOC_MUTATIONS=2000 sets another number.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import select
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from geoc.ir.core import Model
from geoc.ir.errors import GeocError
from geoc.ir.verify import verify

COUNT = int(os.environ.get("GEOC_MUTATIONS", "100"))
SECONDS = 5  # for one mutant
MEMORY = 2**30  # bytes of address space beyond what reading the undamaged file needs

# Mutations


def mutations(data: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`count` damaged copies of a file, each with what was done to it. Each depends on its number and the seed alone."""
    for number in range(count):
        yield mutation(data, f"{seed}:{number}")


def mutation(data: bytes, seed: str) -> tuple[str, bytes]:
    """One of them."""
    rng = random.Random(seed)
    kinds = _TEXT if _is_text(data) else _BINARY
    said = []
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        kind = rng.choice(kinds)
        data, text = kind(rng, data)
        said.append(text)
    return "; ".join(said), data


def _place(rng: random.Random, size: int) -> int:
    """An offset in a file; near its start or its end, where formats keep their tables, more often than in between."""
    if size <= 1:
        return 0
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randrange(size)
    near = min(size - 1, int(size ** rng.random()) - 1)
    return near if kind < 3 else size - 1 - near


def _cut(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    length = _place(rng, len(data) + 1)
    return data[:length], f"cut to {length} of {len(data)} bytes"


def _flip(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    damaged = bytearray(data)
    said = []
    for _ in range(rng.choice((1, 1, 2, 8)) if data else 0):
        at = _place(rng, len(data))
        damaged[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256), damaged[at] ^ 1 << rng.randrange(8)))
        said.append(f"[{at}]={damaged[at]}")
    return bytes(damaged), " ".join(said)


def _begin_as_another(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    start = data[: rng.choice((4, 8))]
    other = rng.choice((*_MAGIC, start[::-1], bytes(len(start)), rng.randbytes(len(start))))
    at = rng.choice((0, 0, 0, 4))  # where flatbuffers have theirs
    return data[:at] + other + data[at + len(other) :], f"{other!r} at {at}"


def _oversize(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """An integer that could be a size or an offset is a huge one, negative, or just beyond the file."""
    width = rng.choice((4, 4, 8))
    if len(data) < width:
        return data, "nothing"
    for _ in range(50):
        at = _place(rng, len(data) - width + 1)
        at -= at % 4 if rng.random() < 0.7 else 0
        if 0 < int.from_bytes(data[at : at + width], "little") <= 2 * len(data):
            break
    number = rng.choice([n for n in (*_HUGE, len(data), len(data) + 1, len(data) - at) if n < 1 << 8 * width])
    return data[:at] + number.to_bytes(width, "little") + data[at + width :], f"[{at}:{at + width}]={number}"


def _delete(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    at, length = _place(rng, len(data)), rng.choice((1, 2, 4, 8, 9, 100))
    return data[:at] + data[at + length :], f"without [{at}:{at + length}]"


def _insert(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    at, length = _place(rng, len(data)), rng.choice((1, 2, 4, 8, 9, 100))
    new = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length), data[at : at + length]))
    return data[:at] + new + data[at:], f"{len(new)} bytes more at {at}"


def _fill(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    at, length, byte = _place(rng, len(data)), rng.choice((4, 16, 64)), rng.choice((0, 0x7F, 0x80, 0xFF))
    return data[:at] + bytes([byte]) * min(length, len(data) - at) + data[at + length :], f"[{at}:{at + length}]={byte}"


def _change_number(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """A number in a text is another."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data))
    if not found:
        return _flip(rng, data)
    match = rng.choice(found)
    other = str(rng.choice((*_HUGE, 0, 1, -1, -(2**31), 2**70, 1e308, "nan", "", "1.5", "9" * 300))).encode()
    return data[: match.start()] + other + data[match.end() :], f"{match[0]!r} at {match.start()} is {other[:20]!r}"


def _change_word(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """A word of a text is another of its words, or nothing."""
    found = list(re.finditer(rb"\w+", data))
    if not found:
        return _flip(rng, data)
    match, other = rng.choice(found), rng.choice((rng.choice(found)[0], b""))
    return data[: match.start()] + other + data[match.end() :], f"{match[0]!r} at {match.start()} is {other!r}"


def _is_text(data: bytes) -> bool:
    return data[:4096].isascii() and b"\0" not in data[:4096]


_BINARY = (_cut, _flip, _flip, _flip, _begin_as_another, _oversize, _oversize, _oversize, _delete, _insert, _fill)
_TEXT = (_cut, _flip, _begin_as_another, _delete, _insert, _change_number, _change_number, _change_word, _change_word)
_MAGIC = (b"GGUF", b"FUGG", b"TFL3", b"PK\x03\x04", b"\x80\x02", b"<?xml", b"{}", b"\x89HDF\r\n\x1a\n", b"\x08\x08")
_HUGE = (0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF0, 1 << 28, 1 << 40, 1 << 61, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)

# Judging


class TooLong(Exception):
    """A mutant took more than its seconds."""


class Failure(NamedTuple):
    """What should not have happened: with which mutants, and what was raised where."""

    what: str
    numbers: list[int]
    mutation: str
    message: str


def check_mutations(
    read: Callable[[str], Model], data: bytes, count: int, seed: int, folder: os.PathLike[str] | str, suffix: str,
    seconds: float = SECONDS, memory: int = MEMORY,
) -> Counter[str]:  # fmt: skip
    """Assert that `read` gives a model that verifies, or raises a GeocError of one line, for every mutation of `data`.

    `read` takes the path of a file in `folder`; `suffix` is how its name ends, or its whole name where it has no dot in
    front (companions of the file lie beside it). Mutants are read in a process of its own, which may die; each has
    `seconds`, and all have `memory` bytes beyond what the undamaged file took. Returns how many were "refused" and how
    many "read".
    """
    path = os.path.join(folder, f"mutant{suffix}" if suffix.startswith(".") else suffix)
    failures: dict[str, Failure] = {}
    reached: Counter[str] = Counter()
    begin = 0
    while begin < count:
        for number, verdict, message in _until_death(read, data, range(begin, count), seed, path, seconds, memory):
            assert number >= 0, f"the undamaged file: {verdict}: {message}"
            begin = number + 1
            reached[verdict] += 1
            if verdict not in ("refused", "read"):
                said = mutation(data, f"{seed}:{number}")[0]
                failures.setdefault(verdict, Failure(verdict, [], said, message)).numbers.append(number)
    assert not failures, "\n".join(
        f"{f.what}: {len(f.numbers)} mutants, the first is {f.numbers[0]} of seed {seed} ({f.mutation}): {f.message}"
        for f in failures.values()
    )
    return reached


def check_line(error: GeocError) -> None:
    """An error is one line of a length that can be read."""
    text = str(error)
    assert "\n" not in text and 0 < len(text) < 5000, f"not one line: {text[:200]!r}"


def place_of(error: BaseException) -> str:
    """The kind of an exception and the line that raised it: faults of one place are one fault."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {place.filename}:{place.lineno}"


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises TooLong in what takes longer."""

    def outlast(*_: object) -> None:
        raise TooLong(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, outlast)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def limit_memory(more: int) -> None:
    """This process may take `more` bytes of address space beyond what it has, and no more."""
    if sys.platform != "linux":
        return  # elsewhere the limit is not obeyed
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, used + more))


def _until_death(
    read: Callable[[str], Model], data: bytes, numbers: range, seed: int, path: str, seconds: float, memory: int
) -> Iterator[tuple[int, str, str]]:
    """(number, verdict, message) of each mutant, up to the one at which the process ended or hung."""
    here, there = os.pipe()
    child = os.fork()  # and not spawned: `read` may be any function
    if child == 0:
        os.close(here)
        _worker(read, data, numbers, seed, path, seconds, memory, there)
    os.close(there)
    rest = b""
    number = -1  # the undamaged file, first
    hung = False
    try:
        while number < numbers.stop:
            while b"\n" not in rest and not hung:
                # A call that never comes back to Python outlasts its alarm. The first answer waits for imports.
                hung = not select.select([here], [], [], 20 * seconds)[0]
                part = b"" if hung else os.read(here, 1 << 16)
                rest += part
                if not part:
                    break
            if b"\n" not in rest:
                break
            line, _, rest = rest.partition(b"\n")
            answer = json.loads(line)
            if answer[0] >= 0 or answer[1] != "read":
                yield answer[0], answer[1], answer[2]
            number = max(answer[0] + 1, numbers.start)
    finally:
        os.close(here)
        if number < numbers.stop:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if number < numbers.stop:
        yield number, "hung" if hung else f"died of signal {-os.waitstatus_to_exitcode(status)}", ""


def _worker(
    read: Callable[[str], Model], data: bytes, numbers: range, seed: int, path: str, seconds: float, memory: int, out: int
) -> None:
    """Judges the mutants, a line each, and ends the process."""
    try:
        verdict, message = _judge(read, data, path, 20 * seconds)
        os.write(out, json.dumps([-1, verdict, message]).encode() + b"\n")
        limit_memory(memory)
        for number in numbers:
            verdict, message = _judge(read, mutation(data, f"{seed}:{number}")[1], path, seconds)
            os.write(out, json.dumps([number, verdict, message]).encode() + b"\n")
    finally:
        os._exit(0)


def _judge(read: Callable[[str], Model], data: bytes, path: str, seconds: float) -> tuple[str, str]:
    if os.path.exists(path):
        os.unlink(path)  # a model that is not collected yet may have the last one mapped
    with open(path, "wb") as file:
        file.write(data)
    try:
        with time_limit(seconds):
            verify(read(path))
    except GeocError as error:
        try:
            check_line(error)
        except AssertionError as wrong:
            return place_of(error), str(wrong)
        return "refused", str(error)
    except BaseException as error:  # whatever else there is, SystemExit included, is a fault
        return place_of(error), str(error)[:300]
    return "read", ""
