"""The .xml file as layers and edges. Read by the standard library's expat; document types are refused, and with them
every entity that could expand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ...ir.dims import DimLike, fresh
from ...ir.errors import FormatError, InvalidModel, UnsupportedModel
from ...ir.types import BOOL, BY_NAME, F8E4M3FN, STR, DType, Shape, TensorType, tensor_type

Integers = tuple[int, ...]
Floats = tuple[float, ...]

_OLDEST, _NEWEST = 10, 11
_DEEPEST = 200  # elements; a body of a loop or a branch takes five
_LONGEST_RANK = 64
_ODD_NAMES = {"boolean": BOOL, "f8e4m3": F8E4M3FN}
_PRECISIONS = {"fp16": "f16", "fp32": "f32", "fp64": "f64", "bool": "boolean", "f8e4m3": "f8e4m3"}


class Port(NamedTuple):
    """An output of a layer: its number among the ports, its declared type, and what its tensor is called."""

    id: int
    type: TensorType | None
    names: tuple[str, ...]


class Layer:
    """One layer: `type` is the operator, `data` its attributes, `inputs` the ids of its input ports in order."""

    def __init__(self, element: Element) -> None:
        self.element = element
        self.id = number(element.get("id"), "the id of a layer")
        self.name = element.get("name") or ""
        self.type = element.get("type") or ""
        self.version = element.get("version") or ""
        data = element.find("data")
        self.data: Mapping[str, str] = {} if data is None else data.attrib
        ports = element.find("input")
        self.inputs = [] if ports is None else [number(p.get("id"), f"a port of {self}") for p in ports.iter("port")]
        ports = element.find("output")
        self.outputs = [] if ports is None else [self._port(p) for p in ports.iter("port")]
        if not self.type:
            raise FormatError(f"{self} has no type")

    def __str__(self) -> str:
        return f"layer {self.id} ({self.type} {self.name!r})"

    def _port(self, element: Element) -> Port:
        dims: list[DimLike] = []
        for dim in element.iter("dim"):
            size = number(dim.text, f"a size of {self}")
            dims.append(fresh() if size < 0 else size)
        if len(dims) > _LONGEST_RANK:
            raise FormatError(f"{self} has a result of {len(dims)} dimensions")
        precision = (element.get("precision") or "").lower()
        dtype = known_dtype(_PRECISIONS.get(precision, precision))
        names = split_names(element.get("names"))
        # openvino writes no sizes for a scalar, and none for a tensor of unknown rank.
        type = None if dtype is None or dtype is STR else tensor_type(dtype, tuple(dims) if dims else None)
        return Port(number(element.get("id"), f"a port of {self}"), type, names)

    # Attributes

    def text(self, name: str, default: str | None = None) -> str:
        """An attribute. InvalidModel where it is missing and there is no default."""
        found = self.data.get(name, default)
        if found is None:
            raise InvalidModel(f"{self} has no attribute {name!r}")
        return found

    def choice(self, name: str, known: Mapping[str, str], default: str | None = None) -> str:
        """What an attribute stands for, by a table of lower-case words. UnsupportedModel for another word."""
        said = self.text(name, default).lower()
        if said not in known:
            raise UnsupportedModel(f"{self}: there is no form for {name} {said!r}")
        return known[said]

    def int(self, name: str, default: int | None = None) -> int:
        return number(self.text(name, None if default is None else str(default)), f"{name} of {self}")

    def ints(self, name: str, default: Integers | None = None) -> Integers:
        if default is not None and name not in self.data:
            return default
        said = self.text(name).strip()
        return tuple(number(part, f"{name} of {self}") for part in said.split(",")) if said else ()

    def float(self, name: str, default: float | None = None) -> float:
        said = self.text(name, None if default is None else repr(default))
        try:
            return float(said)
        except ValueError:
            raise FormatError(f"{name} of {self} is {said[:40]!r}, not a number") from None

    def floats(self, name: str) -> Floats:
        said = self.data.get(name, "").strip()
        try:
            return tuple(float(part) for part in said.split(",")) if said else ()
        except ValueError:
            raise FormatError(f"{name} of {self} are {said[:40]!r}, not numbers") from None

    def flag(self, name: str, default: bool = False) -> bool:
        said = self.data.get(name, str(default)).lower()
        if said not in ("true", "false", "1", "0"):
            raise FormatError(f"{name} of {self} is {said[:40]!r}, not true or false")
        return said in ("true", "1")

    def dtype(self, name: str, default: str | None = None) -> DType:
        """An element type. UnsupportedModel for one that the IR has no constants or values of."""
        said = self.text(name, default)
        found = known_dtype(said)
        if found is None or found is STR:
            raise UnsupportedModel(f"{self}: there is no element type {said[:40]!r}")
        return found

    def shape(self, name: str) -> Shape | None:
        """A shape with open sizes, ``?,3,1..8``; None where even the rank is open."""
        said = self.text(name).strip()
        if "..." in said:
            return None
        dims: list[DimLike] = []
        for part in said.split(",") if said else ():
            low, _, high = part.strip().partition("..")
            if low in ("?", "-1") or ".." in part:
                for bound in (low, high):
                    if bound not in ("", "?", "-1"):
                        number(bound, f"{name} of {self}")
                dims.append(fresh())
            else:
                size = number(low, f"{name} of {self}")
                if size < 0:
                    raise FormatError(f"{name} of {self} is {said[:40]!r}")
                dims.append(size)
        if len(dims) > _LONGEST_RANK:
            raise FormatError(f"{self} has {len(dims)} dimensions")
        return tuple(dims)


class Net:
    """Layers by id in the order of the file, and for each input port the output port that feeds it."""

    def __init__(self, element: Element) -> None:
        self.name = element.get("name") or ""
        self.dims = _names_of_dims(element.find("rt_info/geoc/dims"))
        self.layers: dict[int, Layer] = {}
        self.sources: dict[tuple[int, int], tuple[int, int]] = {}
        for child in _children(element, "layers", "layer"):
            layer = Layer(child)
            if layer.id in self.layers:
                raise FormatError(f"two layers have the id {layer.id}")
            self.layers[layer.id] = layer
        for edge in _children(element, "edges", "edge"):
            names = ("from-layer", "from-port", "to-layer", "to-port")
            ends = [number(edge.get(name), "an edge") for name in names]
            if ends[0] not in self.layers or ends[2] not in self.layers:
                raise FormatError(f"an edge leads from layer {ends[0]} to layer {ends[2]}, which are not both there")
            if (ends[2], ends[3]) in self.sources:
                raise FormatError(f"two edges lead to port {ends[3]} of {self.layers[ends[2]]}")
            self.sources[ends[2], ends[3]] = (ends[0], ends[1])

    @property
    def has_weights(self) -> bool:
        """True if some constant has bytes, those of bodies included."""
        return any(
            layer.element.find(".//layer[@type='Const']") is not None or layer.type == "Const"
            for layer in self.layers.values()
        )

    def ordered(self) -> list[Layer]:
        """Layers, each after those that feed it, otherwise as in the file. InvalidModel where they form a cycle."""
        before: dict[int, list[int]] = {id: [] for id in self.layers}
        for (to, _), (source, _) in self.sources.items():
            before[to].append(source)
        done: dict[int, bool] = {}  # False while what feeds it is being placed
        order: list[Layer] = []
        for start in self.layers:
            stack = [start]
            while stack:
                here = stack[-1]
                if here in done:
                    stack.pop()
                    if not done[here]:
                        done[here] = True
                        order.append(self.layers[here])
                    continue
                done[here] = False
                for source in before[here]:
                    if done.get(source) is False:
                        raise InvalidModel(f"{self.layers[source]} needs its own result: the edges form a cycle")
                    if source not in done:
                        stack.append(source)
        return order


def _names_of_dims(element: Element | None) -> dict[str, list[str]]:
    """What geoc's own writer says the sizes of inputs are called."""
    if element is None:
        return {}
    try:
        found = json.loads(element.get("value") or "")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(dims, list) for dims in found.values()):
        raise FormatError("the names of its inputs' sizes cannot be read")
    return {name: [str(dim) for dim in dims] for name, dims in found.items()}


def read_net(data: bytes) -> Net:
    """The graph of an .xml file. Raises FormatError, with the line, for what is none."""
    root = _parse(data)
    if root.tag != "net":
        raise FormatError(f"not a model of OpenVINO: it holds <{root.tag[:40]}> and not <net>")
    version = number(root.get("version"), "the version")
    if not _OLDEST <= version <= _NEWEST:
        raise UnsupportedModel(f"it has version {version} of the representation, {_OLDEST} and {_NEWEST} are known")
    return Net(root)


def _parse(data: bytes) -> Element:
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    depth = 0

    def refuse(*_: object) -> None:
        raise FormatError("it has a document type, which no model has", place=f"line {parser.CurrentLineNumber}")

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise FormatError(f"its elements are more than {_DEEPEST} deep", place=f"line {parser.CurrentLineNumber}")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise FormatError(f"not a whole .xml file: {reason}", place=f"line {error.lineno}") from None
    except (UnicodeDecodeError, ValueError, LookupError) as error:  # an encoding that it names and does not have
        raise FormatError(f"not a whole .xml file: {error}") from None
    return builder.close()


def _children(element: Element, group: str, tag: str) -> list[Element]:
    found = element.find(group)
    return [] if found is None else found.findall(tag)


def number(text: str | None, what: str) -> int:
    """A decimal number of 64 bits. FormatError, naming `what`, for anything else."""
    said = (text or "").strip()
    digits = said[1:] if said.startswith("-") else said
    if not digits.isascii() or not digits.isdigit() or len(digits) > 20 or not -(1 << 63) <= int(said) < 1 << 63:
        raise FormatError(f"{what} is {said[:40]!r}, not a number")
    return int(said)


def known_dtype(name: str) -> DType | None:
    """The element type that OpenVINO calls `name`; None for one that the IR lacks."""
    return _ODD_NAMES.get(name) or BY_NAME.get(name)


def split_names(text: str | None) -> tuple[str, ...]:
    """Names of a tensor, which commas part; a comma in a name has a backslash before it."""
    parts = (text or "").replace("\\,", "\0").split(",")
    return tuple(part.replace("\0", ",") for part in parts if part)
