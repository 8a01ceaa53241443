"""Weights that may be stored in blocks: what multiplies them or looks rows of them up, and how they lie in the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ...ir.core import Graph, Node, Use, Value
from ...ir.tensor import Array, Tensor
from ...ir.types import F32

_VIEWS = frozenset(("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast", "Transpose"))


@dataclass
class Site:
    """A constant matrix that products read, or a table of which rows are looked up.

    `inputs_first`: it is [inputs, outputs], as MatMul reads it; else [outputs, inputs], a Gemm with transB or a table.
    `products`: the operand slots of MatMul and Gemm. `transposes`: nodes that hand it to products the other way round,
    `tables`: slots of Gather. `is_head`: a graph returns what is computed with it, or it is a table.
    """

    value: Value
    inputs_first: bool
    products: list[Use] = field(default_factory=list)
    transposes: list[Node] = field(default_factory=list)
    tables: list[Use] = field(default_factory=list)
    is_head: bool = False

    @property
    def outputs(self) -> int:
        """Outputs of the product, rows of a table."""
        return self._shape[1 if self.inputs_first else 0]

    @property
    def inputs(self) -> int:
        """What a product sums over."""
        return self._shape[0 if self.inputs_first else 1]

    @property
    def _shape(self) -> tuple[int, ...]:
        assert self.value.const is not None
        return self.value.const.shape

    @property
    def first(self) -> Node:
        """The node that reads it first."""
        return next(iter(self.value.uses))[0]

    def is_in(self, graph: Graph) -> bool:
        """True if all products with it are in this graph, none in a nested one."""
        return all(node.graph is graph for node, _ in self._all_products())

    def product_nodes(self) -> list[Node]:
        """The products with it."""
        return [node for node, _ in self._all_products()]

    def left_operands(self) -> list[Value]:
        """What is multiplied with it, each once."""
        found: dict[Value, None] = {}
        for node, _ in self._all_products():
            left = node.inputs[0]
            if left is not None:
                found[left] = None
        return list(found)

    def _all_products(self) -> Iterator[Use]:
        yield from self.products
        for node in self.transposes:
            yield from node.output.uses


def find_sites(graph: Graph, least: int) -> tuple[list[Site], list[tuple[Node, str]]]:
    """The weights of at least `least` elements in a graph and its regions, and why others stay as they are."""
    values: dict[Value, None] = {}
    for inner in graph.graphs():
        for node in inner:
            for value in node.inputs:
                if value is not None and value.const is not None and _is_candidate(value.const, least):
                    values[value] = None
    sites, kept = [], []
    for value in values:
        found = _site(value)
        if isinstance(found, Site):
            sites.append(found)
        elif found:
            kept.append((next(iter(value.uses))[0], found))
    return sites, kept


def _is_candidate(tensor: Tensor, least: int) -> bool:
    return tensor.dtype is F32 and len(tensor.shape) == 2 and tensor.size >= least and tensor.splat is None


def _site(value: Value) -> Site | str:
    """The site of a constant; a reason for a product's weight that cannot be one, "" for a constant of another kind."""
    first: list[Use] = []
    last: list[Use] = []
    site = Site(value, False)
    for node, index in value.uses:
        key = node.op.key
        if key == "Gather" and index == 0 and not node.attr("axis"):
            site.tables.append((node, index))
        elif key == "Transpose" and tuple(node.attr("perm") or (1, 0)) == (1, 0):
            if not all(u.op.key == "MatMul" and i == 1 for u, i in node.output.uses):
                return "its transpose is no product's second operand"
            site.transposes.append(node)
        elif key == "MatMul" and index == 1:
            first.append((node, index))
        elif key == "Gemm" and index == 1 and node.attr("alpha") == 1.0:
            (last if node.attr("transB") else first).append((node, index))
        else:
            return f"{key} reads it as well" if first or last or site.tables else ""
    if first and (last or site.transposes or site.tables):
        return "it is read in both layouts"
    site.inputs_first = bool(first)
    site.products = first or last
    is_table = bool(site.tables) and not (site.products or site.transposes)
    if is_table and not all(_is_embedding(node) for node, _ in site.tables):
        return ""
    site.is_head = bool(site.tables) or any(_is_returned(node) for node, _ in site._all_products())
    return site


def _is_embedding(gather: Node) -> bool:
    """False for a table of angles or the like: its rows rotate, or scale something of their size."""
    work = [gather.output]
    for value in work:  # grows while we go
        for user, _ in value.uses:
            if user.op.key in _VIEWS:
                work.append(user.output)
            elif user.op.name == "RotaryEmbedding" or (user.op.key == "Mul" and not _has_constant(user)):
                return False
    return True


def _is_returned(product: Node) -> bool:
    """True if a graph returns the product, perhaps with a bias added, in another shape or type."""
    work = [product.output]
    for value in work:  # grows while we go
        for user, _ in value.uses:
            if user.op.key == "geoc::Return":
                return user.graph is not None and user.graph.parent is None
            if (user.op.key == "Add" and _has_constant(user)) or user.op.key in _VIEWS:
                work.append(user.output)
    return False


def _has_constant(node: Node) -> bool:
    return any(value is not None and value.const is not None for value in node.inputs)


# Numbers

_ELEMENTS = 1 << 21  # of a matrix that are worked on at a time


def strips(site: Site, per_strip: int = _ELEMENTS) -> Iterator[Array]:
    """The matrix [outputs, inputs] in parts of whole rows, f32, each contiguous."""
    assert site.value.const is not None
    whole = site.value.const.read()
    rows = max(1, per_strip // max(1, site.inputs))
    for start in range(0, site.outputs, rows):
        part = whole[:, start : start + rows].T if site.inputs_first else whole[start : start + rows]
        yield np.ascontiguousarray(part, dtype=np.float32)
