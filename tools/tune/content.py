"""Files by their content: what an order reads, its digests, and how a machine that lacks a file gets it.

A job names files by the paths that they have where `geoc tune` was called. On another machine a path counts if what is
there has the same content; else the file is one that was stored there before, in $GEOC_CACHE_DIR or the platform's
folder for caches, by its digest and with its own name.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ..calibration.statistics import cache_folder
from ..files import files_of, load_any
from ..report.provenance import sha256_of
from .order import Order

_PIECE = 8 << 20  # bytes of one message


class Input(NamedTuple):
    """What a command names by `path`: a file with others that it needs, or a folder; all by `names` relative to `base`,
    where `own` is its own name ("" of a folder), and the `digest` of them together."""

    path: str
    base: str
    own: str
    names: tuple[str, ...]
    digest: str

    def parts(self) -> Iterator[Part]:
        """The pieces of all files."""
        for name in self.names:
            size = os.path.getsize(os.path.join(self.base, name))
            with open(os.path.join(self.base, name), "rb") as file:
                for start in range(0, max(size, 1), _PIECE):
                    yield Part(self.digest, name, start, size, file.read(_PIECE))


class Part(NamedTuple):
    """A piece of a file on its way: `start` in bytes; the last piece ends at `size`."""

    digest: str
    name: str
    start: int
    size: int
    data: bytes


def inputs_of(order: Order) -> list[Input]:
    """The model with its data files, the samples, the metric's file. Raises as reading a model does, and OSError."""
    source = order.source
    base = source if os.path.isdir(source) else None
    found = [_input(source, files_of(source, load_any(source)), base)]
    for path in order.given:
        if os.path.isdir(path):
            found.append(_input(path, [str(each) for each in Path(path).iterdir() if each.is_file()], path))
        else:
            found.append(_input(path, [path]))
    return found


def _input(path: str, files: Iterable[str], base: str | None = None) -> Input:
    base = os.path.abspath(os.path.dirname(path) if base is None else base)
    names = tuple(sorted(os.path.relpath(os.path.realpath(each), os.path.realpath(base)) for each in files))
    own = "" if os.path.isdir(path) else os.path.basename(path)
    return Input(path, base, own, names, _digest(base, names))


def _digest(base: str, names: Sequence[str]) -> str:
    stats = [os.stat(os.path.join(base, name)) for name in names]
    return _known(base, tuple(names), tuple((found.st_size, found.st_mtime_ns) for found in stats))


@lru_cache(maxsize=64)
def _known(base: str, names: tuple[str, ...], stamps: tuple[tuple[int, int], ...]) -> str:
    parts = [f"{name} {sha256_of(os.path.join(base, name))}" for name in names]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def missing(inputs: Sequence[Input]) -> list[str]:
    """The digests of what this machine has neither by path nor stored."""
    return [given.digest for given in inputs if local_path(given) is None]


def local_path(given: Input) -> str | None:
    """Where this machine has what is called `path` elsewhere; None where it has not."""
    for base in (given.base, str(_folder(given.digest))):
        try:
            if _digest(base, given.names) == given.digest:
                return os.path.join(base, given.own) if given.own else base
        except OSError:
            continue
    return None


def store(part: Part) -> None:
    """Keep a piece of a file; the pieces come in their order. Raises ValueError for a name outside its folder."""
    folder = _folder(part.digest)
    path = folder / part.name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{part.name} leaves its folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = f"{path}.{os.getpid()}.part"  # several workers of a machine may be given the same file at once
    with open(partial, "r+b" if part.start else "wb") as file:
        file.seek(part.start)
        file.write(part.data)
    if part.start + len(part.data) >= part.size:
        os.replace(partial, path)


def _folder(digest: str) -> Path:
    base = cache_folder() or Path(tempfile.gettempdir()) / "geoc" / "statistics"
    return base.parent / "inputs" / digest


def placed(job: Any, inputs: Sequence[Input]) -> Any:
    """Plain data with this machine's paths: of whatever is an input's path, with ``:FUNCTION`` behind it or without."""
    if isinstance(job, Mapping):
        return {name: placed(value, inputs) for name, value in job.items()}
    if isinstance(job, (list, tuple)):
        return [placed(value, inputs) for value in job]
    if not isinstance(job, str):
        return job
    for given in inputs:
        if job == given.path or job.startswith(f"{given.path}:"):
            found = local_path(given)
            if found is None:
                raise FileNotFoundError(2, "this worker was not given it", given.path)
            return found + job[len(given.path) :]
    return job
