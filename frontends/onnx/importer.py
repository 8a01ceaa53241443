"""ONNX messages to IR graphs.

One scope per graph maps names to values; names mean nothing after import. Constant nodes and
initializers become constants, calls of local functions become their bodies, old operator versions
become the newest spelling of the same meaning (see `upgrade`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...ir.axes import normalize_axes
from ...ir.builder import Builder
from ...ir.core import AttrRef, Graph, Model, Node, SparseTensor, Value, constant
from ...ir.errors import FormatError, InvalidModel
from ...ir.infer import infer_node
from ...ir.ops import Op, known_opsets, op, resolve
from ...ir.proto.messages import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    StringStringEntryProto,
    ValueInfoProto,
)
from ...ir.tensor import Tensor
from ...ir.types import F32, I64, STR, Type, merge
from .attributes import AttributeReader
from .order import sort_if_needed
from .tensors import TensorReader
from .types import TypeReader
from .upgrade import upgrade

MAX_IR_VERSION = 14
# A model whose functions call each other could unfold without bound.
MAX_INLINED = 5_000_000
_CONSTANT = op("Constant")


class Scope:
    """Names of one graph, and the scope around it."""

    __slots__ = ("names", "outer")

    def __init__(self, outer: Scope | None) -> None:
        self.names: dict[str, Value] = {}
        self.outer = outer

    def find(self, name: str) -> Value | None:
        scope: Scope | None = self
        while scope is not None:
            found = scope.names.get(name)
            if found is not None:
                return found
            scope = scope.outer
        return None


class Frame:
    """What differs between the main graph and the body of a function being inlined."""

    __slots__ = ("opsets", "attributes", "calls", "ops")

    def __init__(
        self, opsets: dict[str, int], attributes: dict[str, Any], calls: tuple[FunctionProto, ...]
    ) -> None:
        self.opsets = opsets
        self.attributes = attributes
        self.calls = calls
        self.ops: dict[tuple[str, str], Op] = {}

    def resolve(self, domain: str, name: str) -> Op:
        found = self.ops.get((domain, name))
        if found is None:
            if domain == "ai.onnx":
                domain = ""
            opset = self.opsets.get(domain, 1 if domain == "" else None)
            found = self.ops[domain, name] = resolve(domain, name, opset)
        return found


class Importer:
    """Converts one ModelProto."""

    def __init__(self, proto: ModelProto, tensors: TensorReader) -> None:
        self.proto = proto
        self.tensors = tensors
        self.types = TypeReader()
        self.attributes = AttributeReader(tensors, self.types)
        self.functions = {
            (f.domain or "", f.name or "", f.overload or ""): f for f in proto.functions
        }
        self.ir_version = proto.ir_version or 0
        self.inlined = 0

    def run(self) -> Model:
        """The model. Raises InvalidModel or FormatError, naming the place, for one that breaks the rules."""
        proto = self.proto
        if proto.graph is None:
            raise FormatError("not an ONNX model: it holds no graph")
        if self.ir_version > MAX_IR_VERSION:
            raise InvalidModel(
                f"IR version {self.ir_version} is newer than the newest known one, {MAX_IR_VERSION}"
            )
        opsets = _opsets(proto.opset_import)
        graph = Graph(proto.graph.name or "")
        model = Model(graph)
        model.opsets = opsets
        model.ir_version = self.ir_version
        model.typed = bool(proto.graph.value_info)
        model.metadata = _entries(proto.metadata_props)
        for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
            value = getattr(proto, field)
            if value:
                model.info[field] = value
        for index, blob in enumerate(proto.training_info):
            model.opaque[f"training_info[{index}]"] = bytes(blob)
        for index, blob in enumerate(proto.configuration):
            model.opaque[f"configuration[{index}]"] = bytes(blob)
        self._graph(graph, proto.graph, Scope(None), Frame(opsets, {}, ()))
        return model

    # Graphs

    def _graph(self, graph: Graph, proto: GraphProto, scope: Scope, frame: Frame) -> None:
        names = scope.names
        graph.meta = _meta(proto.doc_string, proto.metadata_props)
        self._initializers(proto, names, graph)
        self._inputs(graph, proto, names)
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
            if found is None:
                raise InvalidModel(f"graph output {vi.name!r} is not defined by any node")
            if found.const is None:
                found.type = merge(found.type, self.types.read(vi.type, f"output {vi.name!r}"))
                found.meta = found.meta or _meta(vi.doc_string, vi.metadata_props)
            results.append(found)
        graph.set_outputs(results, [vi.name or "" for vi in proto.output])

    def _initializers(self, proto: GraphProto, names: dict[str, Value], graph: Graph) -> None:
        for tensor in proto.initializer:
            name = tensor.name or ""
            if name in names:
                raise InvalidModel(f"initializer {name!r} is defined twice in graph {graph.name!r}")
            value = constant(self.tensors.read(tensor), name)
            value.meta = _meta(tensor.doc_string, tensor.metadata_props)
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
            value.meta = _meta(vi.doc_string, vi.metadata_props)
            if weight is not None:
                assert weight.const is not None
                graph.defaults[value] = weight.const
                value.type = merge(type_, weight.type)
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
        try:
            inputs = [self._operand(n, scope) if n else None for n in proto.input]
            while inputs and inputs[-1] is None:
                inputs.pop()
            if self.functions:
                function = self.functions.get((domain, name, proto.overload or ""))
                if function is not None:
                    self._inline(builder, proto, function, inputs, scope, frame, declared)
                    return
            op_ = frame.resolve(domain, name)
            if op_ is _CONSTANT:
                self._define(proto.output[0], self._constant(builder, proto, frame), scope)
                return
            attrs, regions = self._attributes(proto, op_, scope, frame)
            builder.loc = (proto.name,) if proto.name else ()
            node = self._create(builder, op_, inputs, attrs, regions, proto, declared, outputs)
            node.meta = _meta(proto.doc_string, proto.metadata_props)
            for output, value in zip(proto.output, node.outputs):
                if output:
                    self._define(output, value, scope)
        except (InvalidModel, FormatError) as error:
            if not error.place:
                error.place = f"node {proto.name or (proto.output and proto.output[0]) or '?'!r} ({name})"
            raise

    def _operand(self, name: str, scope: Scope) -> Value:
        found = scope.names.get(name) or scope.find(name)
        if found is None:
            raise InvalidModel(f"input {name!r} is not defined")
        return found

    def _define(self, name: str, value: Value, scope: Scope) -> None:
        if name in scope.names:
            raise InvalidModel(f"value {name!r} is defined twice")
        scope.names[name] = value
        if not value.hint:
            value.hint = name

    def _create(
        self,
        builder: Builder,
        op_: Op,
        inputs: list[Value | None],
        attrs: dict[str, Any],
        regions: dict[str, Graph] | None,
        proto: NodeProto,
        declared: dict[str | None, ValueInfoProto],
        outputs: dict[str | None, ValueInfoProto],
    ) -> Node:
        """A node with the declared types of its outputs, or inferred ones where any is missing."""
        results: list[Value] = []
        complete = True
        for name in proto.output:
            vi = declared.get(name) or outputs.get(name)
            type_ = self.types.read(vi.type, f"value {name!r}") if vi is not None else None
            value = Value(type_, name)
            if vi is not None and (vi.metadata_props or vi.doc_string):
                value.meta = _meta(vi.doc_string, vi.metadata_props)
            if name and (type_ is None or getattr(type_, "shape", ()) is None):
                complete = False
            results.append(value)
        if op_.until is not None:
            op_, inputs, attrs = upgrade(builder, op_, inputs, attrs, len(results))
        node = Node(op_, inputs, results, attrs, regions, builder.loc)
        builder.graph.insert(node, None)
        normalize_axes(node)
        if not complete:
            infer_node(node)
        return node

    def _attributes(
        self, proto: NodeProto, op_: Op, scope: Scope, frame: Frame
    ) -> tuple[dict[str, Any], dict[str, Graph] | None]:
        attrs: dict[str, Any] = {}
        regions: dict[str, Graph] | None = None
        for attribute in proto.attribute:
            if attribute.g is not None or attribute.graphs:
                regions = regions or {}
                for name, body in self.attributes.graphs(attribute):
                    graph = Graph(body.name or "")
                    regions[name] = graph
                    self._graph(graph, body, Scope(scope), frame)
                continue
            value = self.attributes.read(attribute, op_)
            if value.__class__ is AttrRef:
                value = self._resolve_ref(value, frame)
                if value is not None and value == op_.attr_default(attribute.name or ""):
                    value = None
            if value is not None:
                attrs[attribute.name or ""] = value
        return attrs, regions

    def _resolve_ref(self, ref: AttrRef, frame: Frame) -> Any:
        if ref.name not in frame.attributes:
            raise InvalidModel(f"attribute reference {ref.name!r} outside a function that has it")
        return frame.attributes[ref.name]

    # Constants

    def _constant(self, builder: Builder, proto: NodeProto, frame: Frame) -> Value:
        if len(proto.attribute) != 1 or len(proto.output) != 1:
            raise InvalidModel("a Constant has exactly one value and one output")
        attribute = proto.attribute[0]
        name = attribute.name or ""
        value = self.attributes.read(attribute, _CONSTANT)
        if value.__class__ is AttrRef:
            value = self._resolve_ref(value, frame)
        hint = proto.output[0]
        if isinstance(value, SparseTensor):
            return self._sparse_constant(builder, value, hint)
        if isinstance(value, Tensor):
            return constant(value, hint)
        if name in ("value_string", "value_strings"):
            items = [value] if name == "value_string" else list(value)
            flat = [s.encode() if isinstance(s, str) else s for s in items]
            shape: tuple[int, ...] = () if name == "value_string" else (len(flat),)
            return constant(Tensor(STR, shape, data=flat), hint)
        dtype = {"value_float": F32, "value_floats": F32, "value_int": I64, "value_ints": I64}.get(name)
        if dtype is None:
            raise InvalidModel(f"a Constant cannot have the attribute {name!r}")
        if value is None:
            value = ()
        return constant(Tensor.of(list(value) if name.endswith("s") else value, dtype), hint)

    def _sparse_constant(self, builder: Builder, value: SparseTensor, name: str) -> Value:
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
        self.inlined += len(function.node)
        if self.inlined > MAX_INLINED:
            raise InvalidModel(f"its functions unfold to more than {MAX_INLINED} nodes")
        if len(inputs) > len(function.input):
            raise InvalidModel(f"{len(inputs)} inputs for a function with {len(function.input)}")
        body = Scope(None)
        for index, formal in enumerate(function.input):
            actual = inputs[index] if index < len(inputs) else None
            if actual is not None:
                body.names[formal] = actual
        missing = {
            formal for index, formal in enumerate(function.input)
            if index >= len(inputs) or inputs[index] is None
        }  # fmt: skip
        inner = Frame(
            _opsets(function.opset_import),
            self._actual_attributes(call, function, frame),
            (*frame.calls, function),
        )
        inside = {vi.name: vi for vi in function.value_info}
        for node in sort_if_needed(
            function.node, lambda n: body.find(n) or (n in missing) or None, self.attributes.graphs
        ):
            if missing and any(name in missing for name in node.input):
                node = _without_inputs(node, missing)
            self._node(builder, node, body, inner, inside, {})
        for formal, actual_name in zip(function.output, call.output):
            if not actual_name:
                continue
            result = body.find(formal)
            if result is None:
                raise InvalidModel(f"function {function.name!r} does not define its output {formal!r}")
            vi = declared.get(actual_name)
            if vi is not None and result.const is None:
                result.type = merge(result.type, self.types.read(vi.type, f"value {actual_name!r}"))
            if result.producer is not None:
                result.hint = actual_name
            self._define(actual_name, result, scope)

    def _actual_attributes(
        self, call: NodeProto, function: FunctionProto, frame: Frame
    ) -> dict[str, Any]:
        opaque = resolve(function.domain or "", function.name or "?")
        values: dict[str, Any] = {name: None for name in function.attribute}
        for attribute in function.attribute_proto:
            values[attribute.name or ""] = self._plain(attribute, opaque, frame)
        for attribute in call.attribute:
            values[attribute.name or ""] = self._plain(attribute, opaque, frame)
        return values

    def _plain(self, attribute: AttributeProto, op_: Op, frame: Frame) -> Any:
        if attribute.ref_attr_name:
            return self._resolve_ref(AttrRef(attribute.ref_attr_name, ""), frame)
        return self.attributes.convert(attribute, self.attributes.kind(attribute))


def _without_inputs(node: NodeProto, missing: set[str]) -> NodeProto:
    """A copy of a node without the operands that the caller of its function left out."""
    copy = NodeProto(
        input=["" if name in missing else name for name in node.input],
        output=node.output,
        name=node.name,
        op_type=node.op_type,
        attribute=node.attribute,
        domain=node.domain,
        overload=node.overload,
    )
    return copy


def _opsets(imports: Iterable[Any]) -> dict[str, int]:
    result: dict[str, int] = {}
    for entry in imports:
        domain = entry.domain or ""
        if domain == "ai.onnx":
            domain = ""
        version = entry.version or 0
        known = known_opsets(domain)
        if known is not None and version > known[1]:
            shown = domain or "ai.onnx"
            raise InvalidModel(f"opset {version} of {shown} is newer than the newest known one, {known[1]}")
        result[domain] = max(version, result.get(domain, 0))
    return result


def _entries(entries: Sequence[StringStringEntryProto]) -> dict[str, str]:
    return {e.key or "": e.value or "" for e in entries}


def _meta(doc: str | None, entries: Sequence[StringStringEntryProto]) -> dict[str, str] | None:
    if not doc and not entries:
        return None
    meta = _entries(entries)
    if doc:
        meta["doc_string"] = doc
    return meta


