"""Gemm as the product and the bias that it is: the form that quantized layers have."""

from __future__ import annotations

from ...ir.builder import Builder
from ...ir.core import Graph, Node
from .weights import transposed


def products_of(graph: Graph, layers: list[Node]) -> list[Node]:
    """The layers, with MatMul and Add in place of Gemm nodes; those are plain (`placement.refusal`)."""
    return [_product(graph, node) if node.op.key == "Gemm" else node for node in layers]


def is_turned(node: Node) -> bool:
    """True for a Gemm whose weights are [outputs, inputs]; False for other products."""
    return bool(node.op.key == "Gemm" and node.attr("transB"))


def _product(graph: Graph, gemm: Node) -> Node:
    x, w, bias = gemm.inputs[0], gemm.inputs[1], gemm.input(2)
    assert w is not None and w.const is not None
    b = Builder(graph, gemm, gemm.loc)
    matrix = b.const(transposed(w.const), hint=w.hint) if gemm.attr("transB") else w
    product = b.node("MatMul", [x, matrix], outputs=[f"{gemm.output.hint}.product"])
    result = product.output
    if bias is not None:
        result = b.node("Add", [result, bias], types=[gemm.output.type]).output
    gemm.output.replace_with(result)
    result.hint = gemm.output.hint
    graph.erase(gemm)
    return product
