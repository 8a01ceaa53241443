"""Models, graphs and single statements as `.gir` text."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from typing import Any, Literal

from ..attributes import AttrRef, EmptyList, SparseTensor
from ..collector import paused_collector
from ..core import Function, Graph, Model, Node, Value
from ..dims import Dim
from ..equal import same_attribute
from ..ops import Op
from ..quoting import quote, quote_bytes
from ..tensor import MappedFile, Tensor
from ..types import STR
from ..unknowns import dims_of
from .literals import float_text, literal_text
from .names import TYPES, Layout, TypeNames, ValueNames, spell_name

Weights = Literal["auto", "spans", "digest", "inline"]

# Elements up to which a constant is written out. In a file, where the alternative (a span) is short, only
# what people read: scalars, and integers such as axes and shapes.
INLINE = 64
INLINE_MAPPED = 16
INLINE_MAPPED_FLOATS = 4

_PLAIN_OP = re.compile(r"[A-Za-z0-9_.\-]+(?:::[A-Za-z0-9_.\-]+)?(?:@\d+)?\Z")


def print_model(
    model: Model, *, weights: Weights = "auto", full: bool = False, folder: str | None = None
) -> str:
    """The whole model as text that parses back to an equal one.

    Small constants and strings are written out. For the others `weights` says how: "auto" gives a span of
    the file a constant is in and base64 for one in memory, "inline" gives base64 always, "digest" a BLAKE2b
    digest, which keeps text independent of paths but cannot be loaded, "spans" a span where there is one and
    a digest otherwise. `folder` is where the text will
    be stored: files below it are named relative to it, others by their absolute path. `full` adds doc
    strings and metadata of graphs, nodes and values.
    """
    with paused_collector():
        return _print_model(model, weights, full, folder)


def _print_model(model: Model, weights: Weights, full: bool, folder: str | None) -> str:
    types = TypeNames()
    printer = Printer(types, weights, full, folder)
    # Unknown dimensions have to be counted everywhere before the first is printed.
    main = Layout(model.graph, types)
    layouts = [Layout(f.graph, types, f.attributes) for f in model.functions.values()]
    body: list[str] = [""]
    printer.graph(model.graph, main, body, f"graph {_graph_name(model.graph)}")
    for function, layout in zip(model.functions.values(), layouts):
        body.append("")
        docs = [f"  doc {quote(function.doc)}"] if full and function.doc else []
        printer.graph(function.graph, layout, body, printer.function_head(function), docs)
    return "\n".join([*_header(model), *printer.file_lines(), *body, ""])


def print_graph(
    graph: Graph, *, weights: Weights = "digest", full: bool = False, head: str = "graph "
) -> str:
    """One graph with everything in it, as it would stand in a model's text, without a trailing newline.

    Captured outer values are named after their hints.
    """
    lines: list[str] = []
    types = TypeNames()
    layout = Layout(graph, types)
    Printer(types, weights, full).graph(graph, layout, lines, head + _graph_name(graph))
    return "\n".join(lines)


def print_node(node: Node) -> str:
    """One statement on one line, values named after their hints; regions are only mentioned.

    Meant for messages: works on a node of a broken graph as well.
    """
    names, types = ValueNames(), TypeNames()
    for value in (*node.outputs, *node.inputs):
        if value is not None and value not in names:
            names.add(value, "value")
    if node.op.domain == "geoc" and node.op.name == "Return":
        return f"return {', '.join(names[v] for v in node.inputs)}"
    for value in node.outputs:
        if _is_type(value.type):
            types.count(value.type)
        else:
            types[value.type] = f"<{type(value.type).__name__}>"
    line = Printer(types, "digest", strict=False).statement(node, names)
    return line + "".join(f" with {spell_name(name)}" for name in node.regions)


def _is_type(value: Any) -> bool:
    dims = dims_of(value) if isinstance(value, TYPES) else ()
    return value is None or (isinstance(value, TYPES) and all(isinstance(d, (int, Dim)) for d in dims))


def _header(model: Model) -> list[str]:
    lines = ["geoc 1"]
    if model.ir_version:
        lines.append(f"ir_version {model.ir_version}")
    lines += [f"opset {quote(domain)} {version}" for domain, version in model.opsets.items()]
    lines += [
        f"info {spell_name(name)} {quote(value) if isinstance(value, str) else value}"
        for name, value in model.info.items()
    ]
    lines += [f"metadata {quote(key)} {quote(value)}" for key, value in model.metadata.items()]
    lines += [f"opaque {spell_name(name)} {_base64(data)}" for name, data in model.opaque.items()]
    return lines


def _graph_name(graph: Graph) -> str:
    return f"@{spell_name(graph.name)}" if graph.name else ""


def _base64(data: bytes | memoryview) -> str:
    return f'#base64"{base64.b64encode(data).decode()}"'


class _OpTexts(dict[Op, str]):
    def __missing__(self, op: Op) -> str:
        text = self[op] = op.key if _PLAIN_OP.match(op.key) else quote(op.key)
        return text


class Printer:
    """Writes lines; knows how constants and files are spelled."""

    def __init__(
        self,
        types: TypeNames,
        weights: Weights,
        full: bool = False,
        folder: str | None = None,
        *,
        strict: bool = True,
    ) -> None:
        self.strict = strict
        self.types = types
        self.weights = weights
        self.full = full
        self.folder = None if folder is None else os.path.realpath(folder)
        self.files: dict[MappedFile, int] = {}
        self._ops = _OpTexts()
        self._literals: dict[tuple[Any, ...], str] = {}

    def file_lines(self) -> list[str]:
        """The table of the files that were mentioned."""
        return [f"file @{index} {quote(self._path(file))}" for file, index in self.files.items()]

    def _path(self, file: MappedFile) -> str:
        path = os.path.realpath(file.path)
        if self.folder is not None and os.path.commonpath([self.folder, path]) == self.folder:
            return os.path.relpath(path, self.folder).replace(os.sep, "/")
        return path

    # Graphs

    def function_head(self, function: Function) -> str:
        names = [function.domain, function.name] + ([function.overload] if function.overload else [])
        head = " ".join(["function", *map(quote, names)])
        if function.attributes:
            parts = [
                spell_name(n) if v is None else f"{spell_name(n)}={self.attribute(v)}"
                for n, v in function.attributes.items()
            ]
            head += f" {{{', '.join(parts)}}}"
        return f"{head} {_graph_name(function.graph)}"

    def graph(
        self, root: Graph, layout: Layout, lines: list[str], head: str, docs: list[str] | None = None
    ) -> None:
        """Append a graph and everything in it, each line indented by its depth."""
        lines.append(self._head(head, root, layout, typed=True))
        lines += docs or []
        self._weights(root, layout, lines, "  ")
        names = layout.values
        stack: list[tuple[Iterator[Any], str, bool]] = [(iter(root), "  ", True)]
        while stack:
            items, indent, is_graph = stack[-1]
            for item in items:
                if not is_graph:
                    name, region = item
                    head = f"{indent}with {spell_name(name)} = {_graph_name(region)}"
                    lines.append(self._head(head, region, layout, typed=False))
                    indent += "  "
                    self._weights(region, layout, lines, indent)
                    stack.append((iter(region), indent, True))
                    break
                lines.append(indent + self.statement(item, names))
                if self.full:
                    self._node_meta(item, names, lines, indent + "  ")
                if item.regions:
                    stack.append((iter(item.regions.items()), indent + "  ", False))
                    break
            else:
                stack.pop()
                if is_graph:
                    lines.append(indent[2:] + "}")

    def _head(self, head: str, graph: Graph, layout: Layout, typed: bool) -> str:
        names, types = layout.values, self.types
        inputs: list[str] = []
        for value, name in zip(graph.inputs, graph.input_names):
            text = f"{names[value]}: {types[value.type]}{_alias(names[value], name)}"
            default = graph.defaults.get(value)
            if default is not None:
                # The type of the input need not say how large the default is.
                text += f" = {self.tensor(default) if default.type is value.type else self.attribute(default)}"
            inputs.append(text)
        outputs: list[str] = []
        for value, name in zip(graph.outputs, graph.output_names):
            text = f"{names[value]}: {types[value.type]}" if typed else names[value]
            outputs.append(text + _alias(names[value], name))
        return f"{head}({', '.join(inputs)}) -> ({', '.join(outputs)}) {{"

    def _weights(self, graph: Graph, layout: Layout, lines: list[str], indent: str) -> None:
        names, types = layout.values, self.types
        if self.full:
            lines += [f"{indent}meta {quote(k)} {quote(v)}" for k, v in (graph.meta or {}).items()]
            for value in graph.inputs:
                lines += _value_meta(value, names, indent)
        for value in layout.weights.get(graph, ()):
            assert value.const is not None
            lines.append(
                f"{indent}weight {names[value]}: {types[value.type]} = {self.tensor(value.const)}"
            )
            if self.full:
                lines += _value_meta(value, names, indent)

    def _node_meta(self, node: Node, names: ValueNames, lines: list[str], indent: str) -> None:
        lines += [f"{indent}meta {quote(k)} {quote(v)}" for k, v in (node.meta or {}).items()]
        for value in node.outputs:
            if value in names:
                lines += _value_meta(value, names, indent)

    def statement(self, node: Node, names: ValueNames, source: bool = True) -> str:
        """A node without its regions; `source`: with where it comes from."""
        outputs, types = node.outputs, self.types
        if len(outputs) == 1 and outputs[0] in names:
            value = outputs[0]
            left = f"{names[value]}: {types[value.type]}"
        else:
            left = ", ".join([self._output(v, names) for v in outputs]) or "()"
        text = f"{left} = {self._ops[node.op]}({', '.join([names[v] for v in node.inputs])})"
        if node.attrs:
            text += self._attributes(node)
        for loc in node.loc if source else ():
            text += f"  !{quote(loc)}"
        return text

    def _output(self, value: Value, names: ValueNames) -> str:
        if value not in names:
            return "_" if value.type is None else f"_: {self.types[value.type]}"
        return f"{names[value]}: {self.types[value.type]}"

    # Attributes and constants

    def _attributes(self, node: Node) -> str:
        default_of = node.op.attr_default
        parts: list[str] = []
        for name, value in sorted(node.attrs.items()):
            default = default_of(name)
            if default is None or not same_attribute(value, default):
                parts.append(f"{spell_name(name)}={self.attribute(value)}")
        return f" {{{', '.join(parts)}}}" if parts else ""

    def attribute(self, value: Any) -> str:
        """The text of an attribute's value, which tells its kind."""
        if isinstance(value, int):
            return str(int(value))
        if isinstance(value, float):
            return float_text(value)
        if isinstance(value, str):
            return quote(value)
        if isinstance(value, bytes):
            return quote_bytes(value)
        if isinstance(value, tuple):
            return f"[{', '.join(map(self.attribute, value))}]"
        if isinstance(value, EmptyList):
            return f"[]:{value.kind}"
        if isinstance(value, AttrRef):
            return f"@{spell_name(value.name)}:{value.kind}"
        if isinstance(value, Tensor):
            return f"tensor({self.types[value.type]} = {self.tensor(value)})"
        if isinstance(value, SparseTensor):
            values, indices = self.attribute(value.values), self.attribute(value.indices)
            return f"sparse({values}, {indices}, [{', '.join(map(str, value.shape))}])"
        if isinstance(value, TYPES):
            return f"type({self.types[value]})"
        if self.strict:
            raise TypeError(f"{type(value).__name__} is no attribute value of the IR")
        return f"<{type(value).__name__}>"

    def tensor(self, tensor: Tensor) -> str:
        """The right side of a weight: a literal, a repeated element, a span, base64 or a digest."""
        if tensor.splat is not None:
            return f"splat({literal_text(Tensor.from_array(tensor.splat, tensor.dtype))})"
        mapped = tensor.file is not None and tensor.file.path != "" and self.weights in ("auto", "spans")
        limit = INLINE
        if mapped:
            limit = INLINE_MAPPED_FLOATS if tensor.dtype.is_float else INLINE_MAPPED
        if tensor.size <= limit:
            text = self._literal(tensor)
            if text is not None:
                return text
        if self.weights == "digest" or (self.weights == "spans" and not mapped):
            return f"#blake2b:{tensor.digest().hex()}"
        if tensor.dtype is STR:
            text = literal_text(tensor)
            assert text is not None
            return text
        if mapped:
            assert tensor.file is not None
            index = self.files.setdefault(tensor.file, len(self.files))
            return f"@{index}[{tensor.offset}+{tensor.length}]"
        return _base64(tensor.data())

    def _literal(self, tensor: Tensor) -> str | None:
        if tensor.dtype is STR:
            return literal_text(tensor)
        key = (tensor.dtype, tensor.shape, bytes(tensor.data()))
        text = self._literals.get(key)
        if text is None:
            text = literal_text(tensor)
            if text is not None:
                self._literals[key] = text
        return text


def _alias(printed: str, name: str) -> str:
    """What follows a printed value whose contractual name is another one."""
    return "" if printed == "%" + spell_name(name) else f" as {quote(name)}"


def _value_meta(value: Value, names: ValueNames, indent: str) -> list[str]:
    return [
        f"{indent}meta {names[value]} {quote(k)} {quote(v)}" for k, v in (value.meta or {}).items()
    ]
