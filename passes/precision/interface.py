"""interface: the element type of the model's own inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ...ir.builder import Builder
from ...ir.core import Graph, Model, Node, Value
from ...ir.errors import UsageError
from ...ir.types import BF16, F16, F32, STR, DType, tensor_type
from ..base import Context, Pass

TYPES = {"fp32": F32, "fp16": F16, "bf16": BF16}


@dataclass(frozen=True)
class Interface(Pass):
    """Inputs and outputs of the model in fp32, fp16 or bf16 are declared as ``to``, with casts inside.

    A cast that is then from a type to itself disappears: a model that computes in fp16 and is called in fp16 has none
    left. Numbers that do not fit into ``to`` are not kept; what is computed in between stays as it is. Other element
    types, double precision among them, sequences, and inputs with a default keep theirs. It is an order: neither
    --skip nor a bisection takes it out.
    """

    name: ClassVar[str] = "interface"
    required: ClassVar[bool] = True
    to: str = "fp16"

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any input or output changed. Raises UsageError for another type."""
        dtype = TYPES.get(self.to)
        if dtype is None:
            raise UsageError(f"interface goes to {', '.join(TYPES)}, not {self.to!r}", source="--passes")
        graph = model.graph
        inputs = {n: dtype for n, v in zip(graph.input_names, graph.inputs) if _changes(v, dtype)}
        outputs = {n: dtype for n, v in zip(graph.output_names, graph.outputs) if _changes(v, dtype)}
        inputs = {n: dtype for n in inputs if graph.inputs[graph.input_names.index(n)] not in graph.defaults}
        if not inputs and not outputs:
            return False
        created: list[Node] = []
        with ctx.rewrite(self.name, "", [], created):
            redeclare(graph, inputs, outputs, created)
        ctx.remark("applied", self.name, f"{len(inputs)} inputs and {len(outputs)} outputs are {self.to}")
        return True


def redeclare(graph: Graph, inputs: Mapping[str, DType], outputs: Mapping[str, DType], created: list[Node]) -> None:
    """Give inputs and outputs of a main graph, by name, other float types; casts that this takes go into `created`."""
    for value, name in zip(graph.inputs, graph.input_names):
        if name in inputs and value.dtype is not inputs[name]:
            _redeclare_input(graph, value, inputs[name], created)
    done: dict[tuple[Value, DType], Value] = {}
    results = []
    for value, name in zip(graph.outputs, graph.output_names):
        dtype = outputs.get(name, value.dtype)
        if dtype is not value.dtype and (value, dtype) not in done:
            done[value, dtype] = _redeclared_output(graph, value, dtype, created)
        results.append(done.get((value, dtype), value))
    graph.set_outputs(results, list(graph.output_names))
    for value, _ in done:
        if value.producer is not None and value.producer.op.key == "Cast" and not value.uses:
            graph.erase(value.producer)


def _changes(value: Value, dtype: DType) -> bool:
    return value.dtype in TYPES.values() and value.dtype is not dtype


def _redeclare_input(graph: Graph, value: Value, dtype: DType, created: list[Node]) -> None:
    """Casts read the input itself, from whichever type; everything else reads one cast back to the old type."""
    old = value.dtype
    value.type = tensor_type(dtype, value.shape)
    back: Value | None = None
    for node, index in list(value.uses):
        target = node.attr("to") if node.op.key == "Cast" else None
        if target == dtype.onnx and not _is_returned(node, graph):
            assert node.graph is not None
            node.output.replace_with(value)
            node.graph.erase(node)
        elif target is None or target == STR.onnx:  # as text a number depends on its type
            if back is None:
                b = Builder(graph, graph.first)
                back = b.node("Cast", [value], {"to": old.onnx}, outputs=[value.hint]).output
                created += b.created
            node.set_input(index, back)


def _is_returned(node: Node, main: Graph) -> bool:
    """True if an inner graph returns what the node makes: it must be made there."""
    graph = node.graph
    return graph is not main and graph is not None and any(user is graph.ret for user, _ in node.output.uses)


def _redeclared_output(graph: Graph, value: Value, dtype: DType, created: list[Node]) -> Value:
    maker = value.producer
    # From half precision to single is exact, and a cast in between; the other way round it rounds, and stays.
    if value.dtype is F32 and maker is not None and maker.op.key == "Cast" and maker.graph is graph:
        source = maker.inputs[0]
        if source is not None and source.dtype in (F16, BF16) and source.const is None:
            if source.dtype is dtype:
                return source
            value = source
    b = Builder(graph)
    found = b.node("Cast", [value], {"to": dtype.onnx}, outputs=[value.hint]).output
    created += b.created
    return found
