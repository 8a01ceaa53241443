"""What the property tests share: running a pipeline on a graph, and comparing before with after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from geoc.ir.core import Model
from geoc.ir.text import parse_model, print_model
from geoc.ir.verify import verify
from geoc.passes.base import Context
from geoc.passes.manager import run_pipeline
from geoc.passes.pipelines import parse
from geoc.passes.registry import Registry

from ...golden import Fired, Runner, compare, draw

Check = Callable[..., tuple[Model, Fired]]


@pytest.fixture
def check() -> Check:
    """check(model, passes, sizes): run the passes; what comes out is valid and computes the same at all sizes.

    Gives the new model and what fired. Sizes that the model itself refuses are left out, but not all of them.
    """

    def check(
        model: Model, passes: str, sizes: Sequence[dict[str, int]] = ({},), exact: bool = False
    ) -> tuple[Model, Fired]:
        verify(model)
        before = Runner(model)
        text = print_model(model, weights="inline")
        fired = Fired()
        run_pipeline(model, Registry().resolve(parse(passes)), Context(instruments=[fired]))
        verify(model)
        after = Runner(model, like=before)
        done = 0
        for number, given in enumerate(sizes):
            random = np.random.default_rng(number)
            feeds: dict[str, Any] = {
                name: draw(value.type, given, random, exact and number == 0)
                for name, value in zip(model.graph.input_names, model.graph.inputs)
            }
            try:
                wanted = before.run(feeds)
            except Exception:
                continue
            done += 1
            for name, a, b in zip(model.graph.output_names, after.run(feeds), wanted, strict=True):
                compare(a, b, f"{name} at {given} of\n{text}\nthat became\n{print_model(model, weights='inline')}", exact)
        assert done, f"the model runs at no size\n{text}"
        return model, fired

    return check


@pytest.fixture
def gir() -> Callable[[str], Model]:
    """The model of a .gir text without its first lines."""
    return lambda text: parse_model(f'geoc 1\nopset "" 21\n\n{text}')
