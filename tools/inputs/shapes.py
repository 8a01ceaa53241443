"""``--shape``: sizes for inputs and symbolic dimensions, applied to a model.

    NAME=1,3,224,224      the dimensions of an input
    B=1,S=128             symbolic dimensions
    B=1:8:32              a range min:opt:max: stays symbolic, and checks stay inside it
    NAME=B,S              names for the open dimensions of an input: those with one name are equal
    past.*=B,4,P,64       all inputs whose names fit
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ...ir.core import Model, Value
from ...ir.dim_parser import parse
from ...ir.dims import Dim, DimLike, atoms, substitute
from ...ir.errors import UsageError
from ...ir.types import OptionalType, SequenceType, TensorType, Type, optional_type, sequence_type, tensor_type

if TYPE_CHECKING:
    from typing import TypeAlias

Size: TypeAlias = "int | tuple[int, int, int]"
"""A fixed size, or (min, opt, max)."""

_SIZE = re.compile(r"(\d+)(?::(\d+):(\d+))?\Z")
_NAME = re.compile(r"[A-Za-z_]")


@dataclass
class Shapes:
    """What --shape said: whole inputs by name, symbols by name."""

    inputs: dict[str, tuple[Size, ...]] = field(default_factory=dict)
    symbols: dict[str, Size] = field(default_factory=dict)

    @property
    def best(self) -> dict[str, int]:
        """The size of each symbol that was given one, of a range the one in the middle."""
        return {name: _end(size, 1) for name, size in self.symbols.items()}


def read_shapes(texts: Iterable[str], model: Model) -> Shapes:
    """Read --shape values against a model's inputs and symbols; names for open dimensions are put into `model`.

    Raises UsageError.
    """
    names = model.graph.input_names
    entries = [(text, key, sizes) for text in texts for key, sizes in _entries(text)]
    found = Shapes()
    for text, key, sizes in entries:
        if any(isinstance(size, Dim) for size in sizes):
            _name_dims(model, _inputs(text, key, model), sizes, found)
    symbols = input_symbols(model)
    for text, key, given in entries:
        numbers = tuple(size for size in given if not isinstance(size, Dim))
        if len(numbers) < len(given):
            continue
        if key in symbols and key not in names:
            if len(numbers) != 1:
                raise _wrong(text, f"{key!r} is a symbolic dimension and takes one size")
            found.symbols[key] = numbers[0]
        else:
            found.inputs.update(dict.fromkeys(_inputs(text, key, model), numbers))
    _inputs_to_symbols(found, model)
    return found


def _inputs(text: str, key: str, model: Model) -> list[str]:
    """The inputs of this name, or of names that fit a pattern. UsageError where there are none."""
    names = model.graph.input_names
    found = [key] if key in names else [name for name in names if "*" in key and fnmatchcase(name, key)]
    if not found:
        raise _wrong(text, _unknown(key, names, input_symbols(model)))
    return found


def _name_dims(model: Model, inputs: list[str], sizes: tuple[Size | Dim, ...], found: Shapes) -> None:
    """Names in the place of open dimensions of inputs, wherever those occur; sizes beside them go into `found`."""
    for value, name in zip(model.graph.inputs, model.graph.input_names):
        if name not in inputs:
            continue
        if value.shape is None:
            raise _wrong(name, f"the number of dimensions of input {name!r} is unknown, and takes no names")
        if len(value.shape) != len(sizes):
            raise _wrong(name, f"input {name!r} has {len(value.shape)} dimensions, not {len(sizes)}: {value.type}")
        for axis, size in enumerate(sizes):
            dim = value.shape[axis]
            atom = None if isinstance(dim, int) else dim.atom
            if isinstance(dim, int) and dim != size:
                raise _wrong(name, f"input {name!r} has the fixed size {dim} at axis {axis}: {value.type}")
            if atom is None or not atom.is_symbol or dim == size:
                continue
            if isinstance(size, Dim):
                _replace(model, {atom.name: size})
            elif found.symbols.setdefault(atom.name, size) != size:
                raise _wrong(name, f"dimension {atom.name!r} is both {found.symbols[atom.name]} and {size}")
    _infer(model)


def _entries(text: str) -> list[tuple[str, tuple[Size | Dim, ...]]]:
    entries: list[tuple[str, list[Size | Dim]]] = []
    for part in text.split(","):
        key, equals, size = part.rpartition("=")
        if equals:
            entries.append((key.strip(), []))
        if not entries:
            raise _wrong(text, "expected NAME=1,3,224,224, NAME=B,S or SYMBOL=8")
        if not size.strip() and equals:
            continue  # NAME= : a scalar
        entries[-1][1].append(_size(text, size.strip()))
    return [(key, tuple(sizes)) for key, sizes in entries]


def _size(text: str, size: str) -> Size | Dim:
    match = _SIZE.match(size)
    if not match:
        return _named(text, size)
    if match.group(2) is None:
        return int(size)
    low, best, high = (int(group) for group in match.groups())
    if not low <= best <= high:
        raise _wrong(text, f"the range {size} is not in order min:opt:max")
    return (low, best, high)


def _named(text: str, size: str) -> Dim:
    """A name for a dimension, or a sum of products of them."""
    try:
        found = parse(size) if _NAME.match(size) else None
    except ValueError:
        found = None
    if not isinstance(found, Dim):
        raise _wrong(text, f"{size!r} is neither a size, nor a range min:opt:max, nor a name")
    return found


def _wrong(text: str, message: str) -> UsageError:
    return UsageError(f"{message} (in {text!r})", source="--shape")


def _unknown(key: str, names: list[str], symbols: list[str]) -> str:
    has = f"inputs: {', '.join(names) or 'none'}"
    return f"the model has no input and no symbolic dimension {key!r}; {has}; symbols: {', '.join(symbols) or 'none'}"


def input_symbols(model: Model) -> list[str]:
    """Names of the symbols in the types of the graph's inputs, in order; unknown dimensions left out."""
    found: dict[str, None] = {}
    for value in model.graph.inputs:
        for dim in _dims(value.type):
            for atom in atoms(dim):
                if atom.is_symbol and not atom.is_unknown:
                    found[atom.name] = None
    return list(found)


def _dims(type: Type | None) -> tuple[DimLike, ...]:
    if isinstance(type, TensorType):
        return type.shape or ()
    if isinstance(type, (SequenceType, OptionalType)):
        return _dims(type.element)
    return ()


def _inputs_to_symbols(found: Shapes, model: Model) -> None:
    """A named symbol in a fixed input is that size everywhere; a known size cannot be changed."""
    for value, name in zip(model.graph.inputs, model.graph.input_names):
        sizes = found.inputs.get(name)
        if sizes is None:
            continue
        shape = value.shape
        if shape is None:
            continue
        if len(shape) != len(sizes):
            raise _wrong(name, f"input {name!r} has {len(shape)} dimensions, not {len(sizes)}: {value.type}")
        for axis, (dim, size) in enumerate(zip(shape, sizes)):
            if isinstance(dim, int):
                if dim != size:
                    raise _wrong(name, f"input {name!r} has the fixed size {dim} at axis {axis}: {value.type}")
                continue
            atom = dim.atom
            if atom is None or not atom.is_symbol:
                continue
            known = found.symbols.setdefault(atom.name, size)
            if known != size:
                raise _wrong(name, f"dimension {atom.name!r} is both {known} and {size}")


def specialise(model: Model, shapes: Shapes) -> bool:
    """Put fixed sizes into the types of `model`, everywhere they occur; True if any was fixed.

    Types that follow from them are inferred anew.
    """
    fixed = {name: size for name, size in shapes.symbols.items() if isinstance(size, int)}
    unranked = [
        (value, sizes)
        for value, name in zip(model.graph.inputs, model.graph.input_names)
        if (sizes := shapes.inputs.get(name)) is not None and value.shape is None
    ]
    for value, sizes in unranked:
        if isinstance(value.type, TensorType) and all(isinstance(s, int) for s in sizes):
            value.type = tensor_type(value.type.dtype, tuple(s for s in sizes if isinstance(s, int)))
    if not fixed and not unranked:
        return False
    _replace(model, fixed)
    _infer(model)
    return True


def _replace(model: Model, symbols: Mapping[str, DimLike]) -> None:
    """Put dimensions in the place of symbols, in all types and all contents."""
    for value in _values(model):
        value.type = _fix(value.type, symbols)
        if value.content is not None:
            value.content = tuple(substitute(dim, symbols.get) for dim in value.content)


def _infer(model: Model) -> None:
    from ...ir.infer import infer_graph

    infer_graph(model.graph)


def fixed_shape(value: Value) -> tuple[int, ...] | None:
    """The sizes of a tensor; None where not all are known."""
    sizes = tuple(dim for dim in value.shape or () if isinstance(dim, int))
    return sizes if value.shape is not None and len(sizes) == len(value.shape) else None


def _values(model: Model) -> Iterable[Value]:
    for graph in model.graph.graphs():
        yield from graph.inputs
        for node in graph:
            yield from node.outputs


def _fix(type: Type | None, fixed: Mapping[str, DimLike]) -> Type | None:
    if isinstance(type, TensorType) and type.shape is not None:
        if all(isinstance(dim, int) for dim in type.shape):
            return type
        return tensor_type(type.dtype, tuple(substitute(dim, fixed.get) for dim in type.shape))
    if isinstance(type, SequenceType):
        return sequence_type(_fix(type.element, fixed))
    if isinstance(type, OptionalType):
        return optional_type(_fix(type.element, fixed))
    return type


def evaluate(dim: DimLike, sizes: Mapping[str, int]) -> int | None:
    """The value of a dimension when symbols have these sizes; None if one is missing."""
    try:
        found = substitute(dim, sizes.get)
    except ZeroDivisionError:
        return None
    return None if isinstance(found, Dim) else found


def profile(model: Model, shapes: Shapes) -> dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """The smallest, the best and the largest shape of each input that has symbolic dimensions, as --shape says.

    An input with a dimension that nobody gave a size is left out.
    """
    found = {}
    for value, name in zip(model.graph.inputs, model.graph.input_names):
        shape = value.shape
        if not shape or all(isinstance(dim, int) for dim in shape):
            continue
        given = shapes.inputs.get(name)
        ends: list[tuple[int, ...]] = []
        for place in (0, 1, 2):
            sizes = {symbol: _end(size, place) for symbol, size in shapes.symbols.items()}
            dims = [evaluate(dim, sizes) for dim in shape] if given is None else [_end(size, place) for size in given]
            ends.append(tuple(dim for dim in dims if dim is not None))
        if all(len(end) == len(shape) for end in ends):
            found[name] = (ends[0], ends[1], ends[2])
    return found


def _end(size: Size, place: int) -> int:
    return size if isinstance(size, int) else size[place]
