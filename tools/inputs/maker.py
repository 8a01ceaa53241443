"""Made-up inputs for a model: sizes for its symbolic dimensions, and values with a meaning.

    maker = InputMaker(model, Shapes(), seed=0)
    for sizes in maker.sizes():
        feeds = maker.feeds(sizes, run=0)      # name -> array

Sizes are guesses until the model itself has run on them: two inputs may have to agree where only their
graph knows it, so the caller tries candidates in order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...ir import dims
from ...ir.core import Model, Value
from ...ir.dim_parser import parse
from ...ir.dims import DimLike
from ...ir.types import BOOL, STR, OptionalType, SequenceType, TensorType, Type
from .meaning import Meaning, study
from .pictures import channel_axis, pages
from .shapes import Shapes, Size, evaluate

Sizes = dict[str, int]

# Per kind of dimension: the first two are the shapes wanted, the others are tried where a model refuses
# those (fixed strides, crop sizes, window lengths that common models have).
TABLES: dict[str, tuple[int, ...]] = {
    "batch": (2, 3),
    "sequence": (16, 25, 32, 64, 128, 76, 1, 2),
    "past": (8, 5),
    "height": (64, 96, 32, 224, 48, 320, 256, 480, 640, 112),
    "width": (96, 64, 32, 224, 320, 320, 256, 480, 640, 112),
    "small height": (16, 24, 32, 8),  # of feature maps: latents, states
    "small width": (24, 16, 32, 8),
    "channel": (3, 1, 4),
    "samples": (16000, 12800, 512, 576, 1280, 32000, 44100, 80000),
    "other": (4, 6, 2, 1, 3, 8, 16, 32),
}
STEPS = 1000  # of diffusion, that models are trained on (Ho et al., 2020, section 4)
ATTEMPTS = 10  # rows of the tables that are tried, each with the wanted batch and with batch 1


class InputMaker:
    """Makes feeds for one model. `problem` says why it cannot ("" when it can)."""

    def __init__(self, model: Model, shapes: Shapes, seed: int = 0) -> None:
        graph = model.graph
        self.shapes = shapes
        self.seed = seed
        self.inputs = [
            (name, value) for name, value in zip(graph.input_names, graph.inputs) if value not in graph.defaults
        ]
        self.problem = next((p for n, v in self.inputs if (p := _problem(n, v.type, shapes))), "")
        self.meanings = {name: study(value, name) for name, value in self.inputs}
        self.symbols: dict[str, str] = {}  # symbol -> kind
        for name, value in self.inputs:
            self._classify(name, value)

    def _classify(self, name: str, value: Value) -> None:
        shape = _element(value.type).shape if _element(value.type) is not None else None
        for axis, dim in enumerate(shape or ()):
            for atom in dims.atoms(dim):
                if atom.is_symbol and atom.name not in self.symbols:
                    self.symbols[atom.name] = _kind(atom.name, name, value, axis)

    def sizes(self) -> Iterator[Sizes]:
        """Candidate sizes for all symbols, the most wanted first, without repetition."""
        seen: list[Sizes] = []
        rows = [(0, False), (1, False), (0, True), (1, True)]
        rows += [(row, single) for row in range(2, ATTEMPTS) for single in (False, True)]
        for row, single in rows:
            found = self._row(row, single)
            if found not in seen:
                seen.append(found)
                yield found

    def _row(self, row: int, single: bool) -> Sizes:
        found: Sizes = {}
        derived: dict[str, DimLike] = {}
        for name, kind in self.symbols.items():
            fixed = self.shapes.symbols.get(name)
            if fixed is not None:
                found[name] = _inside(fixed, row)
            elif kind == "batch" and single:
                found[name] = 1
            elif kind == "sum":
                derived[name] = _as_sum(name) or 0
            elif kind != "total":
                table = TABLES[kind]
                found[name] = table[row % len(table)]
        for name, sum in derived.items():
            missing = {a.name: _row_size(_by_name(a.name) or "other", row) for a in dims.atoms(sum)}
            found[name] = evaluate(sum, {**missing, **found}) or 1
        for name, kind in self.symbols.items():
            if kind == "total" and name not in found:
                kinds = {k: found[n] for n, k in self.symbols.items() if n in found}
                past = kinds.get("past", 0)
                found[name] = past + kinds.get("sequence", _row_size("sequence", row) if not past else 1)
        return found

    def feeds(self, sizes: Mapping[str, int], run: int, *, inverted: bool = False) -> dict[str, Any]:
        """Values for every input; `run` varies what is drawn, and the way boolean switches stand.

        `inverted`: boolean masks say what is hidden, not what is seen.
        """
        rng = np.random.default_rng((self.seed, run))
        found = {name: self._value(name, value.type, sizes, run, rng) for name, value in self.inputs}
        if inverted:
            arrays = {name: v for name, v in found.items() if isinstance(v, np.ndarray)}
            masks = {name for name, v in arrays.items() if v.dtype.kind == "b" and v.size > 1}
            found = {name: ~v if name in masks else v for name, v in found.items()}
        return found

    def _value(self, name: str, type: Type | None, sizes: Mapping[str, int], run: int, rng: np.random.Generator) -> Any:
        if isinstance(type, SequenceType):
            return [self._value(name, type.element, sizes, run, rng) for _ in range(2)]
        if isinstance(type, OptionalType):
            return self._value(name, type.element, sizes, run, rng)
        assert isinstance(type, TensorType)
        shape = self._shape(name, type, sizes, run)
        return fill(self.meanings[name], type, shape, sizes, run, rng)

    def _shape(self, name: str, type: TensorType, sizes: Mapping[str, int], run: int) -> tuple[int, ...]:
        given = self.shapes.inputs.get(name)
        if given is not None:
            return tuple(_inside(size, run) for size in given)
        assert type.shape is not None
        return tuple(size if (size := evaluate(d, sizes)) is not None else 1 for d in type.shape)


def _element(type: Type | None) -> Any:
    while isinstance(type, (SequenceType, OptionalType)):
        type = type.element
    return type if isinstance(type, TensorType) else None


def _problem(name: str, type: Type | None, shapes: Shapes) -> str:
    element = _element(type)
    if element is None:
        return f"input {name!r} has the type {type}, for which no values can be made up"
    if element.shape is None and name not in shapes.inputs:
        return f"the number of dimensions of input {name!r} is unknown; --shape {name}=... gives it"
    if element.dtype.numpy.kind not in "biufcO" or (element.dtype.bits < 8 and element.dtype is not STR):
        return f"input {name!r} has element type {element.dtype}, which onnxruntime does not take from numpy"
    return ""


def _inside(size: Size, run: int) -> int:
    """A size, or of a range the optimum first and then its ends."""
    return size if isinstance(size, int) else (size[1], size[0], size[2])[run % 3]


_NAMES = (
    ("total", re.compile(r"total|(past|cache).*(\+|plus|and).*|(\+|plus).*past")),
    ("past", re.compile(r"past|cache")),
    ("batch", re.compile(r"batch|^(b|n|bs|bsz)$")),
    ("sequence", re.compile(r"seq|len|time|token|step|frame|^(s|t|l|q|k)$|ctx|context")),
    ("height", re.compile(r"height|^h$|rows")),
    ("width", re.compile(r"width|^w$|cols")),
    ("channel", re.compile(r"channel|^c$")),
    ("samples", re.compile(r"sample|audio|wav")),
)


def _by_name(symbol: str) -> str | None:
    lower = symbol.lower()
    return next((kind for kind, pattern in _NAMES if pattern.search(lower)), None)


def _as_sum(symbol: str) -> DimLike | None:
    """The dimension that a symbol's name spells, for names such as "past_length + 1"."""
    try:
        found = parse(symbol)
    except ValueError:
        return None
    return None if isinstance(found, int) or found.atom is not None else found


def _kind(symbol: str, input_name: str, value: Value, axis: int) -> str:
    """What a symbol counts, from its name, else from where it stands."""
    if _as_sum(symbol) is not None:
        return "sum"
    found = _by_name(symbol)
    if found == "sequence" and value.rank == 2 and value.dtype is not None and value.dtype.is_float:
        found = "samples"  # nothing but a signal has one number per step
    if found is None:
        found = _by_place(input_name.lower(), value, axis)
    if found in ("height", "width") and _is_latent(value):
        return f"small {found}"
    return found


def _by_place(input_name: str, value: Value, axis: int) -> str:
    shape = value.shape or ()
    is_int = value.dtype is not None and not value.dtype.is_float
    if axis == 0:
        return "batch" if len(shape) > 1 or is_int else "samples"
    if re.search(r"past|cache|key|value", input_name) and len(shape) == 4:
        return "past"
    if len(shape) == 2:
        return "sequence" if is_int else "samples"
    if len(shape) == 3 and axis == 1:  # [layers, batch, hidden] is a recurrent state
        return "batch" if isinstance(shape[0], int) and isinstance(shape[2], int) else "sequence"
    if len(shape) == 4:
        last = shape[3]
        channels_last = isinstance(last, int) and last in (1, 3, 4)
        return (("", "height", "width", "channel") if channels_last else ("", "channel", "height", "width"))[axis]
    return "other"


def _is_latent(value: Value) -> bool:
    """True for 4-D maps with neither one nor three channels: not an image."""
    shape = value.shape or ()
    channels = [d for d in (shape[1:2] + shape[3:4]) if isinstance(d, int)]
    return len(shape) == 4 and bool(channels) and not any(c in (1, 3) for c in channels)


def _row_size(kind: str, row: int) -> int:
    table = TABLES.get(kind, TABLES["other"])
    return table[row % len(table)]


def fill(
    meaning: Meaning,
    type: TensorType,
    shape: tuple[int, ...],
    sizes: Mapping[str, int],
    run: int,
    rng: np.random.Generator,
) -> Any:
    """An array of `shape` whose values fit what the input means."""
    dtype = type.dtype
    if dtype is STR:
        words = np.array(["geoc", "checks", "strings", ""], dtype=object)
        return words[rng.integers(0, len(words), shape)].reshape(shape)
    if dtype.is_float or dtype.kind == "c":
        return _floats(meaning, shape, rng).astype(dtype.numpy)
    if dtype is BOOL:
        if math.prod(shape) == 1:  # a switch
            return np.full(shape, run % 2 == 1)
        return _mask(shape, rng).astype(bool)
    return _ints(meaning, type, shape, sizes, run, rng).astype(dtype.numpy)


def _floats(meaning: Meaning, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    if meaning.rate:
        return np.full(shape, 16000.0)
    if meaning.step:
        return rng.integers(0, STEPS, shape).astype(np.float64)
    if meaning.additive:
        return np.where(_mask(shape, rng), 0.0, -1e4)
    if meaning.mask:
        return _mask(shape, rng).astype(np.float64)
    if meaning.picture and channel_axis(shape) is not None:
        return pages(shape, rng)
    return np.asarray(rng.standard_normal(shape))


def _mask(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """Ones with a padded end in every other row, always with a one at the start of each row."""
    mask = np.ones(shape, dtype=np.int64)
    if not shape or not shape[-1]:
        return mask
    rows = mask.reshape(-1, shape[-1])
    for row in rows[::-2]:
        keep = int(rng.integers(1, shape[-1] + 1)) if shape[-1] > 1 else 1
        row[min(keep, shape[-1] - 1 if shape[-1] > 1 else 1) :] = 0
    return mask


def _ints(
    meaning: Meaning,
    type: TensorType,
    shape: tuple[int, ...],
    sizes: Mapping[str, int],
    run: int,
    rng: np.random.Generator,
) -> Any:
    bounds = [b for b in (evaluate(d, sizes) for d in meaning.bounds) if b is not None]
    bound = max(1, min(bounds)) if bounds else None
    if meaning.position and shape:
        steps = np.broadcast_to(np.arange(shape[-1]), shape)
        return steps % bound if bound else steps
    if meaning.rate:
        return np.full(shape, 16000)
    if meaning.step:
        return rng.integers(0, min(bound or STEPS, STEPS), shape)
    if meaning.length:
        longest = max([size for size in sizes.values() if size > 1], default=4)
        counts = np.full(shape, longest)
        if counts.size > 1:
            counts.reshape(-1)[-1] = max(1, longest - 1)
        return np.minimum(counts, bound - 1) if bound else counts
    if bound is not None:
        return _ids(bound, shape, rng)
    if meaning.mask:
        return _mask(shape, rng)
    if meaning.size or not shape:
        return rng.integers(1, 4, shape) if shape else np.array(1)
    if meaning.choice:
        return rng.integers(0, 2, shape)
    if type.dtype.bits == 8:
        return rng.integers(0, 256, shape) if type.dtype.kind == "u" else rng.integers(-128, 128, shape)
    return rng.integers(0, 8, shape)


def _ids(bound: int, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """Rows of a table of `bound`, small numbers more often, as in text: the k-th most frequent word has a share of
    about 1 / k (Zipf's law), and tokenizers number words by frequency. Models of language are badly conditioned on
    rare words in a row.
    """
    found = np.floor(np.exp(rng.uniform(0.0, math.log(bound + 1), shape))) - 1
    return np.clip(found, 0, bound - 1)
