"""IR to ONNX messages.

Constants become initializers of the innermost graph that encloses all their uses (Constant nodes in function bodies,
which have no initializers). Values get unique names in one walk; graph inputs and outputs keep theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ...ir.attributes import AttrRef, EmptyList, SparseTensor
from ...ir.core import Function, Graph, Model, Node, Value
from ...ir.ops import Op, may_be_absent, op
from ...ir.proto.messages import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    SparseTensorProto,
    StringStringEntryProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
)
from ...ir.tensor import Tensor, int_tensor
from .downgrade import Spelling, used_outputs
from .names import Names, node_names
from .opset import OpsetChoice
from .types import TypeWriter

# AttributeProto.AttributeType
_KIND = {
    "float": 1, "int": 2, "string": 3, "tensor": 4, "graph": 5, "floats": 6, "ints": 7, "strings": 8,
    "tensors": 9, "graphs": 10, "sparse_tensor": 11, "sparse_tensors": 12, "type_proto": 13,
    "type_protos": 14,
}  # fmt: skip
_LISTED = re.compile(r"(.*)\[\d+\]\Z")
# A repeated element is written as ConstantOfShape (from opset 9 on) where that takes less room.
_CONSTANT_OF_SHAPE = 9
_SPLAT_BYTES = 128
_ATTENTION = op("Attention")
_CONSTANT = op("Constant")

Place = Callable[[TensorProto, Tensor], None]
"""Puts a tensor's payload where the file will have it: raw_data, string_data or external_data."""


class Writer:
    """Builds the ModelProto of one model."""

    def __init__(self, model: Model, choice: OpsetChoice, place: Place) -> None:
        self.model = model
        self.spellings: Mapping[Node, Spelling] = choice.spellings
        self.opsets = choice.opsets
        self.place = place
        self.names: dict[Value, str] = {}
        self.unique = Names()
        self.node_names = node_names(model)
        self._type = TypeWriter().write
        self._homes: dict[Graph, list[Value]] = {}
        self._attributes: dict[tuple[str, str | None, Any], AttributeProto] = {}
        self._declare = model.typed

    def run(self, ir_version: int, metadata: Mapping[str, str]) -> ModelProto:
        """The message, with this metadata. Payloads inside are what `place` put there."""
        model = self.model
        info = model.info
        graph = self._main(model.graph)
        functions = [self._function(f) for f in model.functions.values()]
        return ModelProto(
            ir_version=ir_version,
            producer_name=info.get("producer_name"),
            producer_version=info.get("producer_version"),
            domain=info.get("domain"),
            model_version=info.get("model_version"),
            doc_string=info.get("doc_string"),
            graph=graph,
            opset_import=[
                OperatorSetIdProto(domain=domain, version=version)
                for domain, version in self.opsets.items()
            ],
            metadata_props=_entries(metadata),
            training_info=[v for k, v in model.opaque.items() if k.startswith("training_info")],
            configuration=[v for k, v in model.opaque.items() if k.startswith("configuration")],
            functions=functions,
        )

    # Names

    def _main(self, graph: Graph) -> GraphProto:
        for name in (*graph.input_names, *graph.output_names):
            self.unique.reserve(name)
        for value, name in zip(graph.inputs, graph.input_names):
            self.names[value] = name
        self._find_homes(graph)
        given = set(graph.input_names)
        for value, name in zip(graph.outputs, graph.output_names):
            # The first output that a value is returned as names it; others are copies.
            if value not in self.names and name not in given:
                self.names[value] = name
                given.add(name)
        return self._graph(graph, is_main=True)

    def _name(self, value: Value) -> str:
        found = self.names.get(value)
        if found is None:
            found = self.names[value] = self.unique.unique(value.hint)
        return found

    def _find_homes(self, root: Graph) -> None:
        """For each constant, the innermost graph around all its uses."""
        depth: dict[Graph, int] = {}
        home: dict[Value, Graph] = {}
        for graph in root.graphs():
            above = graph.parent.graph if graph.parent is not None else None
            depth[graph] = depth[above] + 1 if above is not None else 0
            for node in [*graph, graph.ret]:
                spelled = self.spellings.get(node)
                for value in spelled.inputs if spelled is not None else node.inputs:
                    if value is not None and value.const is not None:
                        known = home.get(value)
                        if known is not graph:
                            home[value] = graph if known is None else _meet(known, graph, depth)
        for value, graph in home.items():
            self._homes.setdefault(graph, []).append(value)

    # Graphs

    def _graph(self, graph: Graph, is_main: bool = False) -> GraphProto:
        proto = GraphProto(name=graph.name or "graph")
        if not is_main:
            for value in graph.inputs:
                self._name(value)
        proto.input = [self._value_info(self.names[v], v) for v in graph.inputs]
        nodes: list[NodeProto] = []
        initializers: list[TensorProto] = []
        shapes: dict[tuple[int, ...], str] = {}
        for value in self._homes.get(graph, ()):
            assert value.const is not None
            if self._is_splat(value.const):
                nodes.append(self._splat(value, shapes, initializers))
            else:
                initializers.append(self._tensor(value.const, self._name(value), value.meta))
        initializers += [self._tensor(t, self.names[v], None) for v, t in graph.defaults.items()]
        proto.initializer = initializers
        stored = self._sparse_constants(graph) if is_main else {}
        proto.sparse_initializer = [self._sparse(s, self._name(node.output)) for node, s in stored.items()]
        nodes += [self._node(node) for node in graph if node not in stored]
        proto.output = self._outputs(graph, nodes, is_main)
        proto.node = nodes
        returned = {vi.name for vi in proto.output}
        proto.value_info = [
            self._value_info(self.names[v], v)
            for v in self._declared(graph)
            if v in self.names and v.type is not None and self.names[v] not in returned and v.producer not in stored
        ]
        if graph.meta:
            proto.doc_string, proto.metadata_props = _split_meta(graph.meta)
        return proto

    @staticmethod
    def _sparse_constants(graph: Graph) -> dict[Node, SparseTensor]:
        """Constants that can be initializers, whose numbers may lie in a data file: those of attributes may not."""
        found = {}
        for node in graph.index.get(_CONSTANT, ()):
            value = node.attrs.get("sparse_value")
            if isinstance(value, SparseTensor) and node.output not in graph.outputs:
                found[node] = value
        return found

    def _declared(self, graph: Graph) -> list[Value]:
        """The values whose types the file declares: all where the source did, else those that are asked for.

        onnxruntime 1.31 takes an unknown last dimension of an operand of Attention for zero.
        """
        if self._declare:
            return [value for node in graph for value in node.outputs]
        wanted = {v: None for node in graph.index.get(_ATTENTION, ()) for v in node.inputs if v is not None}
        return [value for value in wanted if value.producer is not None and value.producer.graph is graph]

    def _outputs(self, graph: Graph, nodes: list[NodeProto], is_main: bool) -> list[ValueInfoProto]:
        result: list[ValueInfoProto] = []
        seen: set[str] = set()
        own_constants = () if is_main else self._homes.get(graph, ())
        for value, wanted in zip(graph.outputs, graph.output_names):
            name = self._name(value)
            if is_main:
                copy = name != wanted
                target = wanted
            else:
                # onnxruntime wants a subgraph's results to be its own, and gives garbage for one returned twice.
                own = value.scope is graph and not _is_overwritten(value)
                copy = name in seen or not (own or value in own_constants)
                target = self.unique.unique(wanted) if copy else name
            if copy:
                nodes.append(NodeProto(op_type="Identity", input=[name], output=[target]))
            seen.add(target)
            result.append(self._value_info(target, value))
        return result

    def _value_info(self, name: str, value: Value) -> ValueInfoProto:
        info = ValueInfoProto(name=name, type=self._type(value.type))
        if value.meta:
            info.doc_string, info.metadata_props = _split_meta(value.meta)
        return info

    # Nodes

    def _node(self, node: Node) -> NodeProto:
        spelled = self.spellings.get(node)
        op = node.op if spelled is None else spelled.op
        inputs = node.inputs if spelled is None else spelled.inputs
        attrs = node.attrs if spelled is None else spelled.attrs
        names = self.names
        outputs: list[str] = []
        for value in node.outputs[: used_outputs(node)]:
            absent = not value.uses and not value.hint and may_be_absent(op, value.index)
            outputs.append("" if absent else self._name(value))
        proto = NodeProto(
            op_type=op.name,
            input=["" if v is None else names.get(v) or self._name(v) for v in inputs],
            output=outputs,
        )
        if op.schema is not None and len(inputs) < op.schema.min_inputs:
            proto.input = [*proto.input, *[""] * (op.schema.min_inputs - len(inputs))]
        if op.domain:
            proto.domain = op.domain
        if node.loc:
            proto.name = self.node_names[node]
        if attrs:
            proto.attribute = [self._attribute(name, attrs[name], op) for name in sorted(attrs)]
        if node.regions:
            proto.attribute = [*proto.attribute, *self._regions(node)]
        if node.meta:
            proto.doc_string, proto.metadata_props = _split_meta(node.meta)
        return proto

    def _is_splat(self, tensor: Tensor) -> bool:
        return (
            tensor.splat is not None
            and tensor.length > _SPLAT_BYTES
            and self.opsets[""] >= _CONSTANT_OF_SHAPE
        )

    def _splat(
        self, value: Value, shapes: dict[tuple[int, ...], str], initializers: list[TensorProto]
    ) -> NodeProto:
        """A constant of one repeated element as ConstantOfShape; its shape becomes an initializer."""
        tensor = value.const
        assert tensor is not None and tensor.splat is not None
        name = shapes.get(tensor.shape)
        if name is None:
            name = self.unique.unique(f"shape_{'x'.join(map(str, tensor.shape))}")
            shapes[tensor.shape] = name
            initializers.append(self._tensor(int_tensor(tensor.shape), name, None))
        element = Tensor.from_array(tensor.splat.reshape(1), tensor.dtype)
        attribute = AttributeProto(
            name="value", type=_KIND["tensor"], t=self._tensor(element, "", None)
        )
        return NodeProto(
            op_type="ConstantOfShape", input=[name], output=[self._name(value)], attribute=[attribute]
        )

    def _regions(self, node: Node) -> list[AttributeProto]:
        result: dict[str, AttributeProto] = {}
        for name, graph in node.regions.items():
            listed = _LISTED.match(name)
            if listed is None:
                result[name] = AttributeProto(name=name, type=_KIND["graph"], g=self._graph(graph))
                continue
            found = result.setdefault(
                listed[1], AttributeProto(name=listed[1], type=_KIND["graphs"], graphs=[])
            )
            found.graphs = [*found.graphs, self._graph(graph)]
        return list(result.values())

    def _attribute(self, name: str, value: Any, op: Op) -> AttributeProto:
        kind = op.attr_kind(name)
        plain = value.__class__ in (int, str, float) or (
            value.__class__ is tuple and all(v.__class__ in (int, str) for v in value)
        )
        key = (name, kind, (value.__class__, value)) if plain else None
        if key is not None:
            found = self._attributes.get(key)
            if found is not None:
                return found
        proto = self._make_attribute(name, value, kind)
        if key is not None:
            self._attributes[key] = proto
        return proto

    def _make_attribute(self, name: str, value: Any, kind: str | None) -> AttributeProto:
        if isinstance(value, AttrRef):
            return AttributeProto(name=name, type=_KIND[value.kind], ref_attr_name=value.name)
        if isinstance(value, EmptyList):
            return AttributeProto(name=name, type=_KIND[value.kind])
        kind = kind or _kind_of(value)
        proto = AttributeProto(name=name, type=_KIND[kind])
        if kind == "int":
            proto.i = int(value)
        elif kind == "float":
            proto.f = float(value)
        elif kind == "string":
            proto.s = _bytes(value)
        elif kind == "ints":
            proto.ints = value
        elif kind == "floats":
            proto.floats = value
        elif kind == "strings":
            proto.strings = [_bytes(v) for v in value]
        elif kind == "tensor":
            proto.t = self._tensor(value, "", None)
        elif kind == "tensors":
            proto.tensors = [self._tensor(v, "", None) for v in value]
        elif kind == "sparse_tensor":
            proto.sparse_tensor = self._sparse(value)
        elif kind == "sparse_tensors":
            proto.sparse_tensors = [self._sparse(v) for v in value]
        elif kind == "type_proto":
            proto.tp = self._type(value)
        else:
            proto.type_protos = [self._type(v) or TypeProto() for v in value]
        return proto

    def _tensor(self, tensor: Tensor, name: str, meta: dict[str, str] | None) -> TensorProto:
        proto = TensorProto(name=name or None, dims=tensor.shape, data_type=tensor.dtype.onnx)
        if meta:
            proto.doc_string, proto.metadata_props = _split_meta(meta)
        self.place(proto, tensor)
        return proto

    def _sparse(self, sparse: SparseTensor, name: str = "") -> SparseTensorProto:
        return SparseTensorProto(
            values=self._tensor(sparse.values, name, None),
            indices=self._tensor(sparse.indices, "", None),
            dims=sparse.shape,
        )

    # Functions

    def _function(self, function: Function) -> FunctionProto:
        outer, self.names, self.unique = (self.names, self.unique), {}, Names()
        graph = function.graph
        for value, name in zip(graph.inputs, graph.input_names):
            self.names[value] = self.unique.reserve(name)
        for name in graph.output_names:
            self.unique.reserve(name)
        for value, name in zip(graph.outputs, graph.output_names):
            self.names.setdefault(value, name)
        self._find_homes(graph)
        body = self._graph(graph, is_main=True)
        constants = [
            NodeProto(
                op_type="Constant",
                output=[t.name or ""],
                attribute=[AttributeProto(name="value", type=_KIND["tensor"], t=t)],
            )
            for t in body.initializer
        ]
        required = [name for name, default in function.attributes.items() if default is None]
        proto = FunctionProto(
            domain=function.domain,
            name=function.name,
            overload=function.overload or None,
            input=graph.input_names,
            output=graph.output_names,
            attribute=required,
            attribute_proto=[
                self._make_attribute(name, default, None)
                for name, default in function.attributes.items()
                if default is not None
            ],
            node=[*constants, *body.node],
            opset_import=[OperatorSetIdProto(domain=d, version=v) for d, v in self.opsets.items()],
            doc_string=function.doc or None,
        )
        self.names, self.unique = outer
        return proto


def _is_overwritten(value: Value) -> bool:
    """True for operands of a body that onnxruntime changes in place: returned as they are, they would be garbage.

    Those are all of a Scan's, and the trip number of a Loop.
    """
    graph = value.graph
    return graph is not None and not (graph.parent is not None and graph.parent.op.key == "Loop" and value.index > 0)


def _meet(a: Graph, b: Graph, depth: dict[Graph, int]) -> Graph:
    while a is not b:
        if depth[a] < depth[b]:
            a, b = b, a
        assert a.parent is not None and a.parent.graph is not None
        a = a.parent.graph
    return a


def _kind_of(value: Any) -> str:
    if isinstance(value, bool) or isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    if isinstance(value, (str, bytes)):
        return "string"
    if isinstance(value, Tensor):
        return "tensor"
    if isinstance(value, SparseTensor):
        return "sparse_tensor"
    if isinstance(value, tuple):
        return _kind_of(value[0]) + "s" if value else "ints"
    return "type_proto"


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _entries(entries: Mapping[str, str]) -> list[StringStringEntryProto]:
    return [StringStringEntryProto(key=k, value=v) for k, v in entries.items()]


def _split_meta(meta: dict[str, str]) -> tuple[str | None, list[StringStringEntryProto]]:
    rest = {k: v for k, v in meta.items() if k != "doc_string"}
    return meta.get("doc_string"), _entries(rest)


