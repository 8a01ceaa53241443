"""Builds a model while its `.gir` text is being parsed."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from ..core import Function, Graph, Model, Node, Value
from ..equal import same_attribute
from ..errors import GeocError, TextError
from ..ops import Op, resolve_key
from ..types import Type, render_type
from .lines import LOCATION, STATEMENT, TARGETS, WEIGHT, Lines
from .literals import parse_float
from .names import spell_name
from .statement import Signature, Statement, text_of
from .types import Fault
from .weights import Payloads

VERSION = 1


def _no(text: str, at: int) -> None:
    """A pattern that matches nothing."""


class _Frame:
    """A graph that is being read."""

    __slots__ = ("graph", "results", "head", "names", "node")

    def __init__(
        self, graph: Graph, results: list[tuple[str, Type | None, str | None]], head: Any
    ) -> None:
        self.graph = graph
        self.results = results
        self.head = head  # its first line
        self.names: list[str] = []
        self.node: Node | None = None


class ModelReader:
    """The callbacks of gir.lark, which run in the order of the text; `model` is what they have read."""

    def __init__(self, lines: Lines, payloads: Payloads, source: str) -> None:
        self.lines = lines
        self.payloads = payloads
        self.source = source
        self.model = Model(Graph())
        self.model.source = source
        self.model.typed = True  # a text says the type of every value
        self.current_function: Function
        self.frames: list[_Frame] = []
        # Everything visible, by the text of its name.
        self.values: dict[str, Value | None] = {"none": None}
        self.ops: dict[str, Op] = {}
        # Attributes of an operator, by their text.
        self.attributes: dict[tuple[Op, str], dict[str, Any]] = {}
        self.versioned = False

    def _error(self, error: Fault | GeocError, text: str, line: int) -> GeocError:
        """The error to raise for a fault in the line `text`."""
        text = text.rstrip("\n")
        if isinstance(error, Fault):
            column = error.column if error.column >= 0 else max(text.find(error.needle), 0)
            return TextError(str(error), source=self.source, place=f"{line}:{column + 1}")
        if not error.source and not error.place:
            column = len(text) - len(text.lstrip())
            error.source, error.place = self.source, f"{line}:{column + 1}"
        return error

    # Header

    def header(self, items: list[Any]) -> None:
        token = items[0]
        try:
            kind, *fields = self.lines.by_grammar("header", str(token))
            if (kind == "geoc") == self.versioned:
                raise Fault("a text begins with one line 'geoc 1'")
            self._header(kind, fields)
        except (Fault, GeocError) as error:
            raise self._error(error, token, token.line) from None

    def _header(self, kind: str, fields: list[Any]) -> None:
        model = self.model
        if kind == "geoc":
            if fields[0] != VERSION:
                raise Fault(f"version {fields[0]} of the text form is not known, only {VERSION}")
            self.versioned = True
        elif kind == "ir_version":
            model.ir_version = fields[0]
        elif kind == "opaque":
            try:
                model.opaque[fields[0]] = base64.b64decode(fields[1][8:-1], validate=True)
            except binascii.Error as error:
                raise Fault(f"broken base64: {error}", fields[1]) from None
        else:
            tables: dict[str, dict[Any, Any]] = {
                "opset": model.opsets, "info": model.info, "metadata": model.metadata,
                "file": self.payloads.names,
            }  # fmt: skip
            table = tables[kind]
            if fields[0] in table:
                raise Fault(f"{kind} {fields[0]!r} is given twice")
            table[fields[0]] = fields[1]

    # Graphs

    def open_graph(self, items: list[Any]) -> None:
        token = items[0]
        try:
            if not self.versioned:
                raise Fault("a text begins with the line 'geoc 1'")
            self._open(self.model.graph, self.lines.signature(str(token), "open_graph"), token)
        except (Fault, GeocError) as error:
            raise self._error(error, token, token.line) from None

    def open_function(self, items: list[Any]) -> None:
        token = items[0]
        try:
            names, parameters, signature = self.lines.signature(str(token), "open_function")
            domain, name, overload = [*names, ""][:3]
            function = Function(domain, name, Graph(), overload)
            function.attributes = parameters
            if (domain, name, overload) in self.model.functions:
                raise Fault(f"function {domain}::{name} is defined twice")
            self.model.functions[domain, name, overload] = function
            self.current_function = function
            self._open(function.graph, signature, token)
        except (Fault, GeocError) as error:
            raise self._error(error, token, token.line) from None

    def open_region(self, items: list[Any]) -> None:
        token = items[0]
        try:
            name, signature = self.lines.signature(str(token), "open_region")
            node = self.frames[-1].node
            if node is None:
                raise Fault("a region follows the statement it belongs to")
            if name in node.regions:
                raise Fault(f"region {name} is given twice", name)
            graph = Graph()
            graph.parent = node
            node.regions = {**node.regions, name: graph}
            self._open(graph, signature, token)
        except (Fault, GeocError) as error:
            raise self._error(error, token, token.line) from None

    def _open(self, graph: Graph, signature: Signature, token: Any) -> None:
        graph.name = signature.name
        frame = _Frame(graph, signature.outputs, token)
        self.frames.append(frame)
        for text, type_, alias, default in signature.inputs:
            key, hint = self._new_name(text)
            value = self.values[key] = graph.add_input(hint if alias is None else alias, type_)
            value.hint = hint
            if default is not None:
                graph.defaults[value] = default

    def close(self, items: list[Any]) -> None:
        frame = self.frames.pop()
        try:
            values: list[Value] = []
            names: list[str] = []
            for text, type_, alias in frame.results:
                value = self._use(text)
                if type_ is not None:
                    _check_type(value, type_, text)
                values.append(value)
                names.append(value.hint if alias is None else alias)
            frame.graph.set_outputs(values, names)
        except Fault as fault:
            raise self._error(fault, frame.head, frame.head.line) from None
        for name in frame.names:
            del self.values[name]

    def doc(self, items: list[Any]) -> None:
        try:
            self.current_function.doc = self.lines.by_grammar("doc", str(items[0]))
        except Fault as fault:
            raise self._error(fault, items[0], items[0].line) from None

    # Values and statements

    def _new_name(self, text: str) -> tuple[str, str]:
        """The key under which a new value is kept, and its hint."""
        key, hint = text, text[1:]
        if hint[0] == '"':
            hint = text_of(hint)
            key = "%" + spell_name(hint)
        if key in self.values:
            raise Fault(f"{text} is defined twice", text)
        self.frames[-1].names.append(key)
        return key, hint

    def _define(self, text: str, type_: Type | None) -> Value:
        key, hint = self._new_name(text)
        value = self.values[key] = Value(type_, hint)
        return value

    def _use(self, text: str) -> Value:
        found = self.values.get(text)
        if found is None and text[1] == '"':
            found = self.values.get("%" + spell_name(text_of(text[1:])))
        if found is None:
            raise Fault(f"{text} is not defined here", text)
        return found

    def block(self, items: list[Any]) -> None:
        """A run of lines: statements, weights and metadata."""
        token = items[0]
        text = str(token)
        end = len(text)
        statement_at, weight_at = (STATEMENT.match, WEIGHT.match) if self.lines.fast else (_no, _no)
        at = 0
        try:
            while at < end:
                found = statement_at(text, at)
                if found is not None and self._statement(*found.groups()):
                    at = found.end()
                    continue
                if found is None:
                    found = weight_at(text, at)
                    if found is not None and self._weight(*found.groups()):
                        at = found.end()
                        continue
                stop = text.index("\n", at) + 1
                self._line(text[at:stop])
                at = stop
        except (Fault, GeocError) as error:
            line = text[at : text.index("\n", at)]
            raise self._error(error, line, token.line + text.count("\n", 0, at)) from None

    def _statement(
        self,
        name: str,
        type_text: str,
        more: str,
        key: str,
        operands: str,
        attributes: str | None,
        loc: str,
    ) -> bool:
        """Add a node of the common kind; False where anything is new or wrong and needs a closer look."""
        values = self.values
        types = self.lines.types
        op = self.ops.get(key)
        if op is None or name in values:
            return False
        inputs: list[Value | None] = []
        if operands:
            for text in operands.split(", "):
                operand = values.get(text, op)
                if operand is op:
                    return False
                inputs.append(operand)  # type: ignore[arg-type]
        attrs: dict[str, Any] = {}
        if attributes is not None:
            known = self.attributes.get((op, attributes))
            if known is None:
                return False
            attrs = known.copy()
        outputs = [self._define(name, types.tensor(type_text))]
        if more:
            outputs += [self._define(n, types.tensor(t)) for n, t in TARGETS.findall(more)]
        where: tuple[str, ...] = ()
        if loc:
            where = tuple(map(text_of, LOCATION.findall(loc)))
        frame = self.frames[-1]
        frame.node = frame.graph.append(Node(op, inputs, outputs, attrs, None, where))
        return True

    def _weight(self, text: str, type_text: str, payload: str) -> bool:
        tensor = self.lines.constant(type_text, payload.rstrip(" \t\r"))
        if tensor is None:
            return False
        self._define(text, tensor.type).const = tensor
        self.frames[-1].node = None
        return True

    def _line(self, line: str) -> None:
        """Read one line by the full grammar."""
        start = line.lstrip(" \t")
        if start.startswith("weight"):
            text, tensor = self.lines.by_grammar("define_weight", line)
            self._define(text, tensor.type).const = tensor
            self.frames[-1].node = None
        elif start.startswith("meta"):
            self._meta(*self.lines.by_grammar("meta", line))
        elif start[0] in "%_(":
            self._full_statement(self.lines.by_grammar("statement", line), line)

    def _full_statement(self, found: Statement, line: str) -> None:
        targets, key, operands, attributes, loc = found
        op = self.ops.get(key)
        if op is None:
            op = self.ops[key] = resolve_key(key)
        inputs = [None if text == "none" else self._use(text) for text in operands]
        outputs = [
            Value(type_, "") if text is None else self._define(text, type_) for text, type_ in targets
        ]
        attrs = _attributes(op, attributes) if attributes else {}
        if attributes:
            matched = STATEMENT.match(line)
            if matched is not None:
                self.attributes[op, matched[6]] = attrs.copy()
        frame = self.frames[-1]
        frame.node = frame.graph.append(Node(op, inputs, outputs, attrs, None, loc))

    def _meta(self, name: str | None, key: str, text: str) -> None:
        frame = self.frames[-1]
        target: Any = self._use(name) if name is not None else frame.node or frame.graph
        if target.meta is None:
            target.meta = {}
        if key in target.meta:
            raise Fault(f"meta {key!r} is given twice")
        target.meta[key] = text

    # Rules of several lines: what they hold has been dealt with line by line.

    def start(self, items: list[Any]) -> None:
        return None

    graph = function = region = start


def _attributes(op: Op, given: dict[str, Any]) -> dict[str, Any]:
    """Attributes as the IR keeps them: floats where the schema wants floats, defaults dropped."""
    result: dict[str, Any] = {}
    for name, value in given.items():
        kind = op.attr_kind(name)
        if kind == "float" and value.__class__ is int:
            value = parse_float(str(value))
        elif kind == "floats" and value.__class__ is tuple:
            value = tuple([parse_float(str(v)) if v.__class__ is int else v for v in value])
        if not same_attribute(value, op.attr_default(name)):
            result[name] = value
    return result


def _check_type(value: Value, declared: Type, text: str) -> None:
    """An output's type stands in the head of its graph as well; both must say the same."""
    if value.type is None:
        value.type = declared
    elif value.type is not declared and _anonymous(value.type) != _anonymous(declared):
        raise Fault(f"{text} is {value.type}, the graph declares {declared}", text)


def _anonymous(type_: Type) -> str:
    return render_type(type_, lambda atom: "?" if atom.is_unknown else spell_name(atom.name))
