"""ONNX messages to IR graphs.

One scope per graph maps names to values; names mean nothing after import. Constant nodes and
initializers become constants, calls of local functions become their bodies, old operator versions
become the newest spelling of the same meaning (see `upgrade`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.attributes import AttrRef, SparseTensor
from ...ir.axes import normalize_axes
from ...ir.builder import Builder
from ...ir.core import Graph, Model, Node, Value, constant
from ...ir.errors import FormatError, InvalidModel
from ...ir.infer import infer_node, infer_nodes
from ...ir.infer.control import enter
from ...ir.ops import Op, may_be_absent, op, resolve
from ...ir.proto.messages import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    ValueInfoProto,
)
from ...ir.types import TensorType, Type, complete, is_refinement
from .attributes import AttributeReader
from .check import check_node, check_region_inputs, check_region_outputs
from .constants import constant_value, dense, splat
from .order import sort_if_needed
from .scope import ABSENT, Frame, Scope, entries, meta, opsets_of
from .tensors import TensorReader
from .types import TypeReader, without_names
from .upgrade import upgrade

MAX_IR_VERSION = 14
# A few kilobytes of functions that call each other could unfold without bound.
MAX_INLINED = 250_000
MAX_CALLS = 100
_CONSTANT = op("Constant")
_CONSTANT_OF_SHAPE = op("ConstantOfShape")
# Ops whose regions have inputs: what the bodies compute is known only after the operands are.
_LOOPS = frozenset({op("Loop"), op("Scan"), op("SequenceMap")})
_NO_BODIES: dict[str, GraphProto] = {}


class Importer:
    """Converts one ModelProto."""

    def __init__(self, proto: ModelProto, tensors: TensorReader) -> None:
        self.proto = proto
        self.tensors = tensors
        self.types = TypeReader()
        self.attributes = AttributeReader(tensors, self.types)
        self.functions = {
            (_domain(f.domain), f.name or "", f.overload or ""): f for f in proto.functions
        }
        self.ir_version = proto.ir_version or 0
        self.inlined = 0
        self.used: set[str] = set()
        self.typed = False

    def run(self) -> Model:
        """The model. Raises InvalidModel or FormatError, naming the place, for one that breaks the rules."""
        proto = self.proto
        if proto.graph is None:
            raise FormatError("not an ONNX model: it holds no graph")
        if self.ir_version > MAX_IR_VERSION:
            raise InvalidModel(
                f"IR version {self.ir_version} is newer than the newest known one, {MAX_IR_VERSION}"
            )
        opsets = opsets_of(proto.opset_import)
        if not proto.opset_import:
            opsets[""] = 1  # files of IR version 2 and older say nothing
        graph = Graph(proto.graph.name or "")
        model = Model(graph)
        model.opsets = opsets
        model.ir_version = self.ir_version
        model.metadata = entries(proto.metadata_props)
        for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
            value = getattr(proto, field)
            if value:
                model.info[field] = value
        for index, blob in enumerate(proto.training_info):
            model.opaque[f"training_info[{index}]"] = bytes(blob)
        for index, blob in enumerate(proto.configuration):
            model.opaque[f"configuration[{index}]"] = bytes(blob)
        scope = Scope(None)
        self._open(graph, proto.graph, scope)
        self._fill(graph, proto.graph, scope, Frame(opsets, {}))
        _check_names(graph)
        model.typed = self.typed
        return model

    # Graphs

    def _open(self, graph: Graph, proto: GraphProto, scope: Scope) -> None:
        """What is there before the nodes: initializers and inputs."""
        graph.meta = meta(proto.doc_string, proto.metadata_props)
        self.typed = self.typed or bool(proto.value_info)
        self._initializers(proto, scope.names, graph)
        self._inputs(graph, proto, scope.names)

    def _fill(self, graph: Graph, proto: GraphProto, scope: Scope, frame: Frame) -> None:
        """Nodes and outputs."""
        names = scope.names
        declared = {vi.name: vi for vi in proto.value_info}
        outputs = {vi.name: vi for vi in proto.output}
        builder = Builder(graph)
        for sparse in proto.sparse_initializer:
            name = (sparse.values.name if sparse.values else "") or ""
            if name not in names:
                value = self.tensors.read_sparse(sparse, f"sparse initializer {name!r}")
                names[name] = self._sparse_constant(builder, value, name)
        for node in sort_if_needed(proto.node, scope.find, self.attributes.graphs):
            self._node(builder, node, scope, frame, declared, outputs)
        results: list[Value] = []
        for vi in proto.output:
            found = scope.find(vi.name or "")
            if found is None or found is ABSENT:
                raise InvalidModel(f"graph output {vi.name!r} is not defined by any node")
            if found.const is None:
                self._declare(found, vi)
                found.meta = found.meta or meta(vi.doc_string, vi.metadata_props)
            results.append(found)
        graph.set_outputs(results, [vi.name or "" for vi in proto.output])

    def _initializers(self, proto: GraphProto, names: dict[str, Value], graph: Graph) -> None:
        for tensor in proto.initializer:
            name = tensor.name or ""
            if name in names:
                raise InvalidModel(f"initializer {name!r} is defined twice in graph {graph.name!r}")
            value = constant(self.tensors.read(tensor), name)
            value.meta = meta(tensor.doc_string, tensor.metadata_props)
            names[name] = value

    def _inputs(self, graph: Graph, proto: GraphProto, names: dict[str, Value]) -> None:
        seen: set[str] = set()
        for vi in proto.input:
            name = vi.name or ""
            if name in seen:
                raise InvalidModel(f"graph input {name!r} is declared twice")
            seen.add(name)
            weight = names.get(name)
            if weight is not None and self.ir_version < 4:
                continue  # before IR version 4 every initializer was listed as an input
            type_ = self.types.read(vi.type, f"input {name!r}")
            value = graph.add_input(name, type_)
            value.meta = meta(vi.doc_string, vi.metadata_props)
            if weight is not None:
                assert weight.const is not None
                graph.defaults[value] = weight.const
                if type_ is not None and not is_refinement(weight.type, type_):
                    raise InvalidModel(f"input {name!r} is {type_}, its initializer is {weight.type}")
                value.type = type_ or weight.type
            names[name] = value

    # Nodes

    def _node(
        self,
        builder: Builder,
        proto: NodeProto,
        scope: Scope,
        frame: Frame,
        declared: dict[str | None, ValueInfoProto],
        outputs: dict[str | None, ValueInfoProto],
    ) -> None:
        domain, name = proto.domain or "", proto.op_type or ""
        names = scope.names
        try:
            inputs = [self._operand(n, scope) if n else None for n in proto.input]
            while inputs and inputs[-1] is None:
                inputs.pop()
            if self.functions:
                function = self.functions.get((_domain(domain), name, proto.overload or ""))
                if function is not None:
                    self._inline(builder, proto, function, inputs, scope, frame, declared)
                    return
            op_ = frame.resolve(domain, name)
            attrs, bodies = self._attributes(proto, op_, frame) if proto.attribute else ({}, _NO_BODIES)
            check_node(op_, inputs, attrs, bodies, len(proto.output))
            if op_ is _CONSTANT or op_ is _CONSTANT_OF_SHAPE:
                found = self._constant(builder, op_, inputs, attrs, proto.output[0])
                if found is not None:
                    self._define(proto.output[0], found, scope)
                    return
            label = frame.prefix + proto.name if proto.name else frame.prefix[:-1]
            builder.loc = (label,) if label else ()
            results = self._results(proto, declared, outputs)
            if name == "Slice" and frame.opsets.get("") == 10:
                # At this opset onnx's own inference gives the part the name of the whole dimension.
                results[0].type = without_names(results[0].type)
            if op_.until is not None:
                op_, inputs, attrs = upgrade(builder, op_, inputs, attrs, results, self._is_used)
            while len(results) > 1 and not results[-1].hint and may_be_absent(op_, len(results) - 1):
                results.pop()
            declared_types = [value.type for value in results]
            regions = {key: Graph(body.name or "") for key, body in bodies.items()} if bodies else None
            node = Node(op_, inputs, results, attrs, regions, builder.loc)
            if proto.doc_string or proto.metadata_props:
                node.meta = meta(proto.doc_string, proto.metadata_props)
            builder.graph.insert(node, None)
            if bodies:
                self._regions(node, bodies, scope, frame)
            normalize_axes(node)
            infer_node(node)
            for output, value, type_ in zip(proto.output, results, declared_types):
                if type_ is not None and type_ is not value.type:
                    _check_kind(value.type, type_, output)
                if value.hint:
                    if output in names:
                        raise InvalidModel(f"value {output!r} is defined twice")
                    names[output] = value
        except (InvalidModel, FormatError) as error:
            if not error.place:
                label = proto.name or (proto.output[0] if proto.output else "") or "?"
                inside = f" of function {frame.calls[-1].name!r}" if frame.calls else ""
                error.place = f"node {label!r} ({name}){inside}"
            raise

    def _operand(self, name: str, scope: Scope) -> Value | None:
        found = scope.names.get(name) or scope.find(name)
        if found is None:
            raise InvalidModel(f"input {name!r} is not defined")
        return None if found is ABSENT else found

    def _define(self, name: str, value: Value, scope: Scope) -> None:
        if name:
            scope.define(name, value)
            if not value.hint:
                value.hint = name

    def _declare(self, value: Value, vi: ValueInfoProto) -> None:
        """Add what a file declares about a value to what is known; InvalidModel where the two cannot both be."""
        declared = self.types.read(vi.type, f"value {vi.name!r}")
        if declared is not None:
            _check_kind(value.type, declared, vi.name)
            value.type = complete(value.type, declared)

    def _results(
        self,
        proto: NodeProto,
        declared: dict[str | None, ValueInfoProto],
        outputs: dict[str | None, ValueInfoProto],
    ) -> list[Value]:
        """The outputs of a node with the types that the file declares; inference may know more."""
        results: list[Value] = []
        known = self.types.known
        for name in proto.output:
            vi = declared.get(name) or outputs.get(name) if name else None
            if vi is None:
                results.append(Value(None, name))
                continue
            type_ = known.get(vi.type)
            if type_ is None:
                type_ = self.types.read(vi.type, f"value {name!r}")
            value = Value(type_, name)
            if vi.metadata_props or vi.doc_string:
                value.meta = meta(vi.doc_string, vi.metadata_props)
            results.append(value)
        return results

    def _regions(
        self, node: Node, bodies: dict[str, GraphProto], scope: Scope, frame: Frame
    ) -> None:
        """Import the bodies of a node; those of loops get the types of their inputs from its operands first."""
        inner = {name: Scope(scope) for name in bodies}
        for name, body in bodies.items():
            self._open(node.regions[name], body, inner[name])
        check_region_inputs(node)
        if node.op in _LOOPS:
            enter(node)
        for name, body in bodies.items():
            self._fill(node.regions[name], body, inner[name], frame)
        check_region_outputs(node)
        if node.op in _LOOPS:
            infer_nodes([node])
            for inside in node.regions["body"].walk():
                normalize_axes(inside)

    def _attributes(
        self, proto: NodeProto, op_: Op, frame: Frame
    ) -> tuple[dict[str, Any], dict[str, GraphProto]]:
        """The attributes of a node, and its graph attributes."""
        attrs: dict[str, Any] = {}
        bodies: dict[str, GraphProto] = {}
        for attribute in proto.attribute:
            if attribute.g is not None or attribute.graphs:
                bodies.update(self.attributes.graphs(attribute))
                continue
            value = self.attributes.read(attribute, op_)
            if value.__class__ is AttrRef:
                value = self._resolve_ref(value, frame)
                if value is not None and value == op_.attr_default(attribute.name or ""):
                    value = None
            if value is not None:
                attrs[attribute.name or ""] = value
        return attrs, bodies

    def _is_used(self, name: str) -> bool:
        """True if some node or graph output of the file refers to this name, in whatever scope."""
        if not self.used:
            graphs = [self.proto.graph] if self.proto.graph is not None else []
            nodes = [n for f in self.proto.functions for n in f.node]
            self.used.update(name for f in self.proto.functions for name in f.output)
            while graphs or nodes:
                for node in nodes:
                    self.used.update(node.input)
                    graphs += [g for a in node.attribute for _, g in self.attributes.graphs(a)]
                nodes = [n for g in graphs for n in g.node]
                self.used.update(vi.name or "" for g in graphs for vi in g.output)
                graphs = []
        return name in self.used

    def _resolve_ref(self, ref: AttrRef, frame: Frame) -> Any:
        if ref.name not in frame.attributes:
            raise InvalidModel(f"attribute reference {ref.name!r} outside a function that has it")
        return frame.attributes[ref.name]

    # Constants

    def _constant(
        self, builder: Builder, op_: Op, inputs: list[Value | None], attrs: dict[str, Any], hint: str
    ) -> Value | None:
        """The value of a Constant, or of a ConstantOfShape whose shape is known; None for any other."""
        if op_ is _CONSTANT:
            found = constant_value(attrs)
            if isinstance(found, SparseTensor):
                return self._sparse_constant(builder, found, hint)
            return constant(found, hint)
        shape = inputs[0]
        repeated = None if shape is None or shape.const is None else splat(shape.const, attrs)
        return None if repeated is None else constant(repeated, hint)

    def _sparse_constant(self, builder: Builder, value: SparseTensor, name: str) -> Value:
        plain = dense(value)
        if plain is not None:
            return constant(plain, name)
        builder.loc = ()
        node = builder.node(_CONSTANT, (), {"sparse_value": value}, outputs=[name])
        return node.output

    # Functions

    def _inline(
        self,
        builder: Builder,
        call: NodeProto,
        function: FunctionProto,
        inputs: Sequence[Value | None],
        scope: Scope,
        frame: Frame,
        declared: dict[str | None, ValueInfoProto],
    ) -> None:
        """Put the body of a local function where its call stands."""
        if function in frame.calls:
            raise InvalidModel(f"function {function.name!r} calls itself")
        if len(frame.calls) == MAX_CALLS:
            raise InvalidModel(f"its functions call each other more than {MAX_CALLS} deep")
        self.inlined += len(function.node)
        if self.inlined > MAX_INLINED:
            raise InvalidModel(f"its functions unfold to more than {MAX_INLINED} nodes")
        if len(inputs) > len(function.input):
            raise InvalidModel(f"{len(inputs)} inputs for a function with {len(function.input)}")
        if len(call.output) > len(function.output):
            raise InvalidModel(f"{len(call.output)} outputs for a function with {len(function.output)}")
        body = Scope(None)
        for index, formal in enumerate(function.input):
            actual = inputs[index] if index < len(inputs) else None
            body.define(formal, ABSENT if actual is None else actual)
        inner = Frame(
            opsets_of(function.opset_import),
            self._actual_attributes(call, function, frame),
            (*frame.calls, function),
            f"{frame.prefix}{call.name}/" if call.name else frame.prefix,
        )
        inside = {vi.name: vi for vi in function.value_info}
        self.typed = self.typed or bool(inside)
        for node in sort_if_needed(function.node, body.find, self.attributes.graphs):
            self._node(builder, node, body, inner, inside, {})
        for formal, actual_name in zip(function.output, call.output):
            if not actual_name:
                continue
            result = body.find(formal)
            if result is None or result is ABSENT:
                raise InvalidModel(f"function {function.name!r} does not define its output {formal!r}")
            vi = declared.get(actual_name)
            if vi is not None and result.const is None:
                self._declare(result, vi)
            if result.producer is not None:
                result.hint = actual_name
            self._define(actual_name, result, scope)

    def _actual_attributes(
        self, call: NodeProto, function: FunctionProto, frame: Frame
    ) -> dict[str, Any]:
        opaque = resolve(function.domain or "", function.name or "?")
        values: dict[str, Any] = dict.fromkeys(function.attribute)
        for attribute in function.attribute_proto:
            values[attribute.name or ""] = self._plain(attribute, opaque, frame)
        for attribute in call.attribute:
            values[attribute.name or ""] = self._plain(attribute, opaque, frame)
        return values

    def _plain(self, attribute: AttributeProto, op_: Op, frame: Frame) -> Any:
        if attribute.ref_attr_name:
            return self._resolve_ref(AttrRef(attribute.ref_attr_name, ""), frame)
        return self.attributes.convert(attribute, self.attributes.kind(attribute))


def _domain(name: str | None) -> str:
    return "" if name is None or name == "ai.onnx" else name


def _check_kind(found: Type | None, declared: Type, name: str | None) -> None:
    """Raise InvalidModel for a value whose operator gives another element type than the file declares."""
    tensor = isinstance(found, TensorType) and isinstance(declared, TensorType)
    if tensor and found.dtype is not declared.dtype:  # type: ignore[union-attr]
        raise InvalidModel(f"value {name!r} is declared as {declared}, its operator gives {found}")


def _check_names(graph: Graph) -> None:
    """Raise InvalidModel where the main graph's interface is not one of distinct names."""
    for kind, names in (("input", graph.input_names), ("output", graph.output_names)):
        seen: set[str] = set()
        for name in names:
            if not name:
                raise InvalidModel(f"a graph {kind} has no name")
            if name in seen:
                raise InvalidModel(f"graph {kind} {name!r} is listed twice")
            seen.add(name)
