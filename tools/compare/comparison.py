"""The whole comparison: inputs, runs, outputs, and on request what lies inside; as plain data."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from ...ir.errors import UsageError
from ...ir.text import print_node
from ...passes.instruments import where
from ..calibration.samples import open_samples
from ..comparing.exactness import random_outputs
from ..inputs.maker import InputMaker, Sizes
from ..inputs.shapes import Shapes
from ..running.timing import shape_of
from .engines import Call, DoesNotRun, Feeds, open_model, title_of
from .errors import Errors
from .inside import Twins, compare_inside, departing, twins_of
from .ports import cast, pair
from .sides import Side, stand_in

SCHEMA = 1
"""Version of the JSON; raised when a field changes its meaning or goes away."""
SHAPES = 2  # made-up settings of symbolic dimensions, or draws of values where there are none
Detail = Callable[[str, float], None]


class Comparison:
    """Two models that are compared on inputs of the user's, or on made-up ones."""

    def __init__(
        self, first: Side, second: Side, inputs: str | None, shapes: Shapes, seed: int, detail: Detail
    ) -> None:
        """`inputs` as --inputs gives them. Raises UsageError where the interfaces do not go together."""
        self.sides = (first, second)
        self.inputs = pair(first.inputs, second.inputs, "input")
        if self.inputs.left:
            raise UsageError(_different_inputs(first, second))
        self.outputs = pair(first.outputs, second.outputs, "output")
        if not self.outputs.numbers:
            raise UsageError("the models have no output in common")
        self._maker_side = 0 if first.model is not None or second.model is None else 1
        model = stand_in(self.sides[self._maker_side])
        self._samples = None if inputs is None else open_samples(inputs, model, "--inputs")
        self._maker = InputMaker(model, shapes, seed)
        self._made: list[Feeds] = []  # of the made-up inputs those on which both models run
        self._detail = detail
        self.notes = [*self.inputs.notes, *self.outputs.notes]
        if self.outputs.left:
            self.notes.append(f"not compared, of one model alone: {', '.join(port.name for port in self.outputs.left)}")
        self.shapes: dict[str, None] = {}
        self.runs = 0

    # Inputs

    def _feeds(self, given: Feeds) -> tuple[Feeds, Feeds]:
        """What both models take, of values by the names of the side that they were made for."""
        result = []
        for number, side in enumerate(self.sides):
            feeds = {}
            for numbers in self.inputs.numbers:
                source = self.sides[self._maker_side].inputs[numbers[self._maker_side]]
                port = side.inputs[numbers[number]]
                if source.name in given:
                    feeds[port.name] = cast(given[source.name], port)
            result.append(feeds)
        return result[0], result[1]

    def _given(self) -> Iterator[tuple[str, Feeds, Feeds]]:
        """The shape and both feeds of each run, again each time."""
        for given in self._made if self._samples is None else self._samples:
            yield (shape_of(given), *self._feeds(given))

    # Runs

    def _calls(self, folder: str) -> tuple[Call, Call]:
        first, second = self.sides
        return open_model(first, folder), open_model(second, folder)

    def outputs_apart(self, folder: str) -> list[Errors]:
        """Run both on everything: the errors of each pair of outputs. Raises UsageError where one does not run."""
        calls = self._calls(folder)
        errors = [Errors() for _ in self.outputs.numbers]
        if self._samples is None:
            self._make_up(calls, errors)
            return errors
        for number, (shape, x, y) in enumerate(self._given()):
            self._detail(f"sample {number}", 0.0)
            try:
                self._run(calls, x, y, shape, errors)
            except DoesNotRun as error:
                raise UsageError(f"sample {self._samples.label}: {error}", source="--inputs") from None
        return errors

    def _run(self, calls: tuple[Call, Call], x: Feeds, y: Feeds, shape: str, errors: list[Errors]) -> None:
        results = []
        for side, call, feeds in zip(self.sides, calls, (x, y)):
            try:
                results.append(call(feeds))
            except DoesNotRun as error:
                raise DoesNotRun(f"{side.path} does not run at {shape}: {error}") from None
        for (i, j), found in zip(self.outputs.numbers, errors):
            found.add(results[0][i], results[1][j], shape)
        self.shapes[shape] = None
        self.runs += 1

    def _make_up(self, calls: tuple[Call, Call], errors: list[Errors]) -> None:
        maker = self._maker
        if maker.problem:
            raise UsageError(f"{maker.problem}; or give --inputs")
        reason = ""
        candidates: list[Sizes] = list(maker.sizes()) if maker.symbols else [{}] * SHAPES
        for sizes in candidates:
            if self.runs == SHAPES:
                break
            given = maker.feeds(sizes, self.runs)
            self._detail(shape_of(given), 0.0)
            try:
                self._run(calls, *self._feeds(given), shape_of(given), errors)
            except DoesNotRun as error:
                reason = reason or str(error)
                continue
            self._made.append(given)
        if not self.runs:
            raise UsageError(f"no inputs made up for them run in both, --shape and --inputs give others: {reason}")
        if reason:
            self.notes.append(reason)

    def data(self, limit: float | None, nodes: bool) -> dict[str, Any]:
        """Everything as plain data. `limit` of errors is the user's, None for what the types allow."""
        first, second = self.sides
        assert not nodes or (first.model is not None and second.model is not None)
        with tempfile.TemporaryDirectory(prefix="geoc-compare-") as folder:
            errors = self.outputs_apart(folder)
            twins = self._inside(folder) if nodes else []
        drawn = set() if first.model is None else random_outputs(first.model)
        floats = limit if limit is not None else max(first.limit(), second.limit())
        rows = []
        for (i, j), found in zip(self.outputs.numbers, errors):
            allowed = limit or 0.0 if found.exact else floats
            is_random = i in drawn
            rows.append({
                "name": first.outputs[i].name, "other": second.outputs[j].name, "type": str(first.outputs[i].type),
                **found.to_json(), "limit": allowed, "random": is_random, "ok": is_random or found.error <= allowed,
            })  # fmt: skip
        return {
            "schema": SCHEMA,
            "ok": all(row["ok"] for row in rows),
            "models": [first.path, second.path],
            "runtimes": [title_of(first.runtime), title_of(second.runtime)],
            "inputs": "made up" if self._samples is None else self._samples.text,
            "runs": self.runs,
            "shapes": list(self.shapes),
            "notes": self.notes,
            "outputs": rows,
            "nodes": self._rows(twins, floats, limit or 0.0, rows) if nodes else None,
        }

    def _inside(self, folder: str) -> list[Twins]:
        first, second = self.sides
        assert first.model is not None and second.model is not None
        twins = twins_of(first.model, second.model)
        if twins:
            try:
                compare_inside(self.sides, twins, self._given, folder, self._detail)
            except DoesNotRun as error:
                raise UsageError(f"a model with the values inside as outputs does not run: {error}") from None
        return twins

    def _rows(
        self, twins: list[Twins], floats: float, share: float, outputs: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Values in the order of the first model.

        `first` is the number of the first that departs, None where none does; those that are beyond their limits and
        depart from nothing are `passing`.
        """
        rows = []
        for each in twins:
            allowed = share if each.errors.exact else floats
            rows.append({
                "where": where(each.node), "op": each.node.op.key, "value": each.value.hint, "by": each.by,
                **each.errors.to_json(), "limit": allowed, "ok": each.errors.error <= allowed,
                "statements": [print_node(each.node), print_node(each.twin.producer)] if each.twin.producer else [],
            })  # fmt: skip
        model = self.sides[0].model
        assert model is not None
        beyond = {each.value for each, row in zip(twins, rows) if not row["ok"]}
        wrong = {model.graph.outputs[i] for (i, _), row in zip(self.outputs.numbers, outputs) if not row["ok"]}
        departed = departing(twins, beyond, wrong)
        for each, row in zip(twins, rows):
            row["passing"] = each.value in beyond and each.value not in departed
        return {
            "of": sum(len(node.outputs) for node in model.graph),
            "compared": len(rows),
            "beyond": len(beyond),
            "passing": len(beyond) - len(departed),
            "first": next((number for number, each in enumerate(twins) if each.value in departed), None),
            "values": rows,
        }


def _different_inputs(first: Side, second: Side) -> str:
    ours, theirs = ({port.name: port for port in side.inputs} for side in (first, second))
    sides = (("first", ours, theirs), ("second", theirs, ours))
    more = [(which, [str(mine[name]) for name in mine if name not in other]) for which, mine, other in sides]
    said = [f"the {which} alone takes {', '.join(ports)}" for which, ports in more if ports]
    return f"the models have different inputs: {'; '.join(said)}"

