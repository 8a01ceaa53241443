"""Nodes of two models as statements of one text: values that correspond have the names of the first model."""

from __future__ import annotations

from collections.abc import Iterable

from ...ir.core import Model, Node, Value
from ...ir.text.names import Layout, TypeNames, ValueNames
from ...ir.text.printer import Printer
from .matching import Matching

SPELLED = 8  # elements up to which a constant is written out


class Statements:
    """Prints nodes of two models."""

    def __init__(self, before: Model, after: Model, matching: Matching) -> None:
        self._matching = matching
        self._names = ValueNames()
        ours, theirs = TypeNames(), TypeNames()
        tensor = matching.labels.tensor
        read: set[int] = set()  # hashes of the second model's constants
        for model, types in ((before, ours), (after, theirs)):
            for root, function in [(model.graph, None), *((f.graph, f) for f in model.functions.values())]:
                layout = Layout(root, types, None if function is None else function.attributes)
                if model is before:
                    self._names.update(layout.values)
                else:
                    read.update(tensor(v.const) for v in layout.values if v is not None and v.const is not None)
        self._before = Printer(ours, "digest", strict=False)
        self._after = Printer(theirs, "digest", strict=False)
        self._constants: dict[int, str] = {}
        for value, name in self._names.items():
            if value is not None and value.const is not None:
                self._constants.setdefault(tensor(value.const), name)
        # What went leaves its name to what came in its place.
        named = ((value, name) for value, name in self._names.items() if value is not None)
        kept = ((v, n) for v, n in named if (v in matching.values if v.const is None else tensor(v.const) in read))
        taken = {name for value, text in kept for name in (value.hint, text[1:])}
        self._their = _Their(self._names, matching, self._constants, taken)

    def before(self, nodes: Iterable[Node]) -> list[str]:
        """Statements of nodes of the first model."""
        return [_with_regions(self._before.statement(node, self._names, source=False), node) for node in nodes]

    def after(self, nodes: Iterable[Node]) -> list[str]:
        """Statements of nodes of the second model."""
        return [_with_regions(self._after.statement(node, self._their, source=False), node) for node in nodes]

    def weights(self, ours: Iterable[Node], theirs: Iterable[Node]) -> tuple[list[str], list[str]]:
        """The constants that nodes of one side alone read."""
        tensor = self._matching.labels.tensor
        sides = []
        for nodes in (ours, theirs):
            read = (v for node in nodes for v in node.inputs if v is not None and v.const is not None)
            sides.append({tensor(value.const): value for value in read if value.const is not None})
        mine, other = sides
        return (
            [self.weight(value, False) for key, value in mine.items() if key not in other],
            [self.weight(value, True) for key, value in other.items() if key not in mine],
        )

    def weight(self, value: Value, second: bool) -> str:
        """A constant of the first or the second model; small ones with their elements."""
        printer, names = (self._after, self._their) if second else (self._before, self._names)
        tensor = value.const
        assert tensor is not None
        text = f"weight {names[value]}: {tensor.type}"
        return text + (f" = {printer.tensor(tensor)}" if tensor.size <= SPELLED else "")


def _with_regions(text: str, node: Node) -> str:
    parts = [f"{name} ({sum(1 for _ in region.walk())} nodes)" for name, region in node.regions.items()]
    return text + (f" with {', '.join(parts)}" if parts else "")


class _Their(ValueNames):
    """Names of the second model's values: those of the first where they correspond."""

    def __init__(self, ours: ValueNames, matching: Matching, constants: dict[int, str], taken: set[str]) -> None:
        super().__init__()
        self.taken = taken
        self._ours, self._matching, self._same = ours, matching, constants

    def __contains__(self, value: object) -> bool:
        return True  # every result is named, in the order in which names are asked for

    def __missing__(self, value: Value | None) -> str:
        assert value is not None
        twin = self._matching.sources.get(value)
        if twin is not None:
            self[value] = self._ours[twin]
            return self[value]
        if value.const is not None:
            name = self._same.get(self._matching.labels.tensor(value.const))
            if name is not None:
                self[value] = name
                return name
        maker = "input" if value.producer is None else value.producer.op.name.lower()
        return self.add(value, maker if value.const is None else "const")
