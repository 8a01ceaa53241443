"""Inputs of the user, ``--calib``: what numbers are measured on, and what results are compared on.

    samples = open_samples("data.npz", model)
    for feeds in samples.calibration(): ...      # four of five
    for feeds in samples.held_back(): ...        # the fifth: never measured on

Nothing is kept: each walk reads the samples again, one at a time.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir.core import Model
from ...ir.dims import DimLike
from ...ir.errors import UsageError
from ...ir.types import TensorType
from ..userfile import user_function

if TYPE_CHECKING:
    from typing import TypeAlias

Feeds: TypeAlias = "dict[str, np.ndarray]"
OPTION = "--calib"
PART = 5  # one sample in so many is held back
_NUMBERED = re.compile(r"(.+)/(\d+)")


class Samples:
    """Samples of one kind of place. Subclasses give `read`; a walk checks each against the model's inputs."""

    def __init__(self, text: str, model: Model, option: str = OPTION, beside: Collection[str] = ()) -> None:
        """`text` is what the user wrote behind `option`; `beside` names arrays that a sample may have for others."""
        graph = model.graph
        self.text = text
        self.option = option
        self._beside = frozenset(beside)
        self.label = ""  # of the sample that a walk gave last
        self._types = {n: v.type for n, v in zip(graph.input_names, graph.inputs)}
        self._needed = [n for n, v in zip(graph.input_names, graph.inputs) if v not in graph.defaults]

    def read(self) -> Iterator[tuple[str, Any]]:
        """Each sample with how to call it: arrays by input, or the one array of a model with one input."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Feeds]:
        """All samples. Raises UsageError that names the sample and the input where one does not fit the model."""
        is_empty = True
        for label, given in self.read():
            is_empty, self.label = False, label
            yield self._checked(label, given)
        if is_empty:
            raise UsageError(f"{self.text} holds no samples", source=self.option)

    def calibration(self) -> Iterator[Feeds]:
        """What may be measured on: all but every fifth; all of fewer than five."""
        return self._parted(held_back=False)

    def held_back(self) -> Iterator[Feeds]:
        """What results are compared on: every fifth, which `calibration` leaves out. None of fewer than five."""
        return self._parted(held_back=True)

    def _parted(self, held_back: bool) -> Iterator[Feeds]:
        return (feeds for index, feeds in enumerate(self) if (index % PART == PART - 1) == held_back)

    def digest(self) -> str:
        """A hash of all samples, hexadecimal: the same data give the same one wherever they come from."""
        return digest_of(self)

    def count(self) -> int | None:
        """How many samples there are, without reading them; None where that cannot be told."""
        return None

    def _checked(self, label: str, given: Any) -> Feeds:
        if not isinstance(given, Mapping):
            if len(self._needed) != 1:
                needed = f"{len(self._needed)} inputs: {_listed(self._needed)}"
                raise self._fault(label, f"is one array, and the model has {needed}")
            given = {self._needed[0]: given}
        missing = [name for name in self._needed if name not in given]
        if missing:
            raise self._fault(label, f"lacks {_listed(missing)}; it has {_listed(map(str, given)) or 'nothing'}")
        beside = {name: np.asarray(given[name]) for name in self._beside if name in given and name not in self._types}
        more = [str(name) for name in given if name not in self._types and name not in beside]
        if more:
            takes = f"the model does not take; its inputs: {_listed(self._types)}"
            raise self._fault(label, f"has {_listed(more)}, which {takes}")
        taken = {name: self._array(label, name, array) for name, array in given.items() if name not in beside}
        return {**taken, **beside}

    def _array(self, label: str, name: str, given: Any) -> np.ndarray:
        type_, array = self._types[name], np.asarray(given)
        if not isinstance(type_, TensorType):
            raise UsageError(f"input {name} is no tensor, and samples are", source=self.option)
        wanted = np.dtype(type_.dtype.numpy)
        if array.dtype != wanted:
            if array.dtype.kind != wanted.kind and not (array.dtype.kind in "iu" and wanted.kind in "iu"):
                raise self._fault(label, f"has {array.dtype} for {name}, which takes {wanted}")
            cast = array.astype(wanted)
            if wanted.kind != "f" and not np.array_equal(cast, array):
                raise self._fault(label, f"has numbers for {name} that do not fit {wanted}")
            array = cast
        if type_.shape is not None and not _fits(array.shape, type_.shape):
            has, takes = ("x".join(map(str, shape)) or "of one number" for shape in (array.shape, type_.shape))
            raise self._fault(label, f"has shape {has} for {name}, which is {takes}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            kind = "NaN" if np.isnan(array).any() else "infinity"
            raise self._fault(label, f"has {kind} in {name}")
        return array

    def _fault(self, label: str, message: str) -> UsageError:
        return UsageError(f"{self.text}: sample {label} {message}", source=self.option)


def digest_of(samples: Iterable[Feeds]) -> str:
    """A hash of names, types and numbers, hexadecimal."""
    found = hashlib.blake2b(digest_size=16)
    for feeds in samples:
        for name, array in sorted(feeds.items()):
            found.update(f"{name} {array.dtype.str} {array.shape};".encode())
            found.update(np.ascontiguousarray(array).data)
        found.update(b".")
    return found.hexdigest()


def _listed(names: Any) -> str:
    return ", ".join(names)


def _fits(shape: tuple[int, ...], declared: tuple[DimLike, ...]) -> bool:
    return len(shape) == len(declared) and all(not isinstance(d, int) or d == size for size, d in zip(shape, declared))


class _Archive(Samples):
    """An .npz with arrays ``input/0``, ``input/1``, ...; without numbers it is one sample."""

    def __init__(self, path: Path, *given: Any) -> None:
        super().__init__(*given)
        self.path = path

    def count(self) -> int | None:
        with _loaded(self.path, self.option) as archive:
            found = (_NUMBERED.fullmatch(key) for key in archive.files if key not in self._types)
            return len({int(match[2]) for match in found if match}) or 1

    def read(self) -> Iterator[tuple[str, Any]]:
        with _loaded(self.path, self.option) as archive:
            numbers: dict[int, dict[str, str]] = {}
            plain: dict[str, str] = {}
            for key in archive.files:
                found = _NUMBERED.fullmatch(key)
                if found and key not in self._types:
                    numbers.setdefault(int(found[2]), {})[found[1]] = key
                else:
                    plain[key] = key
            if plain and numbers:
                raise UsageError(
                    f"{self.text} has arrays with numbers ({next(iter(numbers[min(numbers)].values()))}) and without "
                    f"({next(iter(plain))})", source=self.option
                )  # fmt: skip
            if plain:
                yield "0", {name: archive[key] for name, key in plain.items()}
            for number in sorted(numbers):
                yield str(number), {name: archive[key] for name, key in numbers[number].items()}


class _Folder(Samples):
    """A folder of .npz, and of .npy for models with one input: a sample each, by name."""

    def __init__(self, path: Path, *given: Any) -> None:
        super().__init__(*given)
        self.path = path

    def count(self) -> int | None:
        return len(self._paths())

    def _paths(self) -> list[Path]:
        return sorted(p for p in self.path.iterdir() if p.suffix in (".npy", ".npz"))

    def read(self) -> Iterator[tuple[str, Any]]:
        for path in self._paths():
            if path.suffix == ".npy":
                yield path.name, _loaded(path, self.option)
                continue
            with _loaded(path, self.option) as archive:
                yield path.name, {key: archive[key] for key in archive.files}


class _Function(Samples):
    """``file.py:function``, which is called for each walk and yields arrays by input, or the array of the one input."""

    def __init__(self, text: str, *given: Any) -> None:
        super().__init__(text, *given)
        self.function: Callable[[], Iterable[Any]]
        _, self.function = user_function(text, self.option)

    def read(self) -> Iterator[tuple[str, Any]]:
        for number, feeds in enumerate(self.function()):
            yield str(number), feeds


def _loaded(path: Path, option: str) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} cannot be read: {error}", source=option) from None


def open_samples(text: str, model: Model, option: str = OPTION, beside: Collection[str] = ()) -> Samples:
    """The samples that an option names: an .npz, a folder, or ``file.py:function``. Raises UsageError for others.

    A sample may have arrays called as `beside` says that the model does not take: they come along as they are.
    """
    if text.rpartition(":")[0].endswith(".py"):
        return _Function(text, model, option, beside)
    path = Path(text)
    if path.is_dir():
        return _Folder(path, text, model, option, beside)
    if not path.is_file():
        raise UsageError(f"no file or folder {text}", source=option)
    if path.suffix == ".npz":
        return _Archive(path, text, model, option, beside)
    hint = f"; {text}:FUNCTION names a function that yields samples" if path.suffix == ".py" else ""
    raise UsageError(f"takes an .npz, a folder of .npy and .npz, or file.py:function, not {text}{hint}", source=option)
